//! Byte credits: the one limit on what a pipeline holds in memory.
//!
//! The source takes a credit for each batch it hands out, and the batch carries it along; dropping it gives the bytes
//! back. When none are left the source waits for a moment, and then pauses all its partitions and keeps polling. Nothing
//! waits here: taking always succeeds, since the bytes are already in memory when their size is known;
//! [`Credits::exhausted`] says when to stop.
//!
//! Batches on their way have a part of the budget only: where the lanes are slower than Kafka's client they would take all of
//! it, and nothing would be faster for it. When they have that, the source waits until one is written
//! ([`Credits::crowded`]).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::base::memory;

/// A shared budget of bytes.
#[derive(Debug, Clone)]
pub struct Credits {
    used: Arc<AtomicUsize>,
    /// Those of them that batches on their way have.
    on_the_way: Arc<AtomicUsize>,
    limit: Arc<AtomicUsize>,
    /// Whether someone has paused: then nobody goes on before half of it is free.
    held_back: Arc<AtomicBool>,
}

/// Bytes taken from a budget until this is dropped.
#[derive(Debug)]
pub struct Credit {
    used: Arc<AtomicUsize>,
    on_the_way: Option<Arc<AtomicUsize>>,
    bytes: usize,
}

impl Credits {
    /// A budget of `limit` bytes.
    pub fn new(limit: usize) -> Self {
        let limit = Arc::new(limit.into());
        Credits { used: Arc::default(), on_the_way: Arc::default(), limit, held_back: Arc::default() }
    }

    /// Takes `bytes`, also beyond the limit.
    pub fn take(&self, bytes: usize) -> Credit {
        Credit { used: self.used.clone(), on_the_way: None, bytes: 0 }.of(bytes)
    }

    /// Takes `bytes` for a batch, also beyond the limit.
    pub fn take_on_the_way(&self, bytes: usize) -> Credit {
        Credit { used: self.used.clone(), on_the_way: Some(self.on_the_way.clone()), bytes: 0 }.of(bytes)
    }

    /// Whether enough batches are on their way: sources take no more records.
    pub fn crowded(&self) -> bool {
        self.on_the_way.load(Ordering::Acquire) >= memory::on_the_way_bytes(self.limit())
    }

    /// How many bytes may be taken.
    pub fn limit(&self) -> usize {
        self.limit.load(Ordering::Acquire)
    }

    /// Changes how many bytes may be taken; what is taken stays.
    pub fn set_limit(&self, bytes: usize) {
        self.limit.store(bytes, Ordering::Release);
    }

    /// Bytes taken and not yet given back.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Acquire)
    }

    /// Whether the budget is used up: no source takes more.
    pub fn exhausted(&self) -> bool {
        if !self.held_back.load(Ordering::Acquire) {
            return self.used() >= self.limit();
        }
        let enough = self.used() < memory::low_water(self.limit());
        if enough {
            self.held_back.store(false, Ordering::Release);
        }
        !enough
    }

    /// Someone pauses, which drops what was fetched and must not flutter: the budget is used up until half of it came back,
    /// for all who share it, or one that goes on would keep another one paused.
    pub fn hold_back(&self) {
        self.held_back.store(true, Ordering::Release);
    }
}

impl Credit {
    /// For what holds no records.
    pub fn none() -> Self {
        Credit { used: Arc::default(), on_the_way: None, bytes: 0 }
    }

    /// The same for so many bytes.
    fn of(mut self, bytes: usize) -> Self {
        self.resize(bytes);
        self
    }

    fn gauges(&self) -> impl Iterator<Item = &AtomicUsize> {
        [Some(&self.used), self.on_the_way.as_ref()].into_iter().flatten().map(Arc::as_ref)
    }

    /// How many bytes this stands for.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Changes how many bytes this stands for, when data changes its form.
    pub fn resize(&mut self, bytes: usize) {
        for gauge in self.gauges() {
            if bytes > self.bytes {
                gauge.fetch_add(bytes - self.bytes, Ordering::AcqRel);
            } else {
                gauge.fetch_sub(self.bytes - bytes, Ordering::AcqRel);
            }
        }
        self.bytes = bytes;
    }
}

impl Drop for Credit {
    fn drop(&mut self) {
        self.resize(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_credit_returns_its_bytes() {
        let credits = Credits::new(100);
        let mut credit = credits.take(60);
        assert!(!credits.exhausted());
        credit.resize(100);
        assert!(credits.exhausted());
        credit.resize(99);
        assert!(!credits.exhausted());
        drop(credit);
        assert_eq!(credits.used(), 0);
    }

    #[test]
    fn batches_on_their_way_have_a_part() {
        let credits = Credits::new(60 << 20);
        let files = credits.take(40 << 20);
        assert!(!credits.crowded());
        let (one, other) = (credits.take_on_the_way(6 << 20), credits.take_on_the_way(4 << 20));
        assert!(credits.crowded() && !credits.exhausted());
        credits.set_limit(66 << 20);
        assert!(!credits.crowded());
        credits.set_limit(0);
        assert!(credits.crowded() && credits.exhausted());
        drop(one);
        assert!(credits.crowded());
        drop(other);
        assert!(!credits.crowded());
        drop(files);
        assert_eq!(credits.used(), 0);
    }

    #[test]
    fn who_pauses_holds_all_back_until_half_is_free() {
        let credits = Credits::new(100);
        let mut credit = credits.take(100);
        let other = credits.clone();
        credits.hold_back();
        credit.resize(50);
        assert!(credits.exhausted() && other.exhausted());
        credit.resize(49);
        assert!(!other.exhausted());
        credit.resize(99);
        assert!(!credits.exhausted());
    }
}
