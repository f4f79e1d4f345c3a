//! How large an answer may be, how many are on their way, and how long a client may take one.
//!
//! What an answer costs must not depend on what is in a dataset, nor on how slowly clients read. A
//! list ends at [`BYTES_MAX`], and says so in a header. At most [`PLACES`] answers above [`PIECE`]
//! are made or sent at the same time, each in pieces, so that no second copy of it waits for the
//! client.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use actix_web::HttpResponse;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::http::Method;
use actix_web::web::Bytes;
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes of JSON that the lists of an answer may have.
pub(super) const BYTES_MAX: usize = 2 << 20;
/// Bytes of a text in an answer: a reason, a report.
pub(super) const TEXT_BYTES_MAX: usize = 16 << 10;
/// Is there, and `true`, where a list was cut to fit.
pub(super) const TRUNCATED: &str = "weir-truncated";
/// Large answers that are made or sent at the same time.
const PLACES: usize = 8;
/// How long a request waits for a place.
const PLACE_WITHIN: Duration = Duration::from_secs(10);
/// Bytes that are handed to the connection at once. An answer of that size needs no place.
const PIECE: usize = 32 << 10;
/// How long a client may take to read a large answer to its end.
const TAKEN_WITHIN: Duration = Duration::from_secs(60);

/// Takes items as long as their JSON has room, which shrinks by it. The second value says whether
/// some were left out.
pub(super) fn fit<T: Serialize>(items: impl IntoIterator<Item = T>, room: &mut usize) -> (Vec<T>, bool) {
    let mut fitting = Vec::new();
    for item in items {
        let bytes = json_bytes(&item);
        if bytes > *room {
            return (fitting, true);
        }
        *room -= bytes;
        fitting.push(item);
    }
    (fitting, false)
}

/// Answers with a list, cut where it is too long.
pub(super) fn list<T: Serialize>(items: impl IntoIterator<Item = T>) -> HttpResponse {
    let mut room = BYTES_MAX;
    let (items, truncated) = fit(items, &mut room);
    json(&items, truncated)
}

/// Answers with JSON, and says whether something was left out of it.
pub(super) fn json(view: &impl Serialize, truncated: bool) -> HttpResponse {
    let mut answer = HttpResponse::Ok();
    if truncated {
        answer.insert_header((TRUNCATED, "true"));
    }
    answer.json(view)
}

/// How many bytes a value has as JSON, with the comma after it; nothing is kept of it.
fn json_bytes(value: &impl Serialize) -> usize {
    struct Count(usize);
    impl io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(1);
    serde_json::to_writer(&mut count, value).expect("views are plain structs, and counting does not fail");
    count.0
}

/// The places of large answers.
#[derive(Debug, Clone)]
pub(super) struct Places(Arc<Semaphore>);

impl Default for Places {
    fn default() -> Self {
        Places(Arc::new(Semaphore::new(PLACES)))
    }
}

/// A place, kept until the answer has been sent.
#[derive(Debug)]
pub(super) struct Place(#[allow(dead_code, reason = "dropping it gives the place back")] OwnedSemaphorePermit);

/// Whether an answer may be large. What tells whether the process lives must not wait, live events
/// have places of their own, and commands wait for long and are answered shortly.
pub(super) fn may_be_large(method: &Method, path: &str) -> bool {
    matches!(*method, Method::GET | Method::HEAD) && !["/healthz", "/readyz", "/api/v1/events"].contains(&path)
}

impl Places {
    /// Waits for a place; none if it takes too long.
    pub(super) async fn take(&self) -> Option<Place> {
        let place = tokio::time::timeout(PLACE_WITHIN, self.0.clone().acquire_owned()).await;
        Some(Place(place.ok()?.expect("the places are never closed")))
    }
}

/// A large answer goes out in pieces and keeps its place until then; a small one gives it back at
/// once.
pub(super) fn in_pieces(body: BoxBody, place: Place) -> BoxBody {
    match body.try_into_bytes() {
        Ok(bytes) if bytes.len() > PIECE => {
            Pieces { bytes, _place: place, until: Instant::now() + TAKEN_WITHIN }.boxed()
        }
        Ok(bytes) => bytes.boxed(),
        Err(stream) => stream,
    }
}

/// What is left of an answer.
struct Pieces {
    bytes: Bytes,
    _place: Place,
    until: Instant,
}

impl MessageBody for Pieces {
    type Error = io::Error;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.bytes.len() as u64)
    }

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        let answer = self.get_mut();
        if answer.bytes.is_empty() {
            return Poll::Ready(None);
        }
        if Instant::now() > answer.until {
            return Poll::Ready(Some(Err(io::Error::new(io::ErrorKind::TimedOut, "the client reads too slowly"))));
        }
        let piece = answer.bytes.split_to(PIECE.min(answer.bytes.len()));
        Poll::Ready(Some(Ok(piece)))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_list_ends_where_its_room_does() {
        let texts = |count: usize| (0..count).map(|_| "12345678".to_owned());
        // Each has two quotes and a comma.
        let (all, truncated) = fit(texts(10), &mut 110);
        assert_eq!((all.len(), truncated), (10, false));
        let mut room = 109;
        let (nine, truncated) = fit(texts(10), &mut room);
        assert_eq!((nine.len(), truncated, room), (9, true, 10));
        let answer = list(texts(BYTES_MAX));
        assert_eq!(answer.headers().get(TRUNCATED).unwrap(), "true");
        let bytes = answer.into_body().try_into_bytes().ok().unwrap().len();
        assert!((BYTES_MAX - 12..=BYTES_MAX + 2).contains(&bytes), "{bytes}");
    }

    #[test]
    fn a_large_answer_keeps_its_place_until_its_last_piece() {
        let places = Places::default();
        let free = || places.0.available_permits();
        let place = || Place(places.0.clone().try_acquire_owned().unwrap());
        let small = in_pieces(BoxBody::new(vec![b'x'; PIECE]), place());
        assert_eq!((free(), small.size()), (PLACES, BodySize::Sized(PIECE as u64)));
        let mut large = in_pieces(BoxBody::new(vec![b'x'; PIECE * 2 + 1]), place());
        assert_eq!((free(), large.size()), (PLACES - 1, BodySize::Sized(PIECE as u64 * 2 + 1)));
        let mut ctx = Context::from_waker(std::task::Waker::noop());
        let mut pieces = Vec::new();
        while let Poll::Ready(Some(piece)) = Pin::new(&mut large).poll_next(&mut ctx) {
            pieces.push(piece.unwrap().len());
        }
        assert_eq!(pieces, [PIECE, PIECE, 1]);
        drop(large);
        assert_eq!(free(), PLACES);
    }
}
