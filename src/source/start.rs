//! Where a lane starts: from its ledger, or, where that is empty, from where the pipeline file says. Never a guess.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::base::codes::{Code, Coded};
use crate::base::panics;
use crate::base::words;
use crate::flow::lane::LaneError;
use crate::flow::run::Run;
use crate::ledger::{Chain, LedgerError, Tip};
use crate::model::LastRecord;
use crate::model::Partition;
use crate::model::pipeline::Start;
use crate::model::window::WindowState;

use super::confirm::same_topic;
use crate::kafka::client::{ANSWER_WITHIN, Bounds, Broker, BrokerError};

/// Why a lane can't start, or go on.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The ledger can't be read or written.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// A bug, or no thread is left.
    #[error("starting the lane panicked ({0}); {blame}", blame = panics::blame())]
    Panicked(String),
    /// The brokers didn't answer.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// Kafka no longer has the next record.
    #[error(
        "{partition}: the ledger ends at position {position}, but the log now starts at {start}: {} record(s) may have been \
         deleted before weir read them (retention, or delete-records); nothing is skipped silently. To go on without them, \
         with the gap recorded as lost: `weir skip {} {partition} --to {start}`, then start weir again. To keep this dataset \
         without a gap, write a new one (another `name`). Either way, give the topic a longer retention",
        .start - .position, words::shell(.file)
    )]
    Deleted {
        /// The partition.
        partition: Partition,
        /// Where the ledger ends.
        position: i64,
        /// Where the log starts.
        start: i64,
        /// The pipeline file.
        file: PathBuf,
    },
    /// There is no ledger yet, and Kafka doesn't have the position to start from.
    #[error(
        "{partition}: its first position is to be {position}, as `source.start` says, but the log is from {start} to {end}: \
         nothing is skipped silently. Choose another `source.start`: \"earliest\" begins with what is left"
    )]
    NoStart {
        /// The partition.
        partition: Partition,
        /// The position to start from.
        position: i64,
        /// Where the log starts.
        start: i64,
        /// Where the log ends for read_committed.
        end: i64,
    },
    /// Kafka has less than the ledger.
    #[error(
        "{partition}: the ledger ends at position {position}, but the log ends at {end}: the log was cut or is not the one \
         this dataset was read from. Wait if the cluster is recovering; otherwise write a new dataset (another `name`): new \
         records get the numbers of those that are in this one"
    )]
    PastEnd {
        /// The partition.
        partition: Partition,
        /// Where the ledger ends.
        position: i64,
        /// Where the log ends for read_committed.
        end: i64,
    },
    /// Kafka's records aren't those that the dataset has.
    #[error(
        "{partition}: the ledger ends at position {position}, and the last record that this dataset read is at offset {}, but \
         the brokers no longer have that record{}: they lost confirmed records (an unclean leader election, or a restored \
         disk), and others have taken their offsets, or will. Those before position {position} would be missing here, so \
         nothing is read on. Write a new dataset (another `name`), and switch `unclean.leader.election.enable` off for the topic",
        .last.offset,
        .last.leader_epoch.map_or_else(String::new, |epoch| format!(" of leader epoch {epoch}"))
    )]
    Cut {
        /// The partition.
        partition: Partition,
        /// Where the ledger ends.
        position: i64,
        /// The last record that was read.
        last: LastRecord,
    },
    /// Kafka has a record where there was none.
    #[error(
        "{partition}: the ledger ends at position {position}, and this dataset saw no record between offset {} and there, but \
         the log has one at offset {found} now: the brokers lost what was there (an unclean leader election, or a restored \
         disk). Records before position {position} would be missing here, so nothing is read on. Write a new dataset (another \
         `name`), and switch `unclean.leader.election.enable` off for the topic",
        .last.offset
    )]
    Replaced {
        /// The partition.
        partition: Partition,
        /// Where the ledger ends.
        position: i64,
        /// The last record that was read.
        last: LastRecord,
        /// Where there is a record now.
        found: i64,
    },
    /// Kafka has less than it had when a run to the end began.
    #[error(
        "{partition}: this run was to read up to position {until}, where the log ended when it began, but the log ends at {end} \
         now: the brokers lost confirmed records (an unclean leader election). What was read before is committed. Wait if the \
         cluster is recovering; then start weir again, which says whether the dataset is still the log's"
    )]
    Short {
        /// The partition.
        partition: Partition,
        /// This run's end.
        until: i64,
        /// Where the log ends for read_committed.
        end: i64,
    },
    /// The ledger is older than what was committed.
    #[error(
        "{partition}: the ledger ends at position {position}, but group {group:?} has committed {committed}: this looks like a \
         restored backup or a copy of the dataset. Reading on would repeat records that a newer copy already holds. If there \
         is a newer copy, use that. If this copy is the one to keep, give the pipeline another `source.group`: weir goes on \
         from this ledger, and reads again what Kafka still has. Where Kafka has deleted some of it, weir stops and says how \
         to go on"
    )]
    Behind {
        /// The partition.
        partition: Partition,
        /// Where the ledger ends.
        position: i64,
        /// The group.
        group: String,
        /// The group's committed offset.
        committed: i64,
    },
    /// `start = "committed"` without a committed offset.
    #[error(
        "{partition}: start = \"committed\", but group {group:?} has no committed offset for it; name the group to take over \
         in source.group, or choose another start"
    )]
    NothingCommitted {
        /// The partition.
        partition: Partition,
        /// The group.
        group: String,
    },
    /// The topic isn't the one that the dataset was read from.
    #[error(
        "{topic}: the topic was deleted and made again while it was read (its id was {before}, and is {now} now). Its records \
         are another stream: write a new dataset (another `name`), or move the old dataset's folder away"
    )]
    TopicReplaced {
        /// The topic.
        topic: String,
        /// The id at the start.
        before: String,
        /// The id now.
        now: String,
    },
    /// Nobody answered, and there is no time to wait.
    #[error(
        "{topic}: no broker answers to confirm that the topic is still the one that was read; what was not committed is read \
         again at the next start"
    )]
    Unconfirmed {
        /// The topic.
        topic: String,
    },
}

