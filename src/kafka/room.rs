//! How much memory a client's fetched records take, and when it may take more.
//!
//! librdkafka bounds what it fetches by compressed bytes and by values. A batch that compresses well
//! is many times as large, and each record costs some hundred bytes beside its content. So memory is
//! counted here as it is: each decompressed batch and each answer, from its allocation until it is
//! freed, with what its records cost.
//!
//! A client has a third of its pipeline's credits. It takes what fits into that. A single batch that
//! is larger is taken when the client has little else, the lanes have room, and no other client of the
//! process has such a batch: of these there is one at a time.
//!
//! **Invariant:** the records that the clients of a process have fetched take no more than their
//! budgets and one batch.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::fetched::Batch;
use crate::base::credits::Credits;
use crate::base::memory;

/// How long a client waits for room while nothing is freed.
const IDLE_MAX: Duration = Duration::from_millis(100);
/// How long it waits for one partition while something is: its connection serves nothing else.
const WAIT_MAX: Duration = Duration::from_secs(1);
/// How often it looks, should nobody wake it.
const LOOK: Duration = Duration::from_millis(10);

/// The room of one client.
#[derive(Debug, Default)]
pub(crate) struct Room {
    held: AtomicUsize,
    /// How often something was freed.
    freed: AtomicUsize,
    lanes: OnceLock<Lanes>,
    /// Of several connections, one takes at a time.
    taking: Mutex<()>,
    /// Whether someone waits.
    waited_for: AtomicBool,
    woken: (Mutex<()>, Condvar),
}

/// What the room is a part of.
#[derive(Debug)]
struct Lanes {
    credits: Credits,
    /// How many clients share it.
    clients: usize,
}

/// The client whose batch is larger than its room, if there is one: its room's address.
static OVER: AtomicUsize = AtomicUsize::new(0);

/// Memory that is taken for some batches before they are there.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    /// How many of the batches it is for.
    pub(crate) batches: usize,
    /// How much it is.
    pub(crate) bytes: usize,
}

impl Room {
    /// From here on it is a part of these credits. A client without any, which asks a question, gets one batch at a time.
    pub(crate) fn share(&self, credits: Credits, clients: usize) {
        let _ = self.lanes.set(Lanes { credits, clients });
    }

    /// How much the client may have fetched.
    fn budget(&self) -> usize {
        let of = |lanes: &Lanes| memory::fetched_bytes(lanes.credits.limit(), lanes.clients);
        self.lanes.get().map_or(0, of)
    }

    /// Whether lanes have used their credits up.
    fn lanes_are_full(&self) -> bool {
        self.lanes.get().is_some_and(|Lanes { credits, .. }| credits.used() >= credits.limit())
    }

    /// Whether so much is more than the client may have of its pipeline's credits.
    pub(crate) fn is_beyond(&self, bytes: usize) -> bool {
        bytes > self.budget()
    }

    /// Whether nothing more should be fetched.
    pub(crate) fn is_full(&self) -> bool {
        self.lanes.get().is_some() && (self.held() >= self.budget() || self.lanes_are_full())
    }

    /// Bytes that it holds.
    pub(crate) fn held(&self) -> usize {
        self.held.load(Ordering::Acquire)
    }

    /// Something was allocated.
    pub(crate) fn hold(&self, bytes: usize) {
        self.held.fetch_add(bytes, Ordering::AcqRel);
    }

    /// Something was freed.
    pub(crate) fn free(self: &Arc<Self>, bytes: usize) {
        let left = self.held.fetch_sub(bytes, Ordering::AcqRel) - bytes;
        self.freed.fetch_add(1, Ordering::AcqRel);
        if left <= self.budget() {
            let _ = OVER.compare_exchange(self.address(), 0, Ordering::AcqRel, Ordering::Acquire);
        }
        if left <= memory::low_water(self.budget()) && self.waited_for.swap(false, Ordering::AcqRel) {
            drop(self.woken.0.lock().unwrap_or_else(PoisonError::into_inner));
            self.woken.1.notify_all();
        }
    }

    fn address(self: &Arc<Self>) -> usize {
        Arc::as_ptr(self).addr()
    }

    /// Takes memory for as many of these batches as there is room for, at least one; none where there is no room. What the
    /// answer that they are in takes itself, `own`, is not in the way.
    pub(crate) fn take(self: &Arc<Self>, own: usize, batches: &[Batch], record_bytes: usize) -> Option<Taken> {
        let _one_at_a_time = self.taking.lock().unwrap_or_else(PoisonError::into_inner);
        let (budget, held) = (self.budget(), self.held().saturating_sub(own));
        let mut taken = Taken { batches: 0, bytes: 0 };
        for batch in batches {
            let bytes = taken.bytes.saturating_add(batch.needs(record_bytes));
            if bytes > budget.saturating_sub(held) {
                break;
            }
            taken = Taken { batches: taken.batches + 1, bytes };
        }
        if taken.batches == 0 {
            let (bytes, low) = (batches.first()?.needs(record_bytes), memory::low_water(budget));
            if bytes <= low || held > low || self.lanes_are_full() || !self.may_be_over() {
                return None;
            }
            taken = Taken { batches: 1, bytes };
        }
        self.hold(taken.bytes);
        Some(taken)
    }

