//! What answers look like: every shape, unit and name of the API.

use std::collections::BTreeMap;

use actix_web::{HttpResponse, http::StatusCode};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::answer::TEXT_BYTES_MAX;
use crate::base::codes::Code;
use crate::base::words::cut;
use crate::flow::progress::LaneProgress;
use crate::ledger::Entry;
use crate::model::Partition;
use crate::model::{Class, Counts, Side};
use crate::service::board::{Phase, Problem, Status};

/// Why something could not be done.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Failure {
    /// What is wrong, and what to do.
    error: String,
    /// Which kind of error it is: `WEIR-H013`.
    code: &'static str,
}

impl Failure {
    pub(super) fn new(code: Code, error: impl Into<String>) -> Failure {
        Failure { error: error.into(), code: code.id() }
    }

    pub(super) fn answer(status: StatusCode, code: Code, error: impl Into<String>) -> HttpResponse {
        HttpResponse::build(status).json(Failure::new(code, error))
    }
}

/// That the process lives.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Health {
    /// `ok`
    pub(super) status: &'static str,
    /// weir's version.
    pub(super) version: &'static str,
}

/// Whether everything runs that should.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Readiness {
    /// Whether it does.
    pub(super) ready: bool,
    /// What doesn't, and why.
    pub(super) reasons: Vec<String>,
}

/// A pipeline.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PipelineView {
    /// Its name.
    name: String,
    /// The file that defines it.
    file: String,
    /// How it is.
    phase: Phase,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// Why its file, as it is now, was refused; the definition from before runs on.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
    /// The topics that it reads.
    topics: Vec<String>,
    /// Its consumer group.
    group: String,
    /// Its dataset's folder.
    dataset: String,
    /// SHA-256 of its definition, as entries of the ledger have it.
    definition: String,
    /// How often it was started since the service was.
    starts: u64,
    /// What its present run has done, or its last one.
    run: Option<RunView>,
}

/// What a run has done.
#[derive(Debug, Serialize, ToSchema)]
struct RunView {
    /// How long ago it was started, in seconds.
    seconds: f64,
    /// Records read, committed or not.
    read: u64,
    /// Bytes of their values.
    read_bytes: u64,
    /// Records committed, by class.
    records: ClassesView,
    /// Rejected records by rule.
    rejected_by: Vec<RuleView>,
    /// Files published.
    files: u64,
    /// Their bytes.
    bytes: u64,
    /// Commits.
    commits: u64,
    /// Lanes that started again after a failure.
    restarts: u64,
    /// How often the group gave partitions or took them back.
    rebalances: u64,
    /// Why its group has given it no partitions, or refuses it; nothing where each consumer has an
    /// assignment.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    waiting_for_group: Vec<String>,
    /// Partitions that it has.
    partitions: usize,
    /// Partitions that have failed and not committed since; they are tried again.
    failing: usize,
    /// Partitions that were given up.
    parked: usize,
    /// Positions between the ledger's ends and the last stable offsets, over all partitions; nothing where one's is not known.
    lag: Option<i64>,
    /// Bytes of records and open files in memory.
    buffered_bytes: usize,
    /// Bytes at which it stops reading.
    buffered_bytes_limit: usize,
}

/// Records by class: each is in exactly one, but that dropped ones are late ones, too.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ClassesView {
    /// Rows in `data/`.
    row: u64,
    /// Rows in `rejects/`.
    rejected: u64,
    /// Rows that came after their window had closed.
    late: u64,
    /// Of the late ones, those that are in no file.
    dropped: u64,
    /// Records that the pipeline leaves out.
    filtered: u64,
    /// Records without a value.
    tombstone: u64,
    /// Offsets that a person gave up with `weir skip`: at the most so many records are lost.
    lost: u64,
}

impl From<Counts> for ClassesView {
    fn from(counts: Counts) -> Self {
        let [row, rejected, late, filtered, tombstone, lost] = Class::ALL.map(|class| counts[class]);
        ClassesView { row, rejected, late, dropped: counts.dropped, filtered, tombstone, lost }
    }
}

