//! `weir skip`: which offsets of a partition may be given up, and giving them up.
//!
//! A lane stops where Kafka no longer has its next record, or has it and can't be read. Only a person can decide that
//! the dataset goes on without it; this makes sure that they know what they give up. It needs no running weir, and does no
//! harm to one: what it commits is fenced as every entry is.

use std::path::{Path, PathBuf};

use crate::base::codes::{Code, Coded};
use crate::base::words;
use crate::engine::identity::identity;
use crate::ledger::{Dataset, Definition, LedgerError};
use crate::model::Partition;
use crate::model::Pipeline;
use crate::model::Range;

use crate::kafka::client::{ANSWER_WITHIN, Bounds, Broker, BrokerError, client_config};
use crate::kafka::damage::{Found, end_of_batch};

/// What the client may fetch ahead: it only asks.
const QUEUE_BYTES: usize = 1 << 20;

/// Up to where offsets are given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SkipTo {
    /// The first position that Kafka still has, wherever that is by now.
    Earliest,
    /// The first position that can be read: after what Kafka has deleted, or after the batch there that is damaged.
    Readable,
    /// This position is the next one to be read.
    Position(i64),
}

/// What was given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// The dataset's folder.
    pub dataset: PathBuf,
    /// The first position that was given up.
    pub from: i64,
    /// The next one to be read.
    pub to: i64,
    /// How many of the offsets Kafka still had.
    pub readable: u64,
    /// The number of the entry that says so.
    pub sequence: u64,
}

/// Why nothing was given up.
#[derive(Debug, thiserror::Error)]
pub enum SkipError {
    /// Kafka isn't there or refuses.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// The ledger can't be read or written.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The pipeline has no such topic.
    #[error("{} reads {}, not {topic:?}; name one of its partitions as topic:partition", .file.display(), .topics.join(", "))]
    NotRead {
        /// The pipeline file.
        file: PathBuf,
        /// The topic asked for.
        topic: String,
        /// Those that it reads.
        topics: Vec<String>,
    },
    /// The topic has no such partition.
    #[error("{partition} does not exist: the topic has {partitions} partition(s), numbered from 0")]
    NoPartition {
        /// The partition asked for.
        partition: Partition,
        /// How many there are.
        partitions: i32,
    },
    /// The dataset has nothing of the partition.
    #[error(
        "the dataset {} has nothing of {partition} yet, so there is nothing to go on from: where it begins is \
         `source.start`'s to say",
        .folder.display()
    )]
    NoChain {
        /// The dataset's folder.
        folder: PathBuf,
        /// The partition.
        partition: Partition,
    },
    /// The ledger is there already.
    #[error(
        "{partition}: the ledger ends at position {position}, so there is nothing to skip up to {to}; a dataset never goes back"
    )]
    Behind {
        /// The partition.
        partition: Partition,
        /// Where the ledger ends.
        position: i64,
        /// Where it was to end.
        to: i64,
    },
    /// Kafka isn't there yet.
    #[error(
        "{partition}: position {to} is after the log's end, {end} for read_committed: offsets that no record has yet can't be \
         given up"
    )]
    PastEnd {
        /// The partition.
        partition: Partition,
        /// Where the ledger was to end.
        to: i64,
        /// Where the log ends for read_committed.
        end: i64,
    },
    /// Nothing is wrong.
    #[error(
        "{partition}: the ledger ends at position {position}, and what follows can be read{}, so there is nothing to give up",
        if .found > .position { format!(", from offset {found} on") } else { String::new() }
    )]
    CanBeRead {
        /// The partition.
        partition: Partition,
        /// Where the ledger ends.
        position: i64,
        /// The next record, or the end of the log.
        found: i64,
    },
    /// The batch is whole, as far as anyone can tell.
    #[error(
        "{partition}: the batch at offset {first} is not known to be damaged: {reason}. Nothing was given up; give this \
         command and weir more memory, and the batch is read"
    )]
    TooLarge {
        /// The partition.
        partition: Partition,
        /// Where the batch begins.
        first: i64,
        /// What it needs, and what there is.
        reason: String,
    },
    /// Records would be lost that need not be.
    #[error(
        "{partition}: of the {} offset(s) from {position} to {to}, Kafka still has {}: its log starts at {start}. If weir can \
         read them, do not give them up{}. If it can't, `--to readable` gives up the \
         damaged batch alone. If they are not wanted: `weir skip {} {partition} --to {to} --readable`",
        .to - .position, .to - .position.max(.start),
        if .position < .start { format!(", and skip only what is gone: `weir skip {} {partition} --to {start}`", words::shell(.file)) } else { String::new() },
        words::shell(.file)
    )]
    Readable {
        /// The partition.
        partition: Partition,
        /// Where the ledger ends.
        position: i64,
        /// Where it was to end.
        to: i64,
        /// Where the log starts.
        start: i64,
        /// The pipeline file.
        file: PathBuf,
    },
    /// The lane got on.
    #[error(
        "another weir process ({winner}) has committed records of {partition} meanwhile: it is not stopped. Nothing was \
         skipped; look where it is now, and ask again if it must be"
    )]
    GoesOn {
        /// The partition.
        partition: Partition,
        /// The process.
        winner: String,
    },
}

