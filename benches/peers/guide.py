"""The consumer that tutorials show: guide.py BROKERS TOPIC FOLDER GROUP

From the setup guide that this project started from: confluent-kafka; `auto.offset.reset=earliest`, `enable.auto.commit=True`,
`isolation.level=read_committed`; batches of 100 records, each a pandas frame and a Parquet file; a record that can't be read is logged
and skipped. From the client's documentation: one `poll` a message, and `close()` at the end, which commits what was read.

Ours: `enable.partition.eof`, to end where the topic ends; the columns; zstd.
"""

import json
import logging
import sys
from datetime import datetime
from pathlib import Path

import pandas as pd
from confluent_kafka import Consumer

from readings import CLOCK, NUMBERS, Ends

BATCH_RECORDS = 100


def main(brokers, topic, folder, group):
    logging.basicConfig(filename=Path(folder, "consumer.log"), level=logging.INFO, format="%(asctime)s %(message)s")
    consumer = Consumer(
        {
            "bootstrap.servers": brokers,
            "group.id": group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": True,
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
        }
    )
    ends = Ends(consumer, topic)
    consumer.subscribe([topic])
    batch = []
    while ends.left:
        message = consumer.poll(1.0)
        if message is None:
            continue
        if message.error():
            ends.see(message)
            continue
        try:
            batch.append(row(message))
        except Exception as error:
            logging.error("skipped %s/%s: %s", message.partition(), message.offset(), error)
        if len(batch) == BATCH_RECORDS:
            save(batch, folder)
            batch = []
    if batch:
        save(batch, folder)
    consumer.close()


def row(message):
    reading = json.loads(message.value())
    return {
        "station_id": str(reading["station_id"]),
        "measured_at": datetime.fromisoformat(reading["timestamp"]).replace(tzinfo=CLOCK),
        **{column: float(reading[field]) for column, field in NUMBERS.items()},
        "kafka_topic": message.topic(),
        "kafka_partition": message.partition(),
        "kafka_offset": message.offset(),
    }


def save(batch, folder):
    name = f"readings_{datetime.now():%Y%m%d_%H%M%S_%f}.parquet"
    pd.DataFrame(batch).to_parquet(Path(folder, name), index=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
