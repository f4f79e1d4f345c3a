//! The metrics for Prometheus: read from what runs when they are asked for, so that a pipeline that is gone leaves none
//! behind. Counters of a pipeline begin again with each of its runs, which Prometheus' `rate()` expects.
//!
//! Units and labels are in `docs/service.md`; each metric's help is here, with its name.

use std::collections::BTreeMap;
use std::fmt::Error;
use std::time::Instant;

use jiff::Timestamp;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _, prometheus_text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::board::{Board, Phase, Status};
use super::process::{Process, disk};
use crate::flow::meters::Stage;
use crate::flow::progress::{LaneProgress, Snapshot};
use crate::flow::run::Numbers;
use crate::settings::Service;

pub(super) use prometheus_text::CONTENT_TYPE;

/// Makes the text.
pub(super) struct Metrics(Registry);

impl Metrics {
    pub(super) fn new(board: Board, settings: &Service) -> Self {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Collecting { board, memory: settings.limits.memory }));
        Metrics(registry)
    }

    /// All metrics, now. It looks at disks, so it may block.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        prometheus_text::encode(&mut text, &self.0).expect("writing to a String does not fail");
        text
    }
}

#[derive(Debug)]
struct Collecting {
    board: Board,
    memory: usize,
}

/// Names and values of labels.
type Labels = Vec<(&'static str, String)>;

/// A pipeline that runs or ran, and what it had done when the page was begun.
struct Seen {
    name: String,
    status: Status,
    now: Snapshot,
}

impl Collector for Collecting {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let mut page = Page(encoder);
        let pipelines = self.board.pipelines();
        let refused = self.board.problems().len();
        page.process()?;
        page.gauge(
            "weir_memory_limit_bytes",
            "limits.memory: what all pipelines together may use",
            [(vec![], self.memory as f64)],
        )?;
        page.gauge(
            "weir_pipeline_files_refused",
            "Pipeline files that have mistakes or clash with others",
            [(vec![], refused as f64)],
        )?;
        page.phases(&pipelines)?;
        let seen = |(name, status): (String, Status)| {
            let now = status.run.as_ref()?.progress.snapshot();
            Some(Seen { name, status, now })
        };
        let seen: Vec<Seen> = pipelines.into_iter().filter_map(seen).collect();
        page.runs(&seen)?;
        page.stages(&seen)?;
        // What has ended has no lanes, lag or connections; its counts stay.
        let up: Vec<Seen> = seen.into_iter().filter(|seen| seen.status.phase.is_up()).collect();
        page.present(&up)?;
        page.lanes(&up)?;
        page.brokers(&up)
    }
}

struct Page<'a>(DescriptorEncoder<'a>);

