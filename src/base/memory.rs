//! What a process's memory is divided into: every fraction of `limits.memory`, with its reason.
//!
//! ```text
//! limits.memory ─┬─ 1/16  what librdkafka fetches ahead, as it counts
//!                ├─ 1/16  batches that are half full
//!                └─ 3/8   credits: batches on their way, and open files
//!                         ├─ 1/6   of them for batches on their way
//!                         ├─ 1/4   of them for the waiting rows of one lane
//!                         ├─ 1/96  of them for one batch
//!                         └─ 1/3   as much again for what the clients have fetched, as it is in memory
//! ```
//!
//! Three eighths are given to nobody. All sizes are bytes. What an item costs (a row, a file, a window) stands where the items
//! are.

/// What the process takes beyond `limits.memory`, whatever it reads: code, threads, the client's and
/// the encoders' buffers. `tests/it/memory.rs` measures it.
pub(crate) const FIXED: usize = 64 << 20;

/// What librdkafka may fetch ahead, all consumers of a pipeline together, as it counts: values only, and compressed batches as
/// they are. A quarter was no faster: what is fetched beyond this only waits. What it takes in memory is bounded by
/// [`fetched_bytes`].
pub(crate) fn fetch_bytes(memory: usize) -> usize {
    memory / 16
}

/// What half-full batches may hold, all partitions of all consumers of a pipeline together.
pub(crate) fn collecting_bytes(memory: usize) -> usize {
    memory / 16
}

/// What batches on their way and open files may hold: the credits of a pipeline.
pub(crate) fn credit_bytes(memory: usize) -> usize {
    memory / 8 * 3
}

/// What the waiting rows of one lane may hold before its files end row groups, of the bytes that batches and files may. Three lanes
/// have three quarters of what there is; where more lanes have rows, the one that holds the most commits.
pub(crate) fn lane_bytes(credits: usize) -> usize {
    credits / 4
}

/// What batches on their way may have of the credits: where the lanes are slower than Kafka's client they would take all of it,
/// and nothing would be faster for it.
pub(crate) fn on_the_way_bytes(credits: usize) -> usize {
    /// A few batches, so that stages work beside each other.
    const LEAST: usize = 4 << 20;
    (credits / 6).max(LEAST)
}

/// At how many bytes a batch of one partition is handed on before a tick: sixteen of them may be on their way. Of thousands of hive
/// keys, each has more rows in a larger batch.
pub(crate) fn batch_bytes(credits: usize) -> usize {
    /// A batch costs a lane as much as some hundred records do: each has many more.
    const LEAST: usize = 1 << 20;
    /// With ten thousand hive keys, this took a third less processor time than 1 MiB.
    const MOST: usize = 8 << 20;
    (credits / 96).clamp(LEAST, MOST)
}

/// What one of a pipeline's clients may have fetched, as it is in memory: a third of the credits, beside them, for all together.
pub(crate) fn fetched_bytes(credits: usize, clients: usize) -> usize {
    /// Its answers are of a mebibyte.
    const LEAST: usize = 2 << 20;
    (credits / 3 / clients).max(LEAST)
}

/// Up to how much of a budget must be in use for one who waited for room, or paused, to go on: with half of it free there is
/// something to do for a while, and nothing flutters.
pub(crate) fn low_water(budget: usize) -> usize {
    budget / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_larger_where_there_is_memory() {
        let mib = |bytes: usize| bytes >> 20;
        assert_eq!([0, 96, 384, 768, 4096].map(|budget| mib(batch_bytes(budget << 20))), [1, 1, 4, 8, 8]);
    }

    #[test]
    fn small_budgets_have_a_floor() {
        assert_eq!([0, 60 << 20].map(on_the_way_bytes), [4 << 20, 10 << 20]);
        assert_eq!(
            [(0, 1), (60 << 20, 2)].map(|(credits, clients)| fetched_bytes(credits, clients)),
            [2 << 20, 10 << 20]
        );
    }
}
