//! What everybody may know of the service: the pipelines' phases and runs, and the files that were refused.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use tokio::sync::broadcast;
use utoipa::ToSchema;

use crate::flow::run::Numbers;
use crate::model::Pipeline;

/// How many changes a slow listener may be behind before it misses some.
const CHANGES_KEPT: usize = 256;

/// How a pipeline is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// It asks Kafka, opens its dataset and joins its group.
    Starting,
    /// It reads and writes.
    Running,
    /// It commits what was read, and reads no more.
    Pausing,
    /// It stays in its group and reads nothing.
    Paused,
    /// It commits what it has and leaves its group.
    Stopping,
    /// It is down until somebody starts it.
    Stopped,
    /// It could not start, or ended by itself, and starts again after a while.
    Failed,
}

impl Phase {
    /// All of them.
    pub const ALL: [Phase; 7] = [
        Phase::Starting,
        Phase::Running,
        Phase::Pausing,
        Phase::Paused,
        Phase::Stopping,
        Phase::Stopped,
        Phase::Failed,
    ];
}

impl Phase {
    /// Whether something runs.
    pub fn is_up(self) -> bool {
        matches!(self, Phase::Running | Phase::Pausing | Phase::Paused | Phase::Stopping)
    }
}

impl std::fmt::Display for Phase {
    /// As in answers.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.serialize(f)
    }
}

/// A pipeline, as it is now.
#[derive(Debug, Clone)]
pub struct Status {
    /// The file that defines it.
    pub file: PathBuf,
    /// Its definition, as it is to run.
    pub pipeline: Arc<Pipeline>,
    /// How it is.
    pub phase: Phase,
    /// Why it failed, or what else is to be said of the phase.
    pub reason: Option<String>,
    /// Of what runs, or ran last.
    pub run: Option<Numbers>,
    /// How often it was started.
    pub starts: u64,
}

/// A file that was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file.
    pub file: PathBuf,
    /// The pipeline that runs on as the file defined it before.
    pub pipeline: Option<String>,
    /// What is wrong, and what to do.
    pub text: String,
}

/// Something that changed, for those who listen.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Change {
    /// A pipeline is in another phase.
    Phase {
        /// Which one.
        pipeline: String,
        /// Its phase.
        phase: Phase,
        /// Why it failed.
        reason: Option<String>,
    },
    /// A pipeline is no longer there.
    Gone {
        /// Which one.
        pipeline: String,
    },
    /// The pipeline files were read again.
    Reloaded {
        /// How many were refused.
        problems: usize,
    },
}

impl Change {
    /// Its name as a server-sent event, which its data has as `event`, too.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Change::Phase { .. } => "phase",
            Change::Gone { .. } => "gone",
            Change::Reloaded { .. } => "reloaded",
        }
    }
}

/// How the service is as a whole.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum Stage {
    /// The pipeline files were not read yet.
    #[default]
    Starting,
    /// Every pipeline is kept as it is wanted.
    Kept,
    /// The folder can't be read, for this reason; the pipelines are kept as they were.
    Unreadable(String),
    /// It was told to end.
    Stopping,
}

/// What everybody may know. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Board {
    state: Arc<Mutex<State>>,
    changes: broadcast::Sender<Change>,
}

#[derive(Debug, Default)]
struct State {
    stage: Stage,
    pipelines: BTreeMap<String, Status>,
    problems: Vec<Problem>,
}

impl Default for Board {
    fn default() -> Self {
        Board { state: Arc::default(), changes: broadcast::channel(CHANGES_KEPT).0 }
    }
}

impl Board {
    /// Every pipeline, by name.
    pub fn pipelines(&self) -> BTreeMap<String, Status> {
        self.lock().pipelines.clone()
    }

    /// A pipeline.
    pub fn pipeline(&self, name: &str) -> Option<Status> {
        self.lock().pipelines.get(name).cloned()
    }

    /// The files that were refused.
    pub fn problems(&self) -> Vec<Problem> {
        self.lock().problems.clone()
    }

    /// What changes from now on.
    pub fn listen(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }

    pub(super) fn show(&self, name: &str, status: Status) {
        let (phase, reason) = (status.phase, status.reason.clone());
        let before = self.lock().pipelines.insert(name.to_owned(), status);
        if before.is_none_or(|before| before.phase != phase || before.reason != reason) {
            self.tell(Change::Phase { pipeline: name.to_owned(), phase, reason });
        }
    }

    pub(super) fn remove(&self, name: &str) {
        self.lock().pipelines.remove(name);
        self.tell(Change::Gone { pipeline: name.to_owned() });
    }

    pub(super) fn reloaded(&self, problems: Vec<Problem>) {
        let refused = problems.len();
        self.lock().problems = problems;
        self.tell(Change::Reloaded { problems: refused });
    }

    pub(super) fn stage(&self) -> Stage {
        self.lock().stage.clone()
    }

    pub(super) fn set_stage(&self, stage: Stage) {
        self.lock().stage = stage;
    }