impl Page<'_> {
    fn gauge(&mut self, name: &str, help: &str, series: impl IntoIterator<Item = (Labels, f64)>) -> Result<(), Error> {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        series.into_iter().try_for_each(|(labels, value)| metric.encode_family(&labels)?.encode_gauge(&value))
    }

    /// `name` without its `_total`.
    fn counter(
        &mut self,
        name: &str,
        help: &str,
        series: impl IntoIterator<Item = (Labels, f64)>,
    ) -> Result<(), Error> {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        let none: Option<&prometheus_client::metrics::exemplar::Exemplar<Labels, f64>> = None;
        series.into_iter().try_for_each(|(labels, value)| metric.encode_family(&labels)?.encode_counter(&value, none))
    }

    fn histogram(
        &mut self,
        name: &str,
        help: &str,
        seen: &[Seen],
        of: impl Fn(&Numbers) -> &Histogram,
    ) -> Result<(), Error> {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Histogram)?;
        seen.iter().try_for_each(|seen| of(seen.run()).encode(metric.encode_family(&seen.labels([]))?))
    }

    fn process(&mut self) -> Result<(), Error> {
        let version = vec![("version", env!("CARGO_PKG_VERSION").to_owned())];
        self.gauge("weir_build_info", "The version that runs", [(version, 1.0)])?;
        let Some(now) = Process::now() else { return Ok(()) };
        let one = |value: f64| [(Labels::new(), value)];
        self.gauge("process_resident_memory_bytes", "Resident memory", one(now.resident_bytes as f64))?;
        self.counter("process_cpu_seconds", "Processor time of all threads", one(now.cpu_seconds))?;
        self.gauge("process_start_time_seconds", "When the process began, since 1970", one(now.started))?;
        self.gauge("process_threads", "Threads", one(now.threads as f64))?;
        self.gauge("process_open_fds", "Open file descriptors", one(now.open_files as f64))
    }

    fn phases(&mut self, pipelines: &BTreeMap<String, Status>) -> Result<(), Error> {
        let phases = pipelines.iter().flat_map(|(name, status)| {
            Phase::ALL.map(|phase| {
                let labels = vec![("pipeline", name.clone()), ("phase", phase.to_string())];
                (labels, f64::from(u8::from(status.phase == phase)))
            })
        });
        self.gauge("weir_pipeline_phase", "1 for the phase that the pipeline is in, 0 for the others", phases)?;
        let starts = pipelines.iter().map(|(name, status)| (vec![("pipeline", name.clone())], status.starts as f64));
        self.counter("weir_pipeline_starts", "How often the pipeline was started", starts)?;
        let disks: Vec<_> = pipelines
            .iter()
            .filter_map(|(name, status)| Some((vec![("pipeline", name.clone())], disk(&status.pipeline.folder())?)))
            .collect();
        let side =
            |pick: fn(&(u64, u64)) -> u64| disks.iter().map(move |(labels, disk)| (labels.clone(), pick(disk) as f64));
        self.gauge("weir_disk_free_bytes", "Free on the filesystem of the dataset", side(|disk| disk.0))?;
        self.gauge("weir_disk_size_bytes", "Size of the filesystem of the dataset", side(|disk| disk.1))
    }

    fn runs(&mut self, seen: &[Seen]) -> Result<(), Error> {
        let each = |value: fn(&Seen) -> f64| seen.iter().map(move |seen| (seen.labels([]), value(seen)));
        self.counter(
            "weir_read_records",
            "Records read from Kafka, committed or not",
            each(|seen| seen.now.read as f64),
        )?;
        self.counter(
            "weir_read_bytes",
            "Bytes of the values of records read",
            each(|seen| seen.now.read_bytes as f64),
        )?;
        let classes = seen.iter().flat_map(|seen| {
            let classes = seen.now.counts.classes();
            classes.map(|(class, count)| (seen.labels([("class", class.name().to_owned())]), count as f64))
        });
        self.counter(
            "weir_records",
            "Records committed, by class; each is in one. Class lost: offsets that weir skip gave up",
            classes,
        )?;
        let rules = seen.iter().flat_map(|seen| {
            seen.now.rejected_by.iter().map(|((column, rule), count)| {
                (seen.labels([("column", column.clone()), ("rule", rule.clone())]), *count as f64)
            })
        });
        self.counter("weir_rejected_records", "Records rejected, by column and rule", rules)?;
        self.counter("weir_files", "Files published", each(|seen| seen.now.files as f64))?;
        self.counter("weir_file_bytes", "Bytes of files published", each(|seen| seen.now.bytes as f64))?;
        self.counter("weir_commits", "Entries made in the ledger", each(|seen| seen.now.commits as f64))?;
        self.counter(
            "weir_lane_restarts",
            "Lanes that started again after a failure",
            each(|seen| seen.now.restarts as f64),
        )?;
        self.counter(
            "weir_rebalances",
            "How often the group gave or took partitions",
            each(|seen| seen.now.rebalances as f64),
        )?;
        let help = "From handing a batch of records on until it is written to its files";
        self.histogram("weir_batch_seconds", help, seen, |run| &run.meters.batch_seconds)?;
        let help = "From closed files to an entry in the ledger and published files";
        self.histogram("weir_commit_seconds", help, seen, |run| &run.meters.commit_seconds)
    }

    fn present(&mut self, seen: &[Seen]) -> Result<(), Error> {
        let each = |value: fn(&Seen) -> f64| seen.iter().map(move |seen| (seen.labels([]), value(seen)));
        let joined = each(|seen| f64::from(u8::from(seen.now.waiting.is_empty())));
        self.gauge(
            "weir_group_joined",
            "1 when the group has given each consumer an assignment, however small",
            joined,
        )?;
        self.gauge("weir_lanes", "Partitions that this process has", each(|seen| seen.now.lanes.len() as f64))?;
        let failing = each(|seen| seen.now.lanes.values().filter(|lane| lane.failing.is_some()).count() as f64);
        self.gauge("weir_lanes_failing", "Partitions that have failed and not committed since", failing)?;
        self.gauge(
            "weir_lanes_parked",
            "Partitions that were given up",
            each(|seen| seen.now.parked().count() as f64),
        )?;
        self.gauge(
            "weir_buffered_bytes",
            "Records and open files in memory",
            each(|seen| seen.run().credits.used() as f64),
        )?;
        let limit = each(|seen| seen.run().credits.limit() as f64);
        self.gauge("weir_buffered_bytes_limit", "Where the pipeline pauses until something is written", limit)
    }

    fn lanes(&mut self, seen: &[Seen]) -> Result<(), Error> {
        let now_us = Timestamp::now().as_microsecond();
        let seconds = move |micros: i64| (now_us - micros).max(0) as f64 / 1e6;
        fn each<'a>(
            seen: &'a [Seen],
            value: impl Fn(&LaneProgress) -> Option<f64> + 'a,
        ) -> impl Iterator<Item = (Labels, f64)> + 'a {
            seen.iter().flat_map(|seen| seen.now.lanes.iter().map(move |lane| (seen, lane))).filter_map(
                move |(seen, (partition, lane))| {
                    let of = [("topic", partition.topic.to_string()), ("partition", partition.partition.to_string())];
                    Some((seen.labels(of), value(lane)?))
                },
            )
        }
        let position = each(seen, |lane| Some(lane.position as f64));
        self.gauge("weir_lane_position", "The position at which the partition's ledger ends", position)?;
        let lag = each(seen, |lane| lane.lag().map(|lag| lag as f64));
        self.gauge("weir_lane_lag_records", "Positions before the last stable offset that are not committed", lag)?;
        let help = "Age of the newest committed record while there is more to commit, by its Kafka timestamp; 0 when there isn't";
        self.gauge("weir_lane_lag_seconds", help, each(seen, move |lane| lane.lag_seconds(now_us)))?;
        let delay = each(seen, move |lane| lane.watermark_us.map(seconds));
        self.gauge("weir_lane_watermark_delay_seconds", "How far the watermark is behind the clock", delay)?;
        let help = "For how long an open transaction has held the last stable offset back; 0 when none does";
        let stuck = |lane: &LaneProgress| {
            lane.log_end
                .map(|end| end.stuck_since.map_or(0.0, |since| Instant::now().duration_since(since).as_secs_f64()))
        };
        self.gauge("weir_lane_stuck_seconds", help, each(seen, stuck))
    }

    fn stages(&mut self, seen: &[Seen]) -> Result<(), Error> {
        let each = |value: fn((f64, f64)) -> f64| {
            seen.iter().flat_map(move |seen| {
                let labels = |stage: Stage| seen.labels([("stage", stage.name().to_owned())]);
                Stage::ALL.map(|stage| (labels(stage), value(seen.run().meters.seconds(stage))))
            })
        };
        self.counter("weir_stage_busy_seconds", "Time at work, all lanes together", each(|(busy, _)| busy))?;
        let help = "Time that a stage could have gone on but for the next one (source: for memory), all lanes together";
        self.counter("weir_stage_back_pressured_seconds", help, each(|(_, waiting)| waiting))
    }

    fn brokers(&mut self, seen: &[Seen]) -> Result<(), Error> {
        let each = |value: fn(&crate::flow::progress::BrokerConnection) -> f64| {
            seen.iter().flat_map(move |seen| {
                seen.now.brokers.iter().map(move |((source, broker), connection)| {
                    (seen.labels([("source", source.to_string()), ("broker", broker.clone())]), value(connection))
                })
            })
        };
        self.gauge(
            "weir_broker_up",
            "Whether the client has a connection to the broker",
            each(|broker| f64::from(u8::from(broker.up))),
        )?;
        self.counter(
            "weir_broker_received_bytes",
            "Bytes received from the broker",
            each(|broker| broker.received_bytes as f64),
        )?;
        self.counter("weir_broker_sent_bytes", "Bytes sent to the broker", each(|broker| broker.sent_bytes as f64))?;
        let trips = seen.iter().flat_map(|seen| {
            seen.now.brokers.iter().filter_map(move |((source, broker), connection)| {
                let (median, p99) = connection.round_trip_seconds?;
                let labels = |percentile: &str| {
                    seen.labels([
                        ("source", source.to_string()),
                        ("broker", broker.clone()),
                        ("percentile", percentile.to_owned()),
                    ])
                };
                Some([(labels("50"), median), (labels("99"), p99)])
            })
        });
        self.gauge(
            "weir_broker_round_trip_seconds",
            "How long requests took in the client's last interval",
            trips.flatten(),
        )
    }
}

impl Seen {
    fn run(&self) -> &Numbers {
        self.status.run.as_ref().expect("only those with a run are seen")
    }

    /// The pipeline's name, and these.
    fn labels<const N: usize>(&self, more: [(&'static str, String); N]) -> Labels {
        [("pipeline", self.name.clone())].into_iter().chain(more).collect()
    }
}