/// Rejected records of one rule.
#[derive(Debug, Serialize, ToSchema)]
struct RuleView {
    /// The column; none where the whole record is meant.
    #[serde(skip_serializing_if = "String::is_empty")]
    column: String,
    /// The rule.
    rule: String,
    /// How many.
    records: u64,
}

impl PipelineView {
    pub(super) fn new(name: String, status: &Status, problems: &[Problem]) -> Self {
        let problem = problems.iter().find(|problem| problem.pipeline.as_ref() == Some(&name));
        let pipeline = &status.pipeline;
        let folder = pipeline.folder();
        let run = status.run.as_ref().map(|run| {
            let now = run.progress.snapshot();
            RunView {
                seconds: run.progress.started().elapsed().as_secs_f64(),
                read: now.read,
                read_bytes: now.read_bytes,
                records: now.counts.into(),
                rejected_by: rules(&now.rejected_by),
                files: now.files,
                bytes: now.bytes,
                commits: now.commits,
                restarts: now.restarts,
                rebalances: now.rebalances,
                waiting_for_group: now.reasons_of_group(),
                partitions: now.lanes.len(),
                failing: now.lanes.values().filter(|lane| lane.failing.is_some()).count(),
                parked: now.parked().count(),
                lag: (!now.lanes.is_empty()).then(|| now.lanes.values().map(LaneProgress::lag).sum()).flatten(),
                buffered_bytes: run.credits.used(),
                buffered_bytes_limit: run.credits.limit(),
            }
        });
        PipelineView {
            file: status.file.display().to_string(),
            phase: status.phase,
            reason: status.reason.as_deref().map(shown),
            problem: problem.map(|problem| shown(&problem.text)),
            topics: pipeline.source.topics.clone(),
            group: pipeline.source.group.clone(),
            dataset: std::path::absolute(&folder).unwrap_or(folder).display().to_string(),
            definition: pipeline.hash.clone(),
            starts: status.starts,
            run,
            name,
        }
    }
}

fn rules(counts: &BTreeMap<(String, String), u64>) -> Vec<RuleView> {
    let view = |((column, rule), records): (&(String, String), &u64)| RuleView {
        column: column.clone(),
        rule: rule.clone(),
        records: *records,
    };
    counts.iter().map(view).collect()
}

/// All pipelines, and what a person has to mend.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PipelinesView {
    /// The pipelines, by name.
    pub(super) pipelines: Vec<PipelineView>,
    /// The files that were refused, by name; then the pipelines whose group gives them nothing.
    pub(super) problems: Vec<ProblemView>,
}

/// A pipeline file that was refused, or whose pipeline's group gives it nothing.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ProblemView {
    /// The file.
    file: String,
    /// The pipeline that waits for its group, or that runs on as the file defined it before.
    pipeline: Option<String>,
    /// What is wrong, and what to do.
    text: String,
}

impl ProblemView {
    /// Why a pipeline's group gives it nothing.
    pub(super) fn of_group(name: &str, status: &Status) -> Vec<ProblemView> {
        let run = status.run.as_ref().filter(|_| status.phase.is_up());
        let reasons = run.map(|run| run.progress.snapshot().reasons_of_group()).unwrap_or_default();
        let view =
            |text| ProblemView { file: status.file.display().to_string(), pipeline: Some(name.to_owned()), text };
        reasons.into_iter().map(view).collect()
    }
}

impl From<Problem> for ProblemView {
    fn from(Problem { file, pipeline, text }: Problem) -> Self {
        ProblemView { file: file.display().to_string(), pipeline, text: shown(&text) }
    }
}

/// A partition of a pipeline.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LaneView {
    /// The topic.
    topic: String,
    /// The partition.
    partition: i32,
    /// Where its ledger ends: the next position to commit. Markers of transactions have positions,
    /// too.
    position: i64,
    /// The last stable offset: up to here a read_committed consumer can read. Never below
    /// `position`.
    last_stable_offset: Option<i64>,
    /// The high watermark: up to here there are records, some of them in open transactions. Never
    /// below `position`.
    high_watermark: Option<i64>,
    /// Positions that are stable and not committed.
    lag: Option<i64>,
    /// How old the newest committed record is, in seconds, while there is a lag; 0 when there isn't.
    lag_seconds: Option<f64>,
    /// For how many seconds an open transaction has held the last stable offset back.
    stuck_seconds: Option<f64>,
    /// The Kafka timestamp of the newest record that this run has committed.
    newest: Option<String>,
    /// The watermark of windows of time.
    watermark: Option<String>,
    /// Why it failed last, if it has not committed since; it is tried again.
    failing: Option<String>,
    /// Why it was given up, if it was: stop and start the pipeline once the cause is mended.
    parked: Option<String>,
}