impl Coded for StartError {
    fn code(&self) -> Code {
        match self {
            StartError::Ledger(error) => error.code(),
            StartError::Panicked(_) => Code::Panicked,
            StartError::Broker(error) => error.code(),
            StartError::Deleted { .. } => Code::StartDeleted,
            StartError::NoStart { .. } => Code::StartNowhere,
            StartError::PastEnd { .. } => Code::StartPastEnd,
            StartError::Cut { .. } => Code::StartCut,
            StartError::Replaced { .. } => Code::StartReplaced,
            StartError::Short { .. } => Code::RunShort,
            StartError::Behind { .. } => Code::StartBehind,
            StartError::NothingCommitted { .. } => Code::NothingCommitted,
            StartError::TopicReplaced { .. } => Code::TopicReplaced,
            StartError::Unconfirmed { .. } => Code::TopicUnconfirmed,
        }
    }
}

/// What is known of the topics of partitions that start together: the answer about a topic tells of all its partitions, and
/// a thousand of them would make it long.
#[derive(Debug, Default)]
pub(super) struct SameTopics(Mutex<HashMap<Arc<str>, bool>>);

impl SameTopics {
    /// Blocking: asks, unless another partition's question was answered well.
    fn check(&self, run: &Run, broker: &Broker, topic: &Arc<str>) -> Result<(), StartError> {
        let ask = || same_topic(run, broker, topic, ANSWER_WITHIN);
        // Held while the first one asks, so that the others wait for its answer.
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match known.get(topic) {
            Some(true) => Ok(()),
            Some(false) => {
                // Each says itself what is wrong, and none waits for another one's answer that may not come.
                drop(known);
                ask()
            }
            None => {
                let answer = ask();
                known.insert(topic.clone(), answer.is_ok());
                answer
            }
        }
    }
}

/// Where a lane goes on.
pub(super) struct Known {
    pub(super) tip: Tip,
    /// The group's offset, whoever committed it.
    pub(super) committed: Option<i64>,
}

/// Blocking: everything between being given a partition and knowing where to read on.
pub(super) fn read_ledger(
    run: &Run,
    broker: &Broker,
    partition: &Partition,
    topics: &SameTopics,
) -> Result<Known, StartError> {
    topics.check(run, broker, &partition.topic)?;
    let topic = run.topic(&partition.topic);
    let question = Question {
        partition,
        broker,
        start: run.pipeline.source.start,
        group: &run.pipeline.source.group,
        dataset_id: run.dataset_id(),
        partitions_at_start: topic.partitions_at_start,
        first_window: run.pipeline.window.kind().first_state(),
        file: &run.pipeline.file,
    };
    resolve(&run.chain(partition), &question, |chain, position, window| run.start_chain(chain, position, window))
}

/// What is still to be read of a partition.
pub(super) struct ToRead<'a> {
    pub(super) partition: &'a Partition,
    pub(super) position: i64,
    /// This run's end, if it has one.
    pub(super) until: Option<i64>,
}

/// Blocking: whether Kafka still has everything from a position on, and everything before this
/// run's end, if it has one.
pub(super) fn check_partition(
    run: &Run,
    broker: &Broker,
    of: &ToRead<'_>,
    topics: &SameTopics,
) -> Result<(), StartError> {
    let ToRead { partition, position, until } = *of;
    topics.check(run, broker, &partition.topic)?;
    let bounds = broker.bounds(std::slice::from_ref(partition))?[partition];
    check(partition, position, bounds, &run.pipeline.file)?;
    match until.filter(|until| *until > bounds.end) {
        Some(until) => Err(StartError::Short { partition: partition.clone(), until, end: bounds.end }),
        None => Ok(()),
    }
}

