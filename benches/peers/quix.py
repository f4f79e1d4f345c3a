"""Quix Streams: quix.py BROKERS TOPIC FOLDER GROUP

From its documentation: `processing_guarantee="exactly-once"`, the default checkpoint every five seconds, which writes a file for each partition, and
the local file sink with Parquet. A record that is no JSON goes to `on_consumer_error`, one that the function refuses to `on_processing_error`:
both log it and say that it is dealt with, which drops it.

Ours: a format with a schema, as the documentation allows, since the one that comes with it infers types from each batch and writes a whole record as
text where there is no key; and `stop` after the last record, since an application runs for ever.
"""

import os
import sys
from datetime import datetime
from io import BytesIO

import pyarrow as pa
import pyarrow.parquet as pq
from quixstreams import Application, message_context
from quixstreams.sinks.community.file.local import LocalFileSink
from quixstreams.sinks.community.file.formats.parquet import ParquetFormat

from readings import CLOCK, NUMBERS, end_positions, unread

SCHEMA = pa.schema(
    [("station_id", pa.string()), ("measured_at", pa.timestamp("us", "UTC"))]
    + [(column, pa.float64()) for column in NUMBERS]
    + [("kafka_topic", pa.string()), ("kafka_partition", pa.int32()), ("kafka_offset", pa.int64())]
)


class Readings(ParquetFormat):
    """Batches of readings with a declared schema."""

    def serialize(self, batch):
        file = BytesIO()
        pq.write_table(pa.Table.from_pylist([item.value for item in batch], SCHEMA), file, compression="zstd")
        return file.getvalue()


def main(brokers, topic, folder, group):
    # The sink takes a folder's name with letters, digits, dots and slashes only.
    os.chdir(folder)
    ends = unread(brokers, topic, group, end_positions(brokers, topic))
    if not ends:
        return

    def see(partition, offset):
        if offset + 1 >= ends.get(partition, 0):
            ends.pop(partition, None)
        if not ends:
            app.stop()

    def refuse(error, message, logger):
        logger.error("skipped %s/%s: %s", message.partition(), message.offset(), error)
        see(message.partition(), message.offset())
        return True

    def skip(error, record, logger):
        logger.error("skipped %s/%s: %s", record.partition, record.offset, error)
        return True

    app = Application(
        broker_address=brokers,
        consumer_group=group,
        auto_offset_reset="earliest",
        processing_guarantee="exactly-once",
        state_dir="scratch/state",
        consumer_extra_config={"isolation.level": "read_committed"},
        on_consumer_error=refuse,
        on_processing_error=skip,
        on_message_processed=lambda _, partition, offset: see(partition, offset),
    )
    records = app.dataframe(app.topic(topic, value_deserializer="json"))
    records.apply(row).sink(LocalFileSink(directory="data", format=Readings()))
    app.run()


def row(reading):
    context = message_context()
    return {
        "station_id": str(reading["station_id"]),
        "measured_at": datetime.fromisoformat(reading["timestamp"]).replace(tzinfo=CLOCK),
        **{column: float(reading[field]) for column, field in NUMBERS.items()},
        "kafka_topic": context.topic,
        "kafka_partition": context.partition,
        "kafka_offset": context.offset,
    }


if __name__ == "__main__":
    main(*sys.argv[1:])
