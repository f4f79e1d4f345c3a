//! What the poll thread asks of a consumer, and what it makes of the answers.

use std::sync::mpsc::channel;

use rdkafka::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::*;
use crate::base::logging::tests::Written;
use crate::kafka::context::Context;

const WAIT: Duration = Duration::from_secs(30);
/// What the client needs to fetch what there is, by far.
const FETCHED: Duration = Duration::from_secs(1);

/// One that doesn't run by itself, and what it tells.
fn thread(config: &ClientConfig, credits: Credits) -> (PollThread, UnboundedReceiver<Event>) {
    let consumer = Arc::new(Consumer::new(config, Context::new(config)).unwrap());
    let ((_, commands), (tell, events)) = (channel(), unbounded_channel());
    let sizes = Sizes { collecting_bytes: 1 << 20, columns: 1 };
    let (meters, mark) = (Arc::default(), String::new());
    (PollThread::new(Setup { consumer, commands, events: tell, credits, meters, mark, sizes }), events)
}

#[test]
fn it_waits_for_lanes_and_pauses_for_memory() {
    let mut config = ClientConfig::new();
    let cluster = MockCluster::new(1).unwrap();
    config.set("bootstrap.servers", cluster.bootstrap_servers()).set("group.id", "g");
    let credits = Credits::new(60 << 20);
    let (mut thread, mut events) = thread(&config, credits.clone());
    assert!(thread.has_room());
    let batch = credits.take_on_the_way(10 << 20);
    assert!(!thread.has_room() && thread.full_since.is_none(), "however long");
    drop(batch);
    assert!(thread.has_room());
    let files = credits.take(60 << 20);
    assert!(!thread.has_room() && !thread.paused);
    thread.full_since = Instant::now().checked_sub(PAUSE_AFTER);
    assert!(thread.has_room() && thread.paused);
    assert!(matches!(events.try_recv(), Ok(Event::Full)));
    thread.tick();
    assert!(thread.paused && matches!(events.try_recv(), Ok(Event::Full)));
    drop(files);
    thread.tick();
    assert!(!thread.paused && events.try_recv().is_err());
}

#[test]
fn records_of_many_columns_come_in_smaller_batches() {
    let of = |columns| Sizes { collecting_bytes: 0, columns }.records_most(1 << 20);
    assert_eq!([0, 10, 50, 500, usize::MAX >> 8].map(of), [BATCH_RECORDS_MOST, BATCH_RECORDS_MOST, 9_320, 932, 1]);
}

/// Its connection ends before it is known which partition's it is, so it is no damage of one.
#[test]
fn an_answer_that_is_too_large_is_said() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("t", 1, 1).unwrap();
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", cluster.bootstrap_servers()).set("group.id", "g");
    let producer: BaseProducer = config.create().unwrap();
    let value = "y".repeat(100_000);
    producer.send(BaseRecord::<(), str>::to("t").payload(&value)).map_err(|(error, _)| error).unwrap();
    producer.flush(WAIT).unwrap();
    config.set("message.max.bytes", "10000").set("fetch.max.bytes", "10000").set("receive.message.max.bytes", "20000");
    let (mut thread, _events) = thread(&config, Credits::new(60 << 20));
    let of = Partition { topic: "t".into(), partition: 0 };
    let said = Written::default();
    let writer = said.clone();
    let lines = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    tracing::subscriber::with_default(lines, || {
        thread.start(&[StartAt { partition: of, generation: 1, position: 0, last: None, end: None }]);
        let began = Instant::now();
        loop {
            thread.listen();
            thread.round(POLL);
            let text = String::from_utf8(said.0.lock().unwrap().clone()).unwrap();
            if text.contains("larger than the memory there is") {
                break assert!(text.contains("ERROR"), "{text}");
            }
            assert!(began.elapsed() < WAIT, "{text}");
        }
    });
}