/// What to do about a batch that can't be read.
pub(crate) fn give_up_a_batch(partition: &Partition, file: &Path) -> String {
    format!(
        "What came before it is committed. Mend the broker's copy (another replica as leader) and start weir again. If no copy \
         is whole, `weir skip {} {partition} --to readable` gives the batch up and records it as lost",
        words::shell(file)
    )
}

/// Whether trying again may help.
pub(super) fn transient(error: &StartError) -> bool {
    match error {
        StartError::Ledger(error) => error.may_pass(),
        StartError::Broker(_) => true,
        _ => false,
    }
}

impl From<StartError> for LaneError {
    fn from(error: StartError) -> Self {
        LaneError::Unconfirmed { may_pass: transient(&error), answer: Box::new(error) }
    }
}

/// What a start needs to know.
struct Question<'a> {
    partition: &'a Partition,
    broker: &'a Broker,
    start: Start,
    group: &'a str,
    /// Marks offsets that were committed for this dataset.
    dataset_id: &'a str,
    /// How many partitions the topic had when the dataset first saw it; later ones start at their beginning.
    partitions_at_start: i32,
    first_window: WindowState,
    /// The pipeline file.
    file: &'a Path,
}

/// The chain's end, from which the lane goes on; blocking.
///
/// The group's offset is read before the chain: read after it, another instance's newer commit would look like a
/// restored backup.
fn resolve(
    chain: &Chain,
    question: &Question<'_>,
    start: impl Fn(&Chain, i64, WindowState) -> Result<Tip, LedgerError>,
) -> Result<Known, StartError> {
    let partition = question.partition;
    let bounds = || Ok::<_, BrokerError>(question.broker.bounds(std::slice::from_ref(partition))?[partition]);
    let group = question.broker.committed(partition)?;
    let committed = group.as_ref().map(|(offset, _)| *offset);
    let mut tip = match chain.recover()? {
        Some(tip) => {
            // What the group committed for another dataset, or by another program, says nothing about this one.
            let ours = group.filter(|(_, mark)| mark == question.dataset_id);
            if let Some((committed, _)) = ours.filter(|(committed, _)| *committed > tip.to) {
                let group = question.group.to_owned();
                return Err(StartError::Behind { partition: partition.clone(), position: tip.to, group, committed });
            }
            tip
        }
        None => {
            let bounds = bounds()?;
            let position = first_position(question, committed, bounds)?;
            if position < bounds.start || position > bounds.end {
                let (partition, Bounds { start, end }) = (partition.clone(), bounds);
                return Err(StartError::NoStart { partition, position, start, end });
            }
            let tip = start(chain, position, question.first_window.clone())?;
            if tip.to == position {
                return Ok(Known { tip, committed });
            }
            tip // Another instance's, which may be ahead of those bounds.
        }
    };
    let bounds = bounds()?;
    check(partition, tip.to, bounds, question.file)?;
    tip.last = tip.last.filter(|last| is_still_there(last, bounds));
    Ok(Known { tip, committed })
}

/// Whether Kafka still has everything from `position` on.
fn check(partition: &Partition, position: i64, bounds: Bounds, file: &Path) -> Result<(), StartError> {
    let partition = partition.clone();
    if position < bounds.start {
        return Err(StartError::Deleted { partition, position, start: bounds.start, file: file.to_owned() });
    }
    if position > bounds.end {
        return Err(StartError::PastEnd { partition, position, end: bounds.end });
    }
    Ok(())
}

/// Whether Kafka can be asked for a record: not for one that it has deleted.
fn is_still_there(last: &LastRecord, bounds: Bounds) -> bool {
    last.offset >= bounds.start
}

fn first_position(question: &Question<'_>, committed: Option<i64>, bounds: Bounds) -> Result<i64, StartError> {
    let partition = question.partition;
    if partition.partition >= question.partitions_at_start {
        return Ok(bounds.start);
    }
    Ok(match question.start {
        Start::Earliest => bounds.start,
        Start::Latest => bounds.end,
        Start::Timestamp(timestamp_ms) => question.broker.at_timestamp(partition, timestamp_ms)?,
        Start::Committed => committed.ok_or_else(|| StartError::NothingCommitted {
            partition: partition.clone(),
            group: question.group.to_owned(),
        })?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_at(position: i64) -> Result<(), StartError> {
        let partition = Partition { topic: "t".into(), partition: 0 };
        check(&partition, position, Bounds { start: 10, end: 20 }, Path::new("t.toml"))
    }

    #[test]
    fn a_position_must_be_within_the_log() {
        assert!(check_at(10).is_ok() && check_at(20).is_ok());
        assert!(matches!(check_at(9), Err(StartError::Deleted { start: 10, .. })));
        assert!(matches!(check_at(21), Err(StartError::PastEnd { end: 20, .. })));
    }

    #[test]
    fn a_record_that_retention_deleted_is_not_asked_for() {
        let last = |offset| LastRecord { offset, leader_epoch: Some(1) };
        let asked = [9, 10].map(|offset| is_still_there(&last(offset), Bounds { start: 10, end: 20 }));
        assert_eq!(asked, [false, true]);
    }
}
