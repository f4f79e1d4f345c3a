"""Spark Structured Streaming, run by spark-submit: spark.py BROKERS TOPIC FOLDER

From its Kafka integration guide: the `kafka` source with `startingOffsets=earliest`, consumer properties under `kafka.` (here the isolation level), and
`minPartitions`, which splits Kafka's partitions so that no core idles while another reads the last one (three tasks a core). From its programming guide:
`availableNow` reads what is there and ends; the file sink with a checkpoint location is exactly once for readers that follow the sink's own log
(`_spark_metadata`). `from_json` is left at its default, PERMISSIVE: what can't be read becomes null, and the row stays.
"""

import sys

from pyspark.sql import SparkSession
from pyspark.sql.functions import col, from_json

# Column -> field of the JSON reading. All are doubles.
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
READING = "station_id STRING, timestamp TIMESTAMP, " + ", ".join(f"{field} DOUBLE" for field in NUMBERS.values())


def main(brokers, topic, folder):
    spark = SparkSession.builder.appName("peers").getOrCreate()
    records = (
        spark.readStream.format("kafka")
        .option("kafka.bootstrap.servers", brokers)
        .option("kafka.isolation.level", "read_committed")
        .option("subscribe", topic)
        .option("startingOffsets", "earliest")
        .option("minPartitions", 3 * spark.sparkContext.defaultParallelism)
        .load()
    )
    reading = from_json(col("value").cast("string"), READING).alias("reading")
    rows = records.select(reading, "topic", "partition", "offset").select(
        col("reading.station_id"),
        col("reading.timestamp").alias("measured_at"),
        *(col(f"reading.{field}").alias(column) for column, field in NUMBERS.items()),
        col("topic").alias("kafka_topic"),
        col("partition").alias("kafka_partition"),
        col("offset").alias("kafka_offset"),
    )
    query = (
        rows.writeStream.format("parquet")
        .option("path", f"{folder}/data")
        .option("checkpointLocation", f"{folder}/checkpoint")
        .trigger(availableNow=True)
        .start()
    )
    query.awaitTermination()
    spark.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])