impl Coded for SkipError {
    fn code(&self) -> Code {
        match self {
            SkipError::Broker(error) => error.code(),
            SkipError::Ledger(error) => error.code(),
            SkipError::NotRead { .. } => Code::SkipTopicNotRead,
            SkipError::NoPartition { .. } => Code::SkipNoPartition,
            SkipError::NoChain { .. } => Code::SkipNoChain,
            SkipError::Behind { .. } => Code::SkipBehind,
            SkipError::PastEnd { .. } => Code::SkipPastEnd,
            SkipError::CanBeRead { .. } => Code::SkipCanBeRead,
            SkipError::TooLarge { .. } => Code::SkipTooLarge,
            SkipError::Readable { .. } => Code::SkipReadable,
            SkipError::GoesOn { .. } => Code::SkipGoesOn,
        }
    }
}

/// Gives up the offsets of a partition from the end of its ledger up to `to`. With `readable`, also such as Kafka still has.
/// Blocking.
///
/// # Errors
/// When that is refused, or Kafka or the disk fails; nothing has been given up then.
pub fn skip(pipeline: &Pipeline, partition: &Partition, to: SkipTo, readable: bool) -> Result<Skipped, SkipError> {
    if !pipeline.source.topics.iter().any(|topic| *topic == *partition.topic) {
        let (file, topics) = (pipeline.file.clone(), pipeline.source.topics.clone());
        return Err(SkipError::NotRead { file, topic: partition.topic.to_string(), topics });
    }
    // To open one to write to it would make it.
    Dataset::existing(&pipeline.folder())?;
    let broker = Broker::new(&client_config(&pipeline.source, QUEUE_BYTES))?;
    let skipped = skip_with(pipeline, &broker, &Order { partition, to, readable });
    broker.close();
    skipped
}

/// What a person wants to be given up.
struct Order<'a> {
    partition: &'a Partition,
    to: SkipTo,
    /// Also what can be read.
    readable: bool,
}

