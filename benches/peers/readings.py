"""What the Python peers share: the columns of pipelines/air_quality.toml, and how the end of a topic is told."""

from datetime import timedelta, timezone

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

# Column -> field of the JSON reading. All are numbers.
NUMBERS = {
    "co": "co_gt",
    "nmhc": "nmhc_gt",
    "benzene": "c6h6_gt",
    "nox": "nox_gt",
    "no2": "no2_gt",
    "co_sensor": "pt08_s1_co",
    "nmhc_sensor": "pt08_s2_nmhc",
    "nox_sensor": "pt08_s3_nox",
    "no2_sensor": "pt08_s4_no2",
    "o3_sensor": "pt08_s5_o3",
    "temperature": "t",
    "humidity": "rh",
    "absolute_humidity": "ah",
}

# The station's clock: a fixed offset, no daylight saving.
CLOCK_OFFSET = timedelta(hours=1)
CLOCK = timezone(CLOCK_OFFSET)


class Ends:
    """Which partitions of a topic have been read to their end (the client reports it with `enable.partition.eof`)."""

    def __init__(self, consumer, topic):
        self.left = set(consumer.list_topics(topic, timeout=30).topics[topic].partitions)

    def see(self, message):
        """Takes note of a message that is an error: the end of a partition, or a reason to stop."""
        if message.error().code() != KafkaError._PARTITION_EOF:
            raise KafkaException(message.error())
        self.left.discard(message.partition())


def end_positions(brokers, topic):
    """The position after the last committed record of each partition: what follows are marks of transactions and aborted records.

    For peers that can't tell the end of a partition. It reads backwards from the end until it has met a record everywhere.
    """
    consumer = Consumer(
        {
            "bootstrap.servers": brokers,
            "group.id": "peers-ends",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "fetch.wait.max.ms": 10,
        }
    )
    found, back = {}, 1_000
    left = Ends(consumer, topic).left
    while left:
        bounds = {partition: consumer.get_watermark_offsets(TopicPartition(topic, partition), 30) for partition in left}
        starts = {partition: max(low, high - back) for partition, (low, high) in bounds.items()}
        consumer.assign([TopicPartition(topic, partition, start) for partition, start in starts.items()])
        ends = Ends(consumer, topic)
        ends.left &= left
        while ends.left:
            message = consumer.poll(1.0)
            # Compared with None: a message with an empty value is false.
            if message is None:
                continue
            if message.error():
                ends.see(message)
            else:
                found[message.partition()] = message.offset() + 1
        left = {partition for partition in left if partition not in found and starts[partition] > bounds[partition][0]}
        back *= 10
    consumer.close()
    return found


def unread(brokers, topic, group, ends):
    """Those of the ends that the group's committed offsets haven't reached."""
    consumer = Consumer({"bootstrap.servers": brokers, "group.id": group})
    committed = consumer.committed([TopicPartition(topic, partition) for partition in ends], 30) if ends else []
    consumer.close()
    return {found.partition: ends[found.partition] for found in committed if found.offset < ends[found.partition]}
