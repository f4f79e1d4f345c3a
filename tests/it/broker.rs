//! The harness's own proof: what it says about brokers, records and datasets can be relied on.

use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::Message as _;
use rdkafka::producer::Producer;
use rdkafka::{Offset, TopicPartitionList};
use weir::kafka::gzip_batches;

use crate::harness::broker::Broker;
use crate::harness::oracle::committed;
use crate::harness::produce::{Load, produce, send, settle, transactional};
use crate::harness::topics::{delete_topic, end, make_topic, topic};
use crate::harness::until;
use crate::harness::weir::Workspace;

/// On a busy machine everything takes long.
const PATIENCE: Duration = Duration::from_secs(120);

#[test]
fn the_truth_leaves_out_aborted_transactions() {
    let broker = Broker::shared();
    let topic = topic(broker, "truth", 1);
    for transaction in 0..4 {
        let producer = transactional(broker, &format!("{topic}-{transaction}"));
        for record in 0..100 {
            send(&producer, &topic, 0, Some(format!("{transaction}-{record}").as_bytes()));
        }
        settle(&producer);
        let finish = if transaction % 2 == 0 { Producer::abort_transaction } else { Producer::commit_transaction };
        finish(&producer, PATIENCE).unwrap();
    }
    let values: Vec<_> = committed(broker, &[&topic]).into_iter().map(|record| record.value.unwrap()).collect();
    let expected: Vec<_> = [1, 3].iter().flat_map(|t| (0..100).map(move |r| format!("{t}-{r}").into_bytes())).collect();
    assert_eq!(values, expected);
}

#[test]
fn the_truth_is_what_was_produced() {
    let broker = Broker::shared();
    let topic = topic(broker, "produced", 3);
    let load = Load { records: 20_000, aborted: 300, broken: 50, tombstones: 20, ..Load::default() };
    let produced = produce(broker, &topic, 3, &load);
    let truth = committed(broker, &[&topic]);
    assert_eq!(truth.len() as u64, produced.committed);
    assert_eq!(produced.committed + produced.aborted, load.records);
    assert!(produced.aborted > 4_000 && produced.broken > 500 && produced.tombstones > 200, "{produced:?}");
    assert_eq!(truth.iter().filter(|record| record.value.is_none()).count() as u64, produced.tombstones);
    // An empty value is a value.
    assert!(truth.iter().any(|record| record.value.as_deref() == Some(b"")));
    assert!((0..3).all(|partition| truth.iter().filter(|record| record.partition == partition).count() > 4_000));
}

#[test]
fn an_own_broker_keeps_its_records_over_a_stop() {
    let broker = Broker::own();
    make_topic(&broker, "kept", 2, &[("max.message.bytes", "20000000")]);
    let produced = produce(&broker, "kept", 2, &Load::default());
    broker.stop();
    broker.start();
    assert_eq!(committed(&broker, &["kept"]).len() as u64, produced.committed);
    delete_topic(&broker, "kept");
}

#[test]
fn produce_sends_each_line_once() {
    let broker = Broker::shared();
    let topic = topic(broker, "lines", 2);
    let workspace = Workspace::new();
    let lines: Vec<String> = (0..1_000).map(|n| format!("{{\"n\":{n}}}")).collect();
    std::fs::write(workspace.path().join("records.json"), lines.join("\n")).unwrap();
    for transactional in [None, Some("--transactional")] {
        let address = broker.address();
        let args = ["produce", "--brokers", &address, "--topic", &topic, "--file", "records.json"];
        workspace.run(args.into_iter().chain(transactional), PATIENCE).expect_code(0);
    }
    let mut values: Vec<_> = committed(broker, &[&topic]).into_iter().map(|record| record.value.unwrap()).collect();
    values.sort();
    let mut expected: Vec<_> =
        lines.iter().flat_map(|line| [line.clone().into_bytes(), line.clone().into_bytes()]).collect();
    expected.sort();
    assert_eq!(values, expected);
}

#[test]
fn a_run_can_be_stopped_continued_and_killed() {
    let broker = Broker::shared();
    let topic = topic(broker, "signals", 1);
    let workspace = Workspace::new();
    let run = workspace.spawn([
        "produce",
        "--brokers",
        &broker.address(),
        "--topic",
        &topic,
        "--rate",
        "100/s",
        "--repeat",
        "0",
    ]);
    let sent = || end(broker, &topic, 0);
    until("records arrive", PATIENCE, || sent() > 0);
    run.signal("STOP");
    run.until_stopped(PATIENCE);
    // What was on its way arrives. Nothing slow is done meanwhile: a record is given up after half a minute.
    let mut stopped_at = sent();
    until("nothing more arrives", PATIENCE, || {
        let before = std::mem::replace(&mut stopped_at, sent());
        before == stopped_at
    });
    run.signal("CONT");
    until("more records arrive", PATIENCE, || sent() > stopped_at);
    let killed = run.kill();
    assert_eq!(killed.status.code(), None, "{}", killed.stderr);
    assert_eq!(committed(broker, &[&topic]).len() as i64, sent());
}

/// `src/kafka/gzip.rs` replaces a function of librdkafka by standing before it when programs are linked, this one as `weir` itself.
#[test]
fn gzip_batches_are_decompressed_by_weir() {
    let broker = Broker::shared();
    let topic = topic(broker, "gzip", 1);
    let producer = transactional(broker, &topic);
    (0..1000).for_each(|record: u32| send(&producer, &topic, 0, Some(format!("record {record}").as_bytes())));
    producer.commit_transaction(PATIENCE).unwrap();
    let before = gzip_batches();
    let consumer: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", broker.address()).set("group.id", &topic).create().unwrap();
    let mut start = TopicPartitionList::new();
    start.add_partition_offset(&topic, 0, Offset::Beginning).unwrap();
    consumer.assign(&start).unwrap();
    for record in 0..1000 {
        let message = consumer.poll(PATIENCE).unwrap().unwrap();
        assert_eq!(message.payload().unwrap(), format!("record {record}").as_bytes());
    }
    assert!(gzip_batches() > before, "the linker took librdkafka's own function");
}
