//! What a pipeline needs before an actor starts: its consumers, the cluster's answers, and the dataset, opened for both.

use std::collections::HashMap;
use std::sync::Arc;

use rdkafka::config::ClientConfig;

use super::consumers::member;
use super::identity::identity;
use super::limits::RunOptions;
use crate::base::codes::{Code, Coded};
use crate::base::credits::Credits;
use crate::base::memory;
use crate::base::panics;
use crate::flow::run::{Run, Topic};
use crate::kafka::{Broker, BrokerError, client_config};
use crate::ledger::{Committer, Dataset, Definition, LedgerError};
use crate::model::Pipeline;
use crate::source::Confirm;

/// Why a pipeline can't start.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Kafka isn't there or refuses.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// The dataset can't be opened.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// No thread.
    #[error("the operating system gives no more threads: {0}")]
    Thread(#[from] std::io::Error),
    /// It panicked.
    #[error("the start panicked ({0}); {blame}", blame = panics::blame())]
    Panicked(String),
}

impl Coded for RunError {
    fn code(&self) -> Code {
        match self {
            RunError::Broker(error) => error.code(),
            RunError::Ledger(error) => error.code(),
            RunError::Thread(_) => Code::NoThread,
            RunError::Panicked(_) => Code::Panicked,
        }
    }
}

/// A pipeline that can start.
pub(super) struct Opened {
    pub(super) run: Arc<Run>,
    /// One a source.
    pub(super) brokers: Vec<Broker>,
    pub(super) confirm: Arc<Confirm>,
}

/// Blocking: asks the cluster who it is, and opens the dataset for it.
pub(super) fn open(pipeline: Pipeline, options: RunOptions, consumers: usize) -> Result<Opened, RunError> {
    let RunOptions { limits, restarts, .. } = options;
    let config: ClientConfig = client_config(&pipeline.source, memory::fetch_bytes(limits.memory) / consumers);
    let brokers: Vec<_> =
        (0..consumers).map(|number| Broker::new(&member(&config, number))).collect::<Result<_, _>>()?;
    let cluster_id = brokers[0].cluster_id()?;
    let described: Vec<(String, String, i32)> = pipeline
        .source
        .topics
        .iter()
        .map(|topic| brokers[0].topic(topic).map(|(id, partitions)| (topic.clone(), id, partitions)))
        .collect::<Result<_, _>>()?;
    let identity = identity(&pipeline, cluster_id);
    let definition = Definition::of(&pipeline);
    let folder = pipeline.folder();
    let dataset = Dataset::open(&folder, &identity, definition)?;
    let mut topics = HashMap::new();
    for (topic, id, partitions) in described {
        let partitions_at_start = dataset.topic(&topic, &id, partitions)?.partitions_at_start;
        topics.insert(topic, Topic { id, partitions_at_start, partitions });
    }
    let run = Arc::new(Run {
        drain: limits.drain,
        collecting_bytes: memory::collecting_bytes(limits.memory) / consumers,
        restarts,
        credits: Credits::new(memory::credit_bytes(limits.memory)),
        progress: Arc::default(),
        meters: Arc::default(),
        committer: Committer::start(dataset.clone()),
        dataset,
        topics,
        consumers,
        pipeline,
    });
    let confirm = Arc::new(Confirm::new(&run, &config)?);
    Ok(Opened { run, brokers, confirm })
}