    fn tell(&self, change: Change) {
        // Nobody may be listening.
        let _ = self.changes.send(change);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What keeps a service from being ready, each with its pipeline or file.
pub(super) fn not_ready(board: &Board) -> Vec<String> {
    let mut reasons: Vec<_> =
        board.problems().iter().map(|problem| format!("{}: the file was refused", problem.file.display())).collect();
    match board.stage() {
        Stage::Starting => reasons.push("the pipeline files were not read yet".to_owned()),
        Stage::Unreadable(reason) => reasons.push(reason),
        Stage::Stopping => reasons.push("weir is stopping".to_owned()),
        Stage::Kept => {}
    }
    for (name, status) in board.pipelines() {
        match (status.phase, &status.reason) {
            (Phase::Failed, Some(reason)) => reasons.push(format!("{name}: failed: {reason}")),
            (Phase::Failed, None) => reasons.push(format!("{name}: failed")),
            (Phase::Starting, _) => reasons.push(format!("{name}: is starting")),
            (Phase::Running | Phase::Pausing | Phase::Paused | Phase::Stopping | Phase::Stopped, _) => {}
        }
        let Some(run) = status.run.filter(|_| status.phase.is_up()) else { continue };
        let now = run.progress.snapshot();
        let parked = now.parked().map(|(partition, reason)| format!("{name}: {partition} is parked: {reason}"));
        reasons.extend(parked);
        let failing = now.lanes.iter().filter_map(|(partition, lane)| Some((partition, lane.failing.as_ref()?)));
        reasons.extend(failing.map(|(partition, reason)| format!("{name}: {partition} fails: {reason}")));
        let topics: BTreeSet<&str> = now.topics.values().map(|reason| &**reason).collect();
        reasons.extend(topics.into_iter().map(|reason| format!("{name}: {reason}")));
        reasons.extend(now.reasons_of_group().into_iter().map(|reason| format!("{name}: {reason}")));
        if !now.brokers.is_empty() && now.brokers.values().all(|broker| !broker.up) {
            reasons.push(format!("{name}: no connection to any broker"));
        }
    }
    reasons
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;
    use std::time::Instant;

    use super::*;
    use crate::base::credits::Credits;
    use crate::flow::progress::{BrokerConnection, Waiting};
    use crate::model::Partition;

    #[test]
    fn changes_are_named_as_their_data_says() {
        let pipeline = || "a".to_owned();
        for change in [
            Change::Phase { pipeline: pipeline(), phase: Phase::Running, reason: None },
            Change::Gone { pipeline: pipeline() },
            Change::Reloaded { problems: 0 },
        ] {
            assert_eq!(serde_json::to_value(&change).unwrap()["event"], change.name());
        }
    }

    #[test]
    fn what_is_not_as_it_should_be_is_named() {
        let board = Board::default();
        let check = |expected: &[&str]| assert_eq!(not_ready(&board), expected);
        check(&["the pipeline files were not read yet"]);
        board.set_stage(Stage::Kept);
        check(&[]);

        let text = include_str!("../../pipelines/air_quality.toml");
        let pipeline = Arc::new(Pipeline::parse("a.toml", text, &|_| None).unwrap());
        let numbers = Numbers { progress: Arc::default(), meters: Arc::default(), credits: Credits::new(1) };
        let show = |phase, reason: Option<&str>| {
            let reason = reason.map(str::to_owned);
            let (file, run) = ("a.toml".into(), Some(numbers.clone()));
            board.show("air", Status { file, pipeline: pipeline.clone(), phase, reason, run, starts: 1 });
        };
        show(Phase::Starting, None);
        check(&["air: is starting"]);
        show(Phase::Failed, Some("no broker"));
        check(&["air: failed: no broker"]);
        show(Phase::Running, None);
        check(&[]);

        let partition = Partition { topic: "t".into(), partition: 0 };
        numbers.progress.starts(&partition, 0, None);
        numbers.progress.fails(&partition, "the disk is full");
        check(&["air: t:0 fails: the disk is full"]);
        numbers.progress.starts(&partition, 0, None);
        numbers.progress.parks(&partition, "it is lost");
        check(&["air: t:0 is parked: it is lost", "air: t:0 fails: the disk is full"]);
        // What a person has stopped is as it should be, whatever it had before.
        show(Phase::Stopped, None);
        check(&[]);
        show(Phase::Running, None);
        numbers.progress.leaves(&partition);
        let refused = |reason: &str| Some(Waiting { refused: true, reason: reason.into() });
        for (source, reason) in [(0, Some("group g is full")), (1, Some("group g is full")), (2, Some("no answer"))] {
            numbers.progress.waits_for_group(source, reason.and_then(refused));
        }
        check(&["air: group g is full", "air: no answer"]);
        (0..3).for_each(|source| numbers.progress.waits_for_group(source, None));
        check(&[]);
        let topic = |reason: Option<&str>| [0, 1].map(|of| numbers.progress.topic(of, "t", reason.map(str::to_owned)));
        assert_eq!([topic(Some("t does not exist")), topic(Some("t does not exist"))], [[true; 2], [false; 2]], "news");
        check(&["air: t does not exist"]);
        assert_eq!([topic(None), topic(None)], [[true; 2], [false; 2]], "news");
        check(&[]);
        let down = [("a:9092".to_owned(), BrokerConnection::default())];
        numbers.progress.statistics(0, [], down, Instant::now());
        check(&["air: no connection to any broker"]);
        let one_up =
            ["a", "b"].map(|name| (name.to_owned(), BrokerConnection { up: name == "b", ..Default::default() }));
        numbers.progress.statistics(0, [], one_up, Instant::now());
        check(&[]);

        board.reloaded(vec![Problem { file: "b.toml".into(), pipeline: None, text: "broken".into() }]);
        board.set_stage(Stage::Stopping);
        check(&["b.toml: the file was refused", "weir is stopping"]);
    }
}
