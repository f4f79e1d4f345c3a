//! How many lanes encode at the same time, in the whole process: as many as there are cores.
//!
//! More would not be faster, and a row group that is encoded takes memory beside its rows, for dictionaries, codecs and pages: a
//! thousand lanes that end their files together would have a thousand of them in the making. Who encodes waits for nothing but the disk, so that nobody waits
//! long for a place.

use std::sync::{Condvar, LazyLock, Mutex, PoisonError};

/// Places that are free.
static FREE: LazyLock<Mutex<usize>> =
    LazyLock::new(|| Mutex::new(std::thread::available_parallelism().map_or(1, usize::from)));

static FREED: Condvar = Condvar::new();

/// A place among those who encode, until this is dropped.
pub(super) struct Encoder(());

impl Encoder {
    /// Blocks until a place is free.
    pub(super) fn wait() -> Encoder {
        let free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
        let mut free = FREED.wait_while(free, |free| *free == 0).unwrap_or_else(PoisonError::into_inner);
        *free -= 1;
        Encoder(())
    }
}

impl Drop for Encoder {
    fn drop(&mut self) {
        *FREE.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        FREED.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn no_more_than_there_are_cores() {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let (inside, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 * cores {
                scope.spawn(|| {
                    for _ in 0..100 {
                        let _place = Encoder::wait();
                        most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        std::thread::yield_now();
                        inside.fetch_sub(1, Ordering::SeqCst);
                    }
                });
            }
        });
        assert!((1..=cores).contains(&most.into_inner()));
    }
}
