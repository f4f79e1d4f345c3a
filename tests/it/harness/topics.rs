//! Topics for tests, each with a name of its own.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaResult;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use super::broker::Broker;
use super::case::PATIENCE;
use super::until;

/// How long a leader may take to say where a partition ends.
const WATERMARK: Duration = Duration::from_secs(5);

/// A new topic; its name starts with `name`.
pub fn topic(broker: &Broker, name: &str, partitions: i32) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = format!("{name}-{}", NEXT.fetch_add(1, Ordering::Relaxed));
    make_topic(broker, &name, partitions, &[]);
    name
}

/// Makes a topic of exactly this name, with settings of its own.
pub fn make_topic(broker: &Broker, name: &str, partitions: i32, settings: &[(&str, &str)]) {
    make_replicated(broker, name, partitions, 1, settings);
}

/// The same with so many replicas of each partition.
pub fn make_replicated(broker: &Broker, name: &str, partitions: i32, replicas: i32, settings: &[(&str, &str)]) {
    make(broker, NewTopic::new(name, partitions, TopicReplication::Fixed(replicas)), settings);
}

/// The same with the brokers of each partition named.
pub fn make_assigned(broker: &Broker, name: &str, replicas: &[&[i32]], settings: &[(&str, &str)]) {
    make(broker, NewTopic::new(name, replicas.len() as i32, TopicReplication::Variable(replicas)), settings);
}

fn make<'a>(broker: &Broker, new: NewTopic<'a>, settings: &[(&'a str, &'a str)]) {
    let (name, partitions) = (new.name, new.num_partitions);
    let new = settings.iter().fold(new, |new, (key, value)| new.set(key, value));
    let admin = admin(broker);
    let made = wait(admin.create_topics([&new], &AdminOptions::new()));
    assert!(matches!(made.unwrap()[..], [Ok(_)]), "{name} could not be made");
    until("the topic is known", Duration::from_secs(60), || partitions_of(&admin, name) == partitions as usize);
}

/// Adds partitions to a topic, up to `partitions`, and waits until they are known.
pub fn add_partitions(broker: &Broker, name: &str, partitions: usize) {
    let admin = admin(broker);
    let added = wait(admin.create_partitions(&[NewPartitions::new(name, partitions)], &AdminOptions::new()));
    assert!(matches!(added.unwrap()[..], [Ok(_)]), "{name} could not get {partitions} partitions");
    until("the partitions are known", Duration::from_secs(60), || partitions_of(&admin, name) == partitions);
}

/// How many brokers of its cluster are there.
pub fn brokers(broker: &Broker) -> usize {
    admin(broker).inner().fetch_metadata(None, Duration::from_secs(30)).map_or(0, |all| all.brokers().len())
}

/// Deletes a topic and waits until it is gone.
pub fn delete_topic(broker: &Broker, name: &str) {
    let admin = admin(broker);
    let deleted = wait(admin.delete_topics(&[name], &AdminOptions::new()));
    assert!(matches!(deleted.unwrap()[..], [Ok(_)]), "{name} could not be deleted");
    until("the topic is gone", Duration::from_secs(60), || partitions_of(&admin, name) == 0);
}

/// Deletes a partition's records before `position`, as retention does.
pub fn delete_records(broker: &Broker, topic: &str, partition: i32, position: i64) {
    let mut before = TopicPartitionList::new();
    before.add_partition_offset(topic, partition, Offset::Offset(position)).unwrap();
    let left = wait(admin(broker).delete_records(&before, &AdminOptions::new())).unwrap();
    assert!(left.elements().iter().all(|element| element.error().is_ok()), "{left:?}");
}

/// The position after a partition's last record, or before the first one of a transaction that is open.
pub fn end(broker: &Broker, topic: &str, partition: i32) -> i64 {
    try_end(broker, topic, partition, Duration::from_secs(30)).unwrap()
}

/// The same, where the partition may have no leader.
pub fn try_end(broker: &Broker, topic: &str, partition: i32, timeout: Duration) -> KafkaResult<i64> {
    Ok(admin(broker).inner().fetch_watermarks(topic, partition, timeout)?.1)
}

/// Waits until no transaction of a topic is open. The end of one is answered before its markers are written: until
/// they are, a partition ends earlier for read_committed than it will.
pub fn until_settled(broker: &Broker, topic: &str, partitions: std::ops::Range<i32>) {
    let client = |isolation: &str| -> BaseConsumer {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", broker.address()).set("isolation.level", isolation).create().unwrap()
    };
    let clients = ["read_committed", "read_uncommitted"].map(client);
    // A leader that is new may not know the end yet.
    let end = |client: &BaseConsumer, partition| Some(client.fetch_watermarks(topic, partition, WATERMARK).ok()?.1);
    let is_settled = |partition| {
        let [committed, all] = clients.each_ref().map(|client| end(client, partition));
        committed.is_some() && committed == all
    };
    until("no transaction is open", PATIENCE, || partitions.clone().all(is_settled));
}

fn partitions_of(admin: &AdminClient<DefaultClientContext>, name: &str) -> usize {
    let metadata = admin.inner().fetch_metadata(None, Duration::from_secs(30)).unwrap();
    metadata.topics().iter().find(|topic| topic.name() == name).map_or(0, |topic| topic.partitions().len())
}

fn admin(broker: &Broker) -> AdminClient<DefaultClientContext> {
    ClientConfig::new().set("bootstrap.servers", broker.address()).create().unwrap()
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}
