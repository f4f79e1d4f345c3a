//! What notebook libraries see: pandas, pyarrow, polars and DuckDB open the dataset's folder and must agree.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Field, Schema};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::Value;
use weir::cli::readings;

use crate::harness::broker::Broker;
use crate::harness::case::{Case, PATIENCE};
use crate::harness::dataset::files;
use crate::harness::pipeline::Pipeline;
use crate::harness::produce::{Load, produce};
use crate::harness::topics::make_topic;
use crate::harness::{python, setup};
use crate::judge;

/// What the four libraries agree on: `data.rows`, `data.means`, `stations`, `rejects.rows`.
pub(crate) fn read(dataset: &Path, columns: &[&str]) -> Value {
    let mut args = vec![dataset.as_os_str()];
    args.extend(columns.iter().map(OsStr::new));
    python::run("readers.py", &args)
}

/// What the published file says: `rows` and `means`, by the published names of columns.
pub(crate) fn published(columns: &[&str]) -> Value {
    let csv = setup::root().join("src/cli/readings/air_quality.csv.gz");
    let mut args = vec![csv.as_os_str()];
    args.extend(columns.iter().map(OsStr::new));
    python::run("published.py", &args)
}

/// Whether the means of the dataset's columns are those of the published columns.
#[track_caller]
pub(crate) fn assert_means(found: &Value, published: &Value, pairs: &[(&str, &str)]) {
    for (column, original) in pairs {
        let [found, expected] = [&found["data"]["means"][column], &published["means"][original]];
        let difference = found.as_f64().unwrap() - expected.as_f64().unwrap();
        assert!(difference.abs() < 1e-9, "the mean of {column} is {found}, that of {original} {expected}");
    }
}

#[test]
fn the_readers_agree_on_a_right_dataset_and_notice_a_stray_file() {
    let folder = setup::folder("readers");
    judge::write(folder.path(), &judge::truth(), &judge::pipeline());
    let found = read(folder.path(), &["co", "temperature"]);
    assert_eq!(
        [&found["data"]["rows"], &found["rejects"]["rows"], &found["stations"][0]],
        [&Value::from(200), &10.into(), &"IT-01".into()]
    );
    std::fs::write(folder.path().join("data/_SUCCESS"), "{}").unwrap();
    assert!(std::panic::catch_unwind(|| read(folder.path(), &[])).is_err());
}

#[test]
fn the_published_file_has_the_means_of_the_readings() {
    let columns = [("co", "CO(GT)"), ("temperature", "T"), ("humidity", "RH")];
    let records = readings::readings().iter().map(|reading| reading.to_json(readings::STATION)).collect::<Vec<_>>();
    let folder = setup::folder("published");
    judge::write(folder.path(), &judge::records(records.into_iter().map(Some)), &judge::pipeline());
    let found = read(folder.path(), &columns.map(|(column, _)| column));
    let published = published(&columns.map(|(_, original)| original));
    assert_eq!([&found["data"]["rows"], &published["rows"]], [&Value::from(9_357); 2]);
    assert_means(&found, &published, &columns);
}