    /// Whether this client is the one that may have a batch larger than its room.
    fn may_be_over(self: &Arc<Self>) -> bool {
        let own = self.address();
        let before = OVER.compare_exchange(0, own, Ordering::AcqRel, Ordering::Acquire);
        before.is_ok() || before == Err(own)
    }

    /// The same as [`take`](Self::take), and waits for room while there is hope that some comes.
    pub(crate) fn take_or_wait(
        self: &Arc<Self>,
        own: usize,
        batches: &[Batch],
        record_bytes: usize,
        may_wait: bool,
    ) -> Option<Taken> {
        if let Some(taken) = self.take(own, batches, record_bytes) {
            return Some(taken);
        }
        if !may_wait {
            return None;
        }
        let (began, mut freed, mut changed) = (Instant::now(), self.freed.load(Ordering::Acquire), Instant::now());
        while changed.elapsed() < IDLE_MAX && began.elapsed() < WAIT_MAX {
            let guard = self.woken.0.lock().unwrap_or_else(PoisonError::into_inner);
            self.waited_for.store(true, Ordering::Release);
            drop(self.woken.1.wait_timeout(guard, LOOK));
            // With half of its room free it has something to do for a while.
            if self.held().saturating_sub(own) <= memory::low_water(self.budget())
                && let Some(taken) = self.take(own, batches, record_bytes)
            {
                return Some(taken);
            }
            let now = self.freed.load(Ordering::Acquire);
            if now != freed {
                (freed, changed) = (now, Instant::now());
            }
        }
        None
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let own = std::ptr::from_mut(self).addr();
        let _ = OVER.compare_exchange(own, 0, Ordering::AcqRel, Ordering::Acquire);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const RECORD: usize = 100;
    /// What a batch takes beside its content and its records.
    const MORE: usize = 1 << 10;

    fn batch(decompressed: usize, records: usize) -> Batch {
        Batch { first: 0, begin: 0, end: 0, decompressed, records }
    }

    /// A room of so many bytes.
    fn room(budget: usize) -> (Arc<Room>, Credits) {
        let (room, credits) = (Arc::<Room>::default(), Credits::new(budget * 3));
        room.share(credits.clone(), 1);
        (room, credits)
    }

    #[test]
    fn as_many_batches_as_fit_are_taken() {
        let (room, _) = room(4 << 20);
        let of = |count| vec![batch((1 << 20) - MORE - 10 * RECORD, 10); count];
        let taken = |batches, mebibytes: usize| Some(Taken { batches, bytes: mebibytes << 20 });
        assert_eq!(room.take(0, &of(3), RECORD), taken(3, 3));
        assert_eq!(room.take(0, &of(3), RECORD), taken(1, 1));
        assert!(room.is_full());
        assert_eq!(room.take(0, &of(3), RECORD), None);
        room.free(2 << 20);
        assert!(!room.is_full());
        assert_eq!(room.take(0, &of(3), RECORD), taken(2, 2));
        // What the answer itself takes is not in the way.
        room.hold(1 << 20);
        room.free(2 << 20);
        assert_eq!(room.take(1 << 20, &of(3), RECORD), taken(2, 2));
    }

    #[test]
    fn records_take_room_too() {
        let (room, _) = room(4 << 20);
        let batches = [batch(0, (3 << 20) / RECORD), batch(0, (3 << 20) / RECORD)];
        assert_eq!(room.take(0, &batches, RECORD).map(|taken| taken.batches), Some(1));
    }

    #[test]
    fn no_larger_batch_is_taken_where_much_is_held_or_the_lanes_are_full() {
        let (room, credits) = room(4 << 20);
        room.hold(3 << 20);
        assert_eq!(room.take(0, &[batch(8 << 20, 1)], RECORD), None);
        room.free(3 << 20);
        let files = credits.take(credits.limit());
        assert!(room.is_full());
        assert_eq!(room.take(0, &[batch(8 << 20, 1)], RECORD), None);
        drop(files);
        // Another client of this process may have the one that is allowed.
        let began = Instant::now();
        while room.take(0, &[batch(8 << 20, 1)], RECORD).is_none() {
            assert!(began.elapsed() < Duration::from_secs(60), "it was never taken");
            std::thread::yield_now();
        }
        assert!(room.is_full() && room.held() > 8 << 20);
        room.free(room.held());
        assert!(!room.is_full());
    }

    #[test]
    fn who_waits_is_given_what_is_freed() {
        let (room, _) = room(4 << 20);
        room.hold(4 << 20);
        let one = [batch(1 << 20, 1)];
        assert_eq!(room.take_or_wait(0, &one, RECORD, false), None);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| {
                // Longer than it waits at once where nothing is freed.
                loop {
                    if let Some(taken) = room.take_or_wait(0, &one, RECORD, true) {
                        break taken;
                    }
                }
            });
            room.free(4 << 20);
            assert_eq!(waiting.join().unwrap().batches, 1);
        });
    }
}