impl LaneView {
    pub(super) fn new(partition: &Partition, lane: &LaneProgress) -> Self {
        LaneView {
            topic: partition.topic.to_string(),
            partition: partition.partition,
            position: lane.position,
            last_stable_offset: lane.log_end.map(|log_end| log_end.stable),
            high_watermark: lane.log_end.map(|log_end| log_end.high),
            lag: lane.lag(),
            lag_seconds: lane.lag_seconds(Timestamp::now().as_microsecond()),
            stuck_seconds: lane.log_end.and_then(|end| end.stuck_since).map(|since| since.elapsed().as_secs_f64()),
            newest: lane.newest_us.map(time),
            watermark: lane.watermark_us.map(time),
            failing: lane.failing.as_deref().map(shown),
            parked: lane.parked.as_deref().map(shown),
        }
    }
}

/// A text of any length, as it is shown.
fn shown(text: &str) -> String {
    cut(text, TEXT_BYTES_MAX).into_owned()
}

/// RFC 3339.
pub(super) fn time(micros: i64) -> String {
    Timestamp::from_microsecond(micros).map_or_else(|_| format!("{micros} us"), |instant| instant.to_string())
}

/// A commit.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct EntryView {
    /// The topic.
    topic: String,
    /// The partition.
    partition: i32,
    /// The entry's number in its chain.
    sequence: u64,
    /// The first position that it covers.
    from: i64,
    /// The position after the last one that it covers.
    to: i64,
    /// Why it was written.
    reason: String,
    /// When.
    written_at: String,
    /// Records by class.
    records: ClassesView,
    /// How many files it made part of the dataset.
    files: usize,
    /// Their bytes.
    bytes: u64,
    /// The process that wrote it.
    instance: String,
}

impl From<&Entry> for EntryView {
    fn from(entry: &Entry) -> Self {
        EntryView {
            topic: entry.topic.clone(),
            partition: entry.partition,
            sequence: entry.sequence,
            from: entry.from,
            to: entry.to,
            reason: shown(&entry.reason),
            written_at: time(entry.written_at_ms.saturating_mul(1000)),
            records: entry.counts.into(),
            files: entry.files.len(),
            bytes: entry.files.iter().map(|file| file.bytes).sum(),
            instance: entry.instance.clone(),
        }
    }
}

/// A file of the dataset.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct FileView {
    /// Its name in the dataset's folder.
    path: String,
    /// The tree that it is in: `data`, `rejects` or `late`.
    side: &'static str,
    /// Rows in it.
    rows: u64,
    /// Its size.
    bytes: u64,
    /// SHA-256 of its content.
    sha256: String,
    /// When it was committed.
    committed_at: String,
}

impl FileView {
    pub(super) fn of(entry: &Entry) -> impl Iterator<Item = Self> {
        let committed_at = time(entry.written_at_ms.saturating_mul(1000));
        entry.files.iter().map(move |file| FileView {
            path: file.path.clone(),
            side: Side::folder(file.side),
            rows: file.rows,
            bytes: file.bytes,
            sha256: file.sha256.clone(),
            committed_at: committed_at.clone(),
        })
    }
}

/// A rejected record.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RejectView {
    /// The topic.
    pub(super) topic: String,
    /// The partition.
    pub(super) partition: i32,
    /// Its offset.
    pub(super) offset: i64,
    /// The stage that rejected it.
    pub(super) stage: String,
    /// The column; none where the whole record is meant.
    pub(super) column: Option<String>,
    /// The rule that it breaks.
    pub(super) rule: String,
    /// What was expected and what was found.
    pub(super) reason: String,
    /// The first 1024 characters of its payload, with bytes that are no text escaped.
    pub(super) payload: String,
    /// How many bytes the payload has; all of them are in `rejects/`.
    pub(super) payload_bytes: usize,
    /// Whether the payload is longer than what is shown of it.
    pub(super) truncated: bool,
}