/// A producer that writes microseconds where Kafka's milliseconds belong: brokers before 4.0 take that by default.
#[test]
fn every_reader_shows_rows_whose_kafka_timestamp_is_nonsense() {
    let (broker, topic) = (Broker::shared(), "readers-times");
    make_topic(broker, topic, 1, &[("message.timestamp.after.max.ms", "9223372036854775807")]);
    let good = r#"{"station_id":"IT-01","timestamp":"2004-03-10T18:00:00"}"#;
    let (millis, micros) = (1_704_067_200_000, 1_704_067_200_000_000);
    let producer: BaseProducer = ClientConfig::new().set("bootstrap.servers", broker.address()).create().unwrap();
    for (payload, timestamp) in
        [(good, millis), (good, micros), (good, 253_402_300_800_000), ("{", micros), ("{", millis)]
    {
        let record: BaseRecord<'_, (), str> = BaseRecord::to(topic).partition(0).payload(payload);
        producer.send(record.timestamp(timestamp)).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(PATIENCE).unwrap();
    let case = Case::of(broker, Pipeline::new(broker, topic));
    case.finish();
    case.verify();
    let found = python::run("times.py", &[case.dataset().as_os_str()]);
    let known = "2024-01-01T00:00:00+00:00";
    assert_eq!(found["data"], serde_json::json!([known, null, null]));
    assert_eq!(found["rejects"], serde_json::json!([null, known]));
}

/// Hive keys with characters of every kind: the libraries read each value as it was.
#[test]
fn the_readers_decode_every_key_as_it_was() {
    const KEY: &str = "città";
    let ascii = ('\0'..='\u{ff}').map(|char| format!("{char}x{char}"));
    let some: Vec<char> = ('\0'..=char::MAX).step_by(499).collect();
    let mixed = some.chunks(12).map(|chars| chars.iter().collect::<String>());
    let odd = ["", "..", "007", "a=b", "%2F", "null", "~", "a+b c", &"é".repeat(120), "https://a/b?c=d&e"];
    let values: Vec<String> = ascii.chain(mixed).chain(odd.map(str::to_owned)).collect();
    let folder_of =
        |value: &String| weir::model::names::hive::segment(KEY, Some(value)).map(|folder| (folder, value.clone()));
    let folders: Vec<(String, String)> = values.iter().filter_map(folder_of).collect();
    assert!(folders.len() > 400, "{} of {} values fit", folders.len(), values.len());
    let folder = setup::folder("hive-keys");
    let list = folder.path().join("keys.json");
    std::fs::write(&list, serde_json::to_vec(&folders).unwrap()).unwrap();
    let data = folder.path().join("data");
    let found = python::run("hive_keys.py", &[data.as_os_str(), list.as_os_str(), OsStr::new(KEY)]);
    assert_eq!(found["agreed"], folders.len());
}

/// Files from before columns had ids, beside those that have them, whichever a reader opens first.
#[test]
fn files_with_and_without_ids_are_read_together() {
    let case = Case::new(Broker::shared(), "ids", 1);
    let load = Load { records: 300, stations: 2, ..Load::default() };
    produce(case.broker, &case.pipeline.topic, 1, &load);
    case.finish();
    case.verify();
    let before = read(&case.dataset(), &["co", "temperature"]);
    for file in files(&case.dataset()).into_iter().filter(|file| file.extension().is_some_and(|kind| kind == "parquet"))
    {
        let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(&file).unwrap()).unwrap();
        let columns = reader.parquet_schema().root_schema().get_fields();
        let ids = columns.iter().filter(|column| column.get_basic_info().has_id());
        assert_eq!(ids.count(), columns.len(), "{}: each column has an id", file.display());
        let plain = |field: &Arc<Field>| field.as_ref().clone().with_metadata(HashMap::new());
        let schema = Arc::new(Schema::new(reader.schema().fields().iter().map(plain).collect::<Vec<_>>()));
        let batches: Vec<_> = reader.build().unwrap().map(Result::unwrap).collect();
        // Before and after it in every listing.
        for name in ["0.parquet", "~.parquet"] {
            let copy = File::create(file.with_file_name(name)).unwrap();
            let mut writer = ArrowWriter::try_new(copy, schema.clone(), None).unwrap();
            for batch in &batches {
                writer.write(&RecordBatch::try_new(schema.clone(), batch.columns().to_vec()).unwrap()).unwrap();
            }
            writer.close().unwrap();
        }
    }
    let found = read(&case.dataset(), &["co", "temperature"]);
    assert_eq!(found["data"]["rows"], 3 * before["data"]["rows"].as_u64().unwrap());
    for column in ["co", "temperature"] {
        let [before, found] = [&before, &found].map(|result| result["data"]["means"][column].as_f64().unwrap());
        assert!((before - found).abs() < 1e-9, "the mean of {column} is {found}, and was {before}");
    }
}