fn skip_with(pipeline: &Pipeline, broker: &Broker, order: &Order<'_>) -> Result<Skipped, SkipError> {
    let Order { partition, to, readable } = *order;
    let identity = identity(pipeline, broker.cluster_id()?);
    let (_, partitions) = broker.topic(&partition.topic)?;
    if !(0..partitions).contains(&partition.partition) {
        return Err(SkipError::NoPartition { partition: partition.clone(), partitions });
    }
    let bounds = broker.bounds(std::slice::from_ref(partition))?[partition];
    // Asked for after the bounds: if it is the ledger's, they are that topic's too, because an id never comes back.
    let topic_id = broker.topic_id(&partition.topic, ANSWER_WITHIN)?;
    let definition = Definition::of(pipeline);
    let dataset = Dataset::open(&pipeline.folder(), &identity, definition)?;
    dataset.same_topic(&partition.topic, &topic_id)?;
    let chain = dataset.chain(&partition.topic, &topic_id, partition.partition);
    let folder = dataset.folder().to_owned();
    let Some(tip) = chain.recover()? else {
        return Err(SkipError::NoChain { folder, partition: partition.clone() });
    };
    let (to, meant) = match to {
        SkipTo::Earliest => (bounds.start, readable),
        SkipTo::Readable => (first_readable(broker, partition, tip.to, bounds)?, true),
        SkipTo::Position(to) => (to, readable),
    };
    let still_there =
        check(partition, Range { from: tip.to, to }, bounds, Asked { file: &pipeline.file, readable: meant })?;
    match chain.skip(&tip, to) {
        Err(LedgerError::Fenced { winner, .. }) => Err(SkipError::GoesOn { partition: partition.clone(), winner }),
        Err(error) => Err(error.into()),
        Ok(end) => Ok(Skipped { dataset: folder, from: tip.to, to, readable: still_there, sequence: end.sequence }),
    }
}

/// The first position at or after the ledger's end that can be read.
fn first_readable(broker: &Broker, partition: &Partition, position: i64, bounds: Bounds) -> Result<i64, SkipError> {
    let from = position.max(bounds.start);
    let look = |position| broker.look_at(partition, position);
    match look(from)? {
        Found::Damaged(first) => Ok(end_of_batch(first, from.max(first), bounds.end, look)?),
        Found::TooLarge(first, reason) => Err(SkipError::TooLarge { partition: partition.clone(), first, reason }),
        Found::Readable(_) if from > position => Ok(from),
        Found::Readable(found) => Err(SkipError::CanBeRead { partition: partition.clone(), position, found }),
    }
}

/// What a person asks for.
#[derive(Clone, Copy)]
struct Asked<'a> {
    /// The pipeline file.
    file: &'a Path,
    /// Whether what can be read may go, too.
    readable: bool,
}

/// Whether a range may be given up; how many of its offsets Kafka still has.
fn check(partition: &Partition, range: Range, bounds: Bounds, asked: Asked<'_>) -> Result<u64, SkipError> {
    let (partition, Asked { file, readable }) = (partition.clone(), asked);
    let (Range { from: position, to }, Bounds { start, end }) = (range, bounds);
    if to <= position {
        return Err(SkipError::Behind { partition, position, to });
    }
    if to > end {
        return Err(SkipError::PastEnd { partition, to, end });
    }
    let still_there = (to - position.max(start)).max(0).unsigned_abs();
    if still_there > 0 && !readable {
        return Err(SkipError::Readable { partition, position, to, start, file: file.to_owned() });
    }
    Ok(still_there)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn check_range(position: i64, to: i64, readable: bool) -> Result<u64, SkipError> {
        let partition = Partition { topic: "t".into(), partition: 0 };
        let asked = Asked { file: Path::new("t.toml"), readable };
        check(&partition, Range { from: position, to }, Bounds { start: 10, end: 20 }, asked)
    }

    #[test]
    fn what_is_gone_may_be_given_up() {
        assert_eq!([(3, 10), (3, 5), (9, 10)].map(|(from, to)| check_range(from, to, false).unwrap()), [0, 0, 0]);
    }

    #[test]
    fn what_is_still_there_only_if_that_is_meant() {
        for (from, to, still_there) in [(3, 11, 1), (10, 15, 5), (15, 20, 5), (3, 20, 10)] {
            assert!(matches!(check_range(from, to, false), Err(SkipError::Readable { .. })), "{from} to {to}");
            assert_eq!(check_range(from, to, true).unwrap(), still_there, "{from} to {to}");
        }
    }

    #[test]
    fn nothing_may_be_given_up_twice_or_before_it_is_there() {
        for readable in [false, true] {
            assert!(matches!(check_range(5, 5, readable), Err(SkipError::Behind { .. })));
            assert!(matches!(check_range(5, 4, readable), Err(SkipError::Behind { .. })));
            assert!(matches!(check_range(5, 21, readable), Err(SkipError::PastEnd { end: 20, .. })));
        }
    }
}