/// A window of time.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct WindowView {
    /// Its first instant.
    pub(super) start: String,
    /// The instant after its last.
    pub(super) end: String,
    /// `open`, `complete` or `reopened`.
    pub(super) state: &'static str,
    /// Rows in `data/`.
    pub(super) rows: u64,
    /// Rows that came late, in `late/` or dropped.
    pub(super) late: u64,
    /// Rejected records counted for it.
    pub(super) rejected: u64,
    /// How many files it has.
    pub(super) files: usize,
    /// The partitions that keep it open: the first 20 of them.
    pub(super) held_back_by: Vec<String>,
    /// How many partitions keep it open.
    pub(super) held_back_by_partitions: usize,
}

/// How many of the newest are wanted.
#[derive(Debug, Clone, Copy, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Newest {
    /// At the most so many; from 1 to 1000.
    #[serde(default = "Newest::usual")]
    #[param(minimum = 1, maximum = 1000, default = 20)]
    limit: usize,
}

impl Newest {
    fn usual() -> usize {
        20
    }

    /// The limit, or why it can't be one.
    pub(super) fn limit(self) -> Result<usize, HttpResponse> {
        match self.limit {
            limit @ 1..=1000 => Ok(limit),
            limit => Err(Failure::answer(
                StatusCode::BAD_REQUEST,
                Code::BadRequest,
                format!("limit is {limit}; write a number from 1 to 1000"),
            )),
        }
    }
}

/// How long a command may be waited for.
#[derive(Debug, Clone, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Wait {
    /// Answer only when it is done, or after this long: `30s`, at the most `10m`. Without it the answer comes at once.
    #[param(example = "30s", pattern = r"^((600000|[1-5]?[0-9]{1,5})ms|(600|[1-5]?[0-9]{1,2})s|(10|[0-9])m)$")]
    pub(super) wait: Option<String>,
}

/// A level of the log.
#[derive(Debug, Clone, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Level {
    /// As `log.level` of the settings: `info`, `info,weir::sink=debug`.
    #[param(
        example = "info,weir::sink=debug",
        pattern = "^([a-z_:]+=)?(off|error|warn|info|debug|trace)(,([a-z_:]+=)?(off|error|warn|info|debug|trace))*$"
    )]
    pub(super) level: String,
}

/// What became of a command.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Ordered {
    /// How the pipeline is now.
    pub(super) phase: Phase,
    /// Whether what was asked for is reached; otherwise it is on its way.
    pub(super) done: bool,
}

/// A pipeline's definition as it was written: variables are not filled in, secrets are masked.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DefinitionView {
    /// The file.
    pub(super) file: String,
    /// SHA-256 of its text.
    pub(super) hash: String,
    /// Its TOML as JSON.
    #[schema(value_type = Object)]
    pub(super) definition: serde_json::Value,
}

/// The settings of the process; tokens are masked.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SettingsView {
    /// `limits.memory`, in bytes.
    pub(super) memory_bytes: usize,
    /// `limits.drain`, in seconds.
    pub(super) drain_seconds: f64,
    /// `restart.backoff_min`, in seconds.
    pub(super) backoff_min_seconds: f64,
    /// `restart.backoff_max`, in seconds.
    pub(super) backoff_max_seconds: f64,
    /// `restart.failures_until_parked`
    pub(super) failures_until_parked: u32,
    /// The log's level now.
    pub(super) log_level: String,
    /// `http.listen`
    pub(super) listen: Option<String>,
    /// Whether there is an `http.read_token`: `***`, or nothing.
    pub(super) read_token: Option<&'static str>,
    /// Whether there is an `http.control_token`: `***`, or nothing.
    pub(super) control_token: Option<&'static str>,
    /// Whether it answers over TLS.
    pub(super) tls: bool,
    /// `serve.instance`
    pub(super) instance: Option<String>,
}