#[test]
fn a_batch_of_small_records_ends_by_their_number() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("t", 1, 1).unwrap();
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", cluster.bootstrap_servers()).set("group.id", "g");
    let producer: BaseProducer = config.create().unwrap();
    for _ in 0..BATCH_RECORDS_MOST + 10 {
        producer.send(BaseRecord::<(), str>::to("t").payload("{}")).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(WAIT).unwrap();
    let (mut thread, mut events) = thread(&config, Credits::new(1 << 30));
    thread.sizes.collecting_bytes = usize::MAX;
    let of = Partition { topic: "t".into(), partition: 0 };
    thread.start(&[StartAt { partition: of, generation: 1, position: 0, last: None, end: None }]);
    let began = Instant::now();
    let event = loop {
        match events.try_recv() {
            Ok(event) => break event,
            Err(_) => thread.round(POLL),
        }
        assert!(began.elapsed() < WAIT, "no batch, and it has all records");
    };
    let Event::Batch { batch, .. } = event else { panic!("{event:?}") };
    assert_eq!(batch.records.len(), BATCH_RECORDS_MOST);
}

/// Without a tick: the last records' lanes shouldn't wait for one.
#[test]
fn a_run_s_end_is_told_when_it_is_reached() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("t", 2, 1).unwrap();
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", cluster.bootstrap_servers()).set("group.id", "g");
    let producer: BaseProducer = config.create().unwrap();
    producer.send(BaseRecord::<(), str>::to("t").partition(0).payload("1")).map_err(|(error, _)| error).unwrap();
    producer.flush(WAIT).unwrap();
    // By its last record, and where there is none; the client doesn't tell of ends unless it is asked to.
    for (partition, end, expected) in [(0, 1, vec!["1 record", "end"]), (1, 0, vec!["end"])] {
        let (mut thread, mut events) = thread(&config, Credits::new(1 << 20));
        assert!(!thread.reads());
        let of = Partition { topic: "t".into(), partition };
        thread.start(&[StartAt { partition: of, generation: 1, position: 0, last: None, end: Some(end) }]);
        assert!(thread.reads());
        let began = Instant::now();
        while thread.reads() && began.elapsed() < WAIT {
            thread.round(POLL);
        }
        let mut told = Vec::new();
        while let Ok(event) = events.try_recv() {
            told.push(match event {
                Event::Batch { batch, .. } => format!("{} record", batch.records.len()),
                Event::End { .. } => "end".to_owned(),
                other => panic!("{other:?}"),
            });
        }
        assert_eq!(told, expected);
    }
}

/// What came of one partition, between what came of another.
#[test]
fn a_record_after_an_end_stays_in_its_partition() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("t", 2, 1).unwrap();
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", cluster.bootstrap_servers())
        .set("group.id", "g")
        .set("enable.partition.eof", "true");
    let producer: BaseProducer = config.create().unwrap();
    let send = |partition, value: &str| {
        let record = BaseRecord::<(), str>::to("t").partition(partition).payload(value);
        producer.send(record).map_err(|(error, _)| error).unwrap();
        producer.flush(WAIT).unwrap();
    };
    let (mut thread, mut events) = thread(&config, Credits::new(1 << 20));
    let start = |partition| StartAt {
        partition: Partition { topic: "t".into(), partition },
        generation: 1,
        position: 0,
        last: None,
        end: None,
    };
    send(1, "of 1");
    thread.start(&[start(1)]);
    std::thread::sleep(FETCHED);
    thread.start(&[start(0)]);
    std::thread::sleep(FETCHED);
    send(0, "of 0");
    std::thread::sleep(FETCHED);
    // All of it at once: the other's record, both ends, and then the record.
    thread.at_once = 100;
    thread.round(POLL);
    assert!(thread.at_once > 1, "one round has taken several");
    thread.hand_on_all();
    let mut values = Vec::new();
    while let Ok(event) = events.try_recv() {
        let Event::Batch { partition, batch, .. } = event else { panic!("{event:?}") };
        values.extend((0..batch.records.len()).map(|at| (partition.partition, batch.records.value(at).to_vec())));
    }
    values.sort();
    assert_eq!(values, [(0, b"of 0".to_vec()), (1, b"of 1".to_vec())]);
}
