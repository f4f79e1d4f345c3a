//! The consumer group as others leave it: members of another kind, members that died, limits of the
//! brokers. weir says what keeps it from reading, is not ready meanwhile, and goes on by itself
//! when it is over. The group's offsets follow the ledger.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use serde_json::Value;

use crate::harness::broker::{Broker, free_port};
use crate::harness::case::{Case, PATIENCE};
use crate::harness::produce::{Load, produce};
use crate::harness::service::{Service, lines};
use crate::harness::topics::{delete_topic, end};
use crate::harness::until;
use crate::harness::weir::Run;

/// Another member of a case's group, which reads the same topic and commits nothing; it leaves when
/// it is dropped.
struct Member {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Member {
    /// Joins, and waits until it has partitions.
    fn joins(case: &Case<'_>, assignor: &str) -> Member {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", case.broker.address())
            .set("group.id", format!("weir-{}", case.pipeline.name))
            .set("partition.assignment.strategy", assignor)
            .set("enable.auto.commit", "false")
            .set("session.timeout.ms", "6000")
            .create()
            .unwrap();
        consumer.subscribe(&[&case.pipeline.topic]).unwrap();
        until("the other member has partitions", PATIENCE, || {
            consumer.poll(Duration::from_millis(50));
            consumer.assignment().unwrap().count() > 0
        });
        let over = Arc::new(AtomicBool::new(false));
        let ends = over.clone();
        let thread = std::thread::spawn(move || {
            while !ends.load(Ordering::Relaxed) {
                consumer.poll(Duration::from_millis(50));
            }
        });
        Member { over, thread: Some(thread) }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A case with some records, which are committed soon, and a group that notices a dead member after
/// `session`.
fn case<'a>(broker: &'a Broker, name: &str, session: Duration) -> Case<'a> {
    let case = Case::new(broker, name, 2).with(|pipeline| {
        pipeline.roll = r#"windows = 100, age = "200ms""#.to_owned();
        pipeline.source = format!(
            "consumers = 1\n[source.client]\n\"session.timeout.ms\" = {}\n\"heartbeat.interval.ms\" = {}",
            session.as_millis(),
            session.as_millis() / 5
        );
    });
    produce(broker, &case.pipeline.topic, 2, &Load { records: 500, ..Load::default() });
    case
}

const SESSION: Duration = Duration::from_secs(6);

/// Waits until a run's log has a line with all of these.
#[track_caller]
fn says(run: &mut Run, parts: &[&str]) {
    let what = format!("the log has {parts:?}");
    let has = |line: &str| parts.iter().all(|part| line.contains(part));
    until(&what, PATIENCE, || {
        assert!(run.is_running(), "it ended:\n{}", run.stderr());
        run.stderr().lines().any(has)
    });
}

/// Everything of the topic is in the dataset, and the group knows it.
#[track_caller]
fn until_committed(case: &Case<'_>) {
    let ends = || [0, 1].map(|partition| end(case.broker, &case.pipeline.topic, partition));
    until("everything is committed", PATIENCE, || {
        let positions: Vec<i64> = case.positions().into_values().collect();
        positions == ends()
    });
    until("the group's offsets are the ledger's", PATIENCE, || case.committed_offsets() == case.positions());
}

fn stop(run: Run) {
    run.signal("TERM");
    run.wait(PATIENCE).expect_code(0);
}

#[test]
fn members_with_another_assignor_are_named_until_they_leave() {
    let case = case(Broker::shared(), "group-assignor", SESSION);
    let other = Member::joins(&case, "range");
    let mut run = case.endless();
    let group = format!("group \"weir-{}\" has members that assign partitions in another way", case.pipeline.name);
    says(&mut run, &["ERROR", "the group refuses this consumer, retrying", &group, "take another `source.group`"]);
    // The line about its progress says it, too.
    says(&mut run, &["0 records read", "the group refuses weir"]);
    assert!(!run.stderr().contains("positions to go"), "{}", run.stderr());
    let times = run.stderr().matches("the group refuses this consumer").count();
    assert_eq!(times, 1, "once a minute at the most:\n{}", run.stderr());
    drop(other);
    says(&mut run, &["INFO", "the group has given an assignment"]);
    until_committed(&case);
    stop(run);
    case.judge();
}

#[test]
fn a_session_that_the_brokers_refuse_is_named() {
    let case = case(Broker::shared(), "group-session", Duration::from_millis(500));
    let mut run = case.endless();
    says(&mut run, &["ERROR", "the group refuses this consumer", "`session.timeout.ms` = 500", "correct it in"]);
    stop(run);
    assert!(!case.dataset().join("data").read_dir().unwrap().any(|_| true), "it never had a partition");
}

#[test]
fn a_full_group_is_named_until_there_is_room() {
    let broker = Broker::with(free_port(), |_| vec!["group.max.size=1".to_owned()]);
    let case = case(&broker, "group-full", SESSION);
    let first = case.endless();
    until_committed(&case);
    let mut second = case.endless();
    let group = format!("group \"weir-{}\" is full", case.pipeline.name);
    says(&mut second, &["ERROR", "the group refuses this consumer", &group, "group.max.size"]);
    stop(first);
    says(&mut second, &["INFO", "the group has given an assignment"]);
    produce(&broker, &case.pipeline.topic, 2, &Load { records: 500, seed: 1, ..Load::default() });
    until_committed(&case);
    stop(second);
    case.judge();
}

/// As a service's case.
fn publish(case: &Case<'_>) {
    let folder = case.workspace.path().join("pipelines");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join(case.file()), case.pipeline.toml()).unwrap();
}

/// The value of a pipeline's metric.
fn joined(service: &Service) -> Option<String> {
    let (_, metrics) = service.text("/metrics");
    let line = metrics.lines().find(|line| line.starts_with("weir_group_joined{"))?;
    line.split_whitespace().last().map(str::to_owned)
}

