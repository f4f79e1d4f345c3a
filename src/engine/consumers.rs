//! A process's consumers of one pipeline: how many, how the group knows them apart, and what each reads in a run until the end.

use std::collections::BTreeMap;
use std::sync::Arc;

use rdkafka::config::ClientConfig;

use super::open::RunError;
use crate::flow::run::Run;
use crate::kafka::{Bounds, Broker};
use crate::model::Partition;

/// How many consumers a process has that isn't told. Of the 1.3 us that a gzip reading takes, a consumer's two threads have 0.3
/// and 0.16: with up to four cores it is the rest that is waited for.
pub(super) fn consumers_for(cores: usize) -> usize {
    cores.div_ceil(4)
}

/// The configuration of one of a process's consumers: a group refuses two members with the same static name.
pub(super) fn member(config: &ClientConfig, number: usize) -> ClientConfig {
    const STATIC_NAME: &str = "group.instance.id";
    let mut config = config.clone();
    if let Some(name) = config.get(STATIC_NAME).filter(|_| number > 0) {
        let name = format!("{name}-{number}");
        config.set(STATIC_NAME, name);
    }
    config
}

/// What a source reads in a run until the end, and up to where.
pub(super) type Share = Option<BTreeMap<Partition, Bounds>>;

/// Deals the partitions of a run until the end to its sources.
pub(super) async fn shares(run: &Arc<Run>, broker: &Broker, sources: usize) -> Result<Vec<Share>, RunError> {
    let partitions: Vec<Partition> = run
        .topics
        .iter()
        .flat_map(|(topic, known)| {
            (0..known.partitions).map(|partition| Partition { topic: topic.as_str().into(), partition })
        })
        .collect();
    let broker = broker.clone();
    let bounds = tokio::task::spawn_blocking(move || broker.bounds(&partitions));
    let bounds = bounds.await.expect("asking returns its errors; it panics only on a bug")?;
    let mut shares = vec![BTreeMap::new(); sources];
    for (at, (partition, bounds)) in bounds.into_iter().enumerate() {
        // Counted from here on, so that a run that is stopped before a lane starts isn't taken for one that is done.
        run.progress.starts(&partition, bounds.start, Some(bounds.end));
        shares[at % sources].insert(partition, bounds);
    }
    Ok(shares.into_iter().map(Some).collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn consumers_follow_the_cores() {
        assert_eq!([1, 2, 4, 5, 8, 64].map(consumers_for), [1, 1, 1, 2, 2, 16]);
    }

    #[test]
    fn static_members_of_one_process_have_names_of_their_own() {
        let mut config = ClientConfig::new();
        let names = |config: &ClientConfig| {
            [0, 1, 2].map(|number| member(config, number).get("group.instance.id").map(str::to_owned))
        };
        assert_eq!(names(&config), [None, None, None]);
        config.set("group.instance.id", "weir-a");
        assert_eq!(names(&config).map(Option::unwrap), ["weir-a", "weir-a-1", "weir-a-2"]);
    }
}
