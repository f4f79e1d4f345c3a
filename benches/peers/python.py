"""Python as a careful engineer tunes it: python.py BROKERS TOPIC FOLDER GROUP

From confluent-kafka's documentation: `consume` takes many messages a call, which is what makes a Python consumer fast; offsets are
committed by hand, synchronously, after the write (at least once). From librdkafka's: a small `fetch.queue.backoff.ms`, since
by default a full queue pauses fetching for a second. From orjson's: `loads` of the bytes as they come. From pyarrow's: arrays of declared types, so
that every file has one schema, and large files.

A record that is no JSON object with all fields and numbers, or whose time doesn't exist, is dropped. A file is written under a hidden name, synced
and renamed before its offsets are committed: a reader never sees half of one.
"""

import os
import sys
import time
from operator import itemgetter
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from confluent_kafka import Consumer, TopicPartition

from readings import CLOCK_OFFSET, NUMBERS, Ends

FILE_ROWS = 100_000
MESSAGES = 5_000
JSON_NUMBERS = {int, float}
TIME = pa.timestamp("us", "UTC")
SCHEMA = pa.schema(
    [("station_id", pa.string()), ("measured_at", TIME)]
    + [(column, pa.float64()) for column in NUMBERS]
    + [("kafka_topic", pa.string()), ("kafka_partition", pa.int32()), ("kafka_offset", pa.int64())]
)
names_of = itemgetter("station_id", "timestamp")
numbers_of = itemgetter(*NUMBERS.values())


def main(brokers, topic, folder, group):
    consumer = Consumer(
        {
            "bootstrap.servers": brokers,
            "group.id": group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "fetch.queue.backoff.ms": 10,
        }
    )
    ends = Ends(consumer, topic)
    consumer.subscribe([topic])
    rows, positions = [], {}
    while ends.left:
        for message in consumer.consume(MESSAGES, 0.1):
            if message.error():
                ends.see(message)
                continue
            positions[message.partition()] = message.offset() + 1
            try:
                reading = orjson.loads(message.value())
                names, numbers = names_of(reading), numbers_of(reading)
            except (ValueError, KeyError, TypeError):
                continue
            if JSON_NUMBERS.issuperset(map(type, numbers)) and type(names[0]) is type(names[1]) is str:
                rows.append((*names, *numbers, topic, message.partition(), message.offset()))
        if len(rows) >= FILE_ROWS or not ends.left:
            if rows:
                save(table(rows), Path(folder))
            # Named one by one: after an end of partition, the position that `consume` keeps is one too far.
            offsets = [TopicPartition(topic, partition, position) for partition, position in positions.items()]
            if offsets:
                consumer.commit(offsets=offsets, asynchronous=False)
            rows, positions = [], {}
    consumer.close()


def table(rows):
    columns = list(zip(*rows))
    local = pc.strptime(pa.array(columns[1]), "%Y-%m-%dT%H:%M:%S", "us", error_is_null=True)
    columns[1] = pc.subtract(local, CLOCK_OFFSET).cast(TIME)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, SCHEMA)]
    return pa.Table.from_arrays(arrays, schema=SCHEMA).filter(columns[1].is_valid())


def save(readings, folder):
    name = f"{time.time_ns()}.parquet"
    hidden = folder / f".{name}.part"
    with hidden.open("wb") as file:
        pq.write_table(readings, file, compression="zstd")
        file.flush()
        os.fsync(file.fileno())
    hidden.rename(folder / name)
    directory = os.open(folder, os.O_RDONLY)
    os.fsync(directory)
    os.close(directory)


if __name__ == "__main__":
    main(*sys.argv[1:])