/// The only reason not to be ready has these words; the API and the metrics say so, too.
#[track_caller]
fn is_not_ready(service: &Service, name: &str, words: &str) {
    until("it is not ready for this reason", PATIENCE, || {
        let reasons = service.reasons();
        reasons.len() == 1 && reasons[0].starts_with(&format!("{name}: ")) && reasons[0].contains(words)
    });
    let all = service.get("/api/v1/pipelines");
    let problem = &all["problems"][0];
    assert!(problem["pipeline"] == name && problem["text"].as_str().unwrap().contains(words), "{all:#}");
    let run = &all["pipelines"][0]["run"];
    assert!(run["waiting_for_group"][0].as_str().unwrap().contains(words), "{all:#}");
    assert_eq!(joined(service).as_deref(), Some("0.0"));
}

#[track_caller]
fn is_ready(service: &Service, name: &str) {
    until("it is ready", PATIENCE, || service.reasons().is_empty());
    let all = service.get("/api/v1/pipelines");
    assert_eq!(
        (&all["problems"], &all["pipelines"][0]["run"]["waiting_for_group"]),
        (&Value::Array(vec![]), &Value::Null)
    );
    assert_eq!((all["pipelines"][0]["name"].as_str(), joined(service).as_deref()), (Some(name), Some("1.0")));
}

#[test]
fn a_service_is_not_ready_while_its_group_refuses_it_first_and_later() {
    let case = case(Broker::shared(), "group-ready", SESSION);
    let name = case.pipeline.name.as_str();
    publish(&case);
    let words = "has members that assign partitions in another way";
    let other = Member::joins(&case, "range");
    let service = Service::start(&case.workspace, &[]);
    is_not_ready(&service, name, words);
    drop(other);
    is_ready(&service, name);
    until_committed(&case);

    // It sleeps past its session, and another one takes its place.
    service.run.signal("STOP");
    let other = Member::joins(&case, "range");
    service.run.signal("CONT");
    is_not_ready(&service, name, words);
    drop(other);
    is_ready(&service, name);
    produce(case.broker, &case.pipeline.topic, 2, &Load { records: 500, seed: 1, ..Load::default() });
    until_committed(&case);
    service.stop();
    case.judge();
}

#[test]
fn the_wait_for_a_dead_member_s_session_is_told() {
    let case = case(Broker::shared(), "group-dead", Duration::from_secs(15));
    let name = case.pipeline.name.as_str();
    let first = case.endless();
    until_committed(&case);
    publish(&case);
    first.kill();
    let service = Service::start(&case.workspace, &[]);
    is_not_ready(&service, name, "has given this consumer no assignment yet");
    let has = |level: &str, message: &str| {
        lines(&service.run)
            .iter()
            .any(|line| line["level"] == level && line["message"].as_str().unwrap().contains(message))
    };
    until("it is told", PATIENCE, || has("WARN", "nothing is read yet: no assignment by the group"));
    is_ready(&service, name);
    assert!(has("INFO", "the group has given an assignment"), "{}", service.run.stderr());
    service.stop();
}

/// The group's offsets after a run whose commits were refused, and the records of the whole topic.
fn left_behind<'a>(name: &str) -> Case<'a> {
    let case = case(Broker::shared(), name, SESSION);
    case.finish();
    assert_eq!(case.committed_offsets(), case.positions());
    produce(case.broker, &case.pipeline.topic, 2, &Load { records: 500, seed: 1, ..Load::default() });
    // While the group has a member, Kafka takes offsets of its members only.
    let member = Member::joins(&case, "cooperative-sticky");
    let finished = case.finish();
    let warnings = finished.stderr.matches("Kafka refuses the group's offsets, which stay behind the ledger").count();
    assert_eq!(warnings, 1, "{}", finished.stderr);
    assert!(finished.stderr.contains("UnknownMemberId"), "{}", finished.stderr);
    assert_ne!(case.committed_offsets(), case.positions());
    drop(member);
    case.judge();
    case
}

#[test]
fn a_run_to_the_end_tells_kafka_where_the_ledger_ends() {
    let case = left_behind("offsets-run");
    // There is nothing more to read.
    case.finish();
    assert_eq!(case.committed_offsets(), case.positions());
}

#[test]
fn a_member_tells_kafka_where_the_ledger_ends() {
    let case = left_behind("offsets-member");
    let before = case.entries();
    let run = case.endless();
    until("the group's offsets are the ledger's", PATIENCE, || case.committed_offsets() == case.positions());
    stop(run);
    assert_eq!(case.entries(), before, "nothing was read for it");
}

/// The group takes the partitions of a topic that is gone away: its lanes, and what they said, go
/// with them.
#[test]
fn a_service_is_not_ready_once_its_topic_is_gone() {
    let case = case(Broker::shared(), "group-topic", SESSION).with(|pipeline| {
        pipeline.source.push_str("\n\"topic.metadata.refresh.interval.ms\" = 1000");
        pipeline.source.push_str("\n\"topic.metadata.propagation.max.ms\" = 1000");
    });
    let name = case.pipeline.name.as_str();
    publish(&case);
    let service = Service::start(&case.workspace, &[]);
    is_ready(&service, name);
    until_committed(&case);
    delete_topic(case.broker, &case.pipeline.topic);
    service.until("the group has taken its partitions away", name, |now| now["run"]["partitions"] == 0);
    let words = format!("topic {:?} does not exist", case.pipeline.topic);
    until("it is not ready for this reason", PATIENCE, || {
        service.reasons().iter().any(|reason| reason.starts_with(&format!("{name}: {words}")))
    });
    service.stop();
}
