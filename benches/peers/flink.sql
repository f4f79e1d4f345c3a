-- Flink SQL, run by its SQL client. `run` fills in the names between at signs.
--
-- From the Kafka connector's documentation: `scan.startup.mode` and `scan.bounded.mode`, so that the job reads what is there and ends;
-- consumer properties under `properties.` (here the isolation level); topic, partition and offset as metadata columns.
-- From the JSON format's: `ignore-parse-errors`, the tolerant setting: a record that is no JSON is skipped, a field of another type becomes null.
-- From the Parquet format's: timestamps as 64-bit microseconds instead of the old INT96, and its writer's own settings for the codec.
-- Files close with each checkpoint (flink.yaml), which is what makes the sink exactly once.

CREATE TEMPORARY TABLE records (
  station_id STRING,
  `timestamp` TIMESTAMP(6),
  co_gt DOUBLE,
  nmhc_gt DOUBLE,
  c6h6_gt DOUBLE,
  nox_gt DOUBLE,
  no2_gt DOUBLE,
  pt08_s1_co DOUBLE,
  pt08_s2_nmhc DOUBLE,
  pt08_s3_nox DOUBLE,
  pt08_s4_no2 DOUBLE,
  pt08_s5_o3 DOUBLE,
  t DOUBLE,
  rh DOUBLE,
  ah DOUBLE,
  kafka_topic STRING NOT NULL METADATA FROM 'topic' VIRTUAL,
  kafka_partition INT NOT NULL METADATA FROM 'partition' VIRTUAL,
  kafka_offset BIGINT NOT NULL METADATA FROM 'offset' VIRTUAL
) WITH (
  'connector' = 'kafka',
  'topic' = '@TOPIC@',
  'properties.bootstrap.servers' = '@BROKERS@',
  'properties.group.id' = '@GROUP@',
  'properties.isolation.level' = 'read_committed',
  'scan.startup.mode' = 'earliest-offset',
  'scan.bounded.mode' = 'latest-offset',
  'format' = 'json',
  'json.timestamp-format.standard' = 'ISO-8601',
  'json.ignore-parse-errors' = 'true'
);

CREATE TEMPORARY TABLE readings (
  station_id STRING,
  measured_at TIMESTAMP_LTZ(6),
  co DOUBLE,
  nmhc DOUBLE,
  benzene DOUBLE,
  nox DOUBLE,
  no2 DOUBLE,
  co_sensor DOUBLE,
  nmhc_sensor DOUBLE,
  nox_sensor DOUBLE,
  no2_sensor DOUBLE,
  o3_sensor DOUBLE,
  temperature DOUBLE,
  humidity DOUBLE,
  absolute_humidity DOUBLE,
  kafka_topic STRING,
  kafka_partition INT,
  kafka_offset BIGINT
) WITH (
  'connector' = 'filesystem',
  'path' = 'file://@FOLDER@/data',
  'format' = 'parquet',
  'parquet.compression' = 'ZSTD',
  'parquet.write.int64.timestamp' = 'true',
  'parquet.timestamp.time.unit' = 'micros',
  'parquet.utc-timezone' = 'true'
);

INSERT INTO readings
SELECT
  station_id,
  CAST(`timestamp` AS TIMESTAMP_LTZ(6)),
  co_gt,
  nmhc_gt,
  c6h6_gt,
  nox_gt,
  no2_gt,
  pt08_s1_co,
  pt08_s2_nmhc,
  pt08_s3_nox,
  pt08_s4_no2,
  pt08_s5_o3,
  t,
  rh,
  ah,
  kafka_topic,
  kafka_partition,
  kafka_offset
FROM records;
