//! What every part of a running pipeline knows.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::meters::Meters;
use super::progress::Progress;
use crate::base::credits::Credits;
use crate::ledger::{Chain, Committer, Dataset, LedgerError, Others, Tip};
use crate::model::window::WindowState;
use crate::model::{Partition, Pipeline, Restart};

/// What every part of a running pipeline knows.
pub struct Run {
    /// The definition.
    pub pipeline: Pipeline,
    /// How long lanes may take to commit what they have when they are to end.
    pub drain: Duration,
    /// Bytes that half-full batches of one consumer may hold, all its partitions together.
    pub collecting_bytes: usize,
    /// How lanes are restarted.
    pub restarts: Restart,
    /// Memory that may still be used.
    pub credits: Credits,
    /// How far the run is.
    pub progress: Arc<Progress>,
    /// What its stages do with their time.
    pub meters: Arc<Meters>,
    /// The dataset.
    pub dataset: Dataset,
    /// Makes entries of the ledger.
    pub committer: Committer,
    /// The topics, by name.
    pub topics: HashMap<String, Topic>,
    /// How many consumers read it.
    pub consumers: usize,
}

/// The numbers of a run, which outlive it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Numbers {
    /// How far it is.
    pub progress: Arc<Progress>,
    /// What its stages do with their time.
    pub meters: Arc<Meters>,
    /// Memory that it uses.
    pub credits: Credits,
}

/// A topic as the run found it.
#[derive(Debug, Clone)]
pub struct Topic {
    /// The cluster's id for it.
    pub id: String,
    /// How many partitions it had when the dataset first saw it.
    pub partitions_at_start: i32,
    /// How many it has now.
    pub partitions: i32,
}

impl Run {
    /// What is known of a topic of this pipeline.
    pub fn topic(&self, topic: &str) -> &Topic {
        &self.topics[topic]
    }

    /// A partition's chain in the ledger.
    pub fn chain(&self, partition: &Partition) -> Chain {
        self.dataset.chain(&partition.topic, &self.topic(&partition.topic).id, partition.partition)
    }

    /// Starts a partition's chain at `position`, or adopts the one that another instance has started. Blocking.
    ///
    /// # Errors
    /// When the ledger can't be written.
    pub(crate) fn start_chain(&self, chain: &Chain, position: i64, window: WindowState) -> Result<Tip, LedgerError> {
        let reply = self.committer.commit(chain.first_entry(position, window));
        chain.adopt(reply.blocking_recv().expect("the committer ends with its last handle, and this is one"))
    }

    /// Up to where a quiet partition may close its windows because the others have; a window's bound, in microseconds since
    /// 1970.
    pub fn closed_by_others(&self, partition: &Partition, others: &Others) -> Option<i64> {
        let mut calendar = self.pipeline.window.kind().calendar()?;
        let to = others.closed_to(&self.chain(partition));
        // Only whole windows: the others' watermarks move with every row.
        to.map(|to| calendar.window(to).0)
    }

    /// The chains of all partitions.
    pub fn chains(&self) -> Vec<Chain> {
        let of = |(name, topic): (&String, &Topic)| {
            (0..topic.partitions).map(|partition| self.dataset.chain(name, &topic.id, partition)).collect::<Vec<_>>()
        };
        self.topics.iter().flat_map(of).collect()
    }

    /// The dataset's id: marks the offsets that this dataset's instances commit to Kafka.
    pub fn dataset_id(&self) -> &str {
        self.dataset.id()
    }

    /// Its numbers.
    pub fn numbers(&self) -> Numbers {
        let (progress, meters, credits) = (self.progress.clone(), self.meters.clone(), self.credits.clone());
        Numbers { progress, meters, credits }
    }

    /// The dataset's folder.
    pub fn folder(&self) -> PathBuf {
        self.dataset.folder().to_owned()
    }
}
