//! Byte credits: the one limit on what a pipeline holds in memory.
//!
//! The source takes a credit for each batch it hands out, and the batch carries it along; dropping it gives the bytes
//! back. When none are left the source pauses the partition and keeps polling. Nothing waits here: taking always
//! succeeds, since the bytes are already in memory when their size is known; [`Credits::exhausted`] says when to stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A shared budget of bytes.
#[derive(Debug, Clone)]
pub struct Credits {
    used: Arc<AtomicUsize>,
    limit: usize,
}

/// Bytes taken from a budget until this is dropped.
#[derive(Debug)]
pub struct Credit {
    used: Arc<AtomicUsize>,
    bytes: usize,
}

impl Credits {
    /// A budget of `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Credits { used: Arc::default(), limit }
    }

    /// Takes `bytes`, also beyond the limit.
    pub fn take(&self, bytes: usize) -> Credit {
        self.used.fetch_add(bytes, Ordering::AcqRel);
        Credit { used: self.used.clone(), bytes }
    }

    /// Bytes taken and not yet given back.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Acquire)
    }

    /// Whether the budget is used up: the source pauses.
    pub fn exhausted(&self) -> bool {
        self.used() >= self.limit
    }

    /// Whether enough came back (half) for the source to go on: pausing drops what was fetched, so it must not flutter.
    pub fn recovered(&self) -> bool {
        self.used() < self.limit / 2
    }
}

impl Credit {
    /// For what holds no records.
    pub fn none() -> Self {
        Credit { used: Arc::default(), bytes: 0 }
    }

    /// How many bytes this stands for.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Changes how many bytes this stands for, when data changes its form.
    pub fn resize(&mut self, bytes: usize) {
        if bytes > self.bytes {
            self.used.fetch_add(bytes - self.bytes, Ordering::AcqRel);
        } else {
            self.used.fetch_sub(self.bytes - bytes, Ordering::AcqRel);
        }
        self.bytes = bytes;
    }
}

impl Drop for Credit {
    fn drop(&mut self) {
        self.used.fetch_sub(self.bytes, Ordering::AcqRel);
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
        assert!(credits.exhausted() && !credits.recovered());
        credit.resize(49);
        assert!(credits.recovered());
        drop(credit);
        assert_eq!(credits.used(), 0);
    }
}
