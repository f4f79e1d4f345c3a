//! Live events: what changes, and once a second how far the pipelines are, as server-sent events.

use std::time::Duration;

use actix_web::{HttpResponse, web};
use futures_util::stream::unfold;
use serde::Serialize;
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio::time::{Interval, interval};
use utoipa::ToSchema;

use super::Context;
use super::view::Failure;
use crate::base::codes::Code;
use crate::model::Class;
use crate::service::board::{Board, Change};

/// How often it is told how far the pipelines are.
const TOLD_EVERY: Duration = Duration::from_secs(1);

/// How far a pipeline is.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct PipelineProgress {
    /// Which one.
    pipeline: String,
    /// Records read, committed or not.
    read: u64,
    /// Records committed.
    committed: u64,
    /// Of these, rejected ones.
    rejected: u64,
    /// Files published.
    files: u64,
}

struct Listener {
    board: Board,
    changes: Receiver<Change>,
    clock: Interval,
    /// What was last told, so that rest is silent.
    told: Vec<PipelineProgress>,
    /// One of the places for streams, kept while this one lasts.
    _place: tokio::sync::OwnedSemaphorePermit,
}

/// Live events
///
/// Server-sent events, each with JSON as its data: `phase`, `gone` and `reloaded` when they happen
/// (Change); `progress` once a second while something moves (a list of PipelineProgress); `missed`
/// with the number of events that were lost because the client read too slowly.
#[utoipa::path(get, path = "/api/v1/events", tag = "service", responses(
    (status = 200, description = "the stream", content_type = "text/event-stream", body = Change),
    (status = 503, description = "Too many streams; close another one", body = Failure),
))]
#[actix_web::get("/api/v1/events")]
pub(super) async fn events(context: web::Data<Context>) -> HttpResponse {
    let Ok(place) = context.streams.clone().try_acquire_owned() else {
        let status = actix_web::http::StatusCode::SERVICE_UNAVAILABLE;
        return Failure::answer(status, Code::TooManyAnswers, "too many live streams; close another one");
    };
    let listener = Listener {
        board: context.board.clone(),
        changes: context.board.listen(),
        clock: interval(TOLD_EVERY),
        told: Vec::new(),
        _place: place,
    };
    let events = unfold(listener, |mut listener| async move {
        let event = listener.next().await?;
        Some((Ok::<_, actix_web::Error>(web::Bytes::from(event)), listener))
    });
    HttpResponse::Ok().content_type("text/event-stream").streaming(Box::pin(events))
}

impl Listener {
    /// The next event; none when the service ends.
    async fn next(&mut self) -> Option<String> {
        tokio::select! {
            change = self.changes.recv() => match change {
                Ok(change) => Some(event(change.name(), &change)),
                Err(RecvError::Lagged(missed)) => Some(event("missed", &missed)),
                Err(RecvError::Closed) => None,
            },
            _ = self.clock.tick() => {
                let now = progress(&self.board);
                let told = std::mem::replace(&mut self.told, now);
                Some(if told != self.told {
                    event("progress", &self.told)
                } else {
                    // A comment: notices clients that are gone.
                    ": still here\n\n".to_owned()
                })
            }
        }
    }
}

fn progress(board: &Board) -> Vec<PipelineProgress> {
    let far = |(pipeline, status): (String, crate::service::Status)| {
        let now = status.run?.progress.snapshot();
        let (committed, rejected) = (now.counts.total(), now.counts[Class::Rejected]);
        Some(PipelineProgress { pipeline, read: now.read, committed, rejected, files: now.files })
    };
    board.pipelines().into_iter().filter_map(far).collect()
}

fn event(name: &str, data: &impl Serialize) -> String {
    let data = serde_json::to_string(data).expect("events are plain structs");
    format!("event: {name}\ndata: {data}\n\n")
}
