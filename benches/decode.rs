//! Records a second from payload bytes to Arrow columns, on one core, for the shape of the air-quality readings.
//!
//! `cargo bench --bench decode`. A timing on a shared machine is noise: the cases take turns, each keeps its best round,
//! and what counts is the ratio to serde_json reading the same payloads into a struct, and dropping it, in the same run.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use weir::pipeline::messages::{Partition, RawRecords};
use weir::settings::Pipeline;
use weir::settings::pipeline::{
    Column, ColumnType, Format, LocalTimePolicy, Roll, Sink, Source, Start, TimeEncoding, TimestampFormat,
    UnknownFields, Validate, Value, Window, Zone,
};
use weir::validate::Checker;

const RECORDS: usize = 1000;
const ROUNDS: usize = 1000;

/// Names in the payload, and a value each.
const FIELDS: [(&str, &str); 15] = [
    ("station_id", "\"IT-01\""),
    ("timestamp", "\"2004-03-10T18:00:00\""),
    ("co_gt", "2.6"),
    ("pt08_s1_co", "1360"),
    ("nmhc_gt", "-200"),
    ("c6h6_gt", "11.9"),
    ("pt08_s2_nmhc", "1046"),
    ("nox_gt", "166"),
    ("pt08_s3_nox", "1056"),
    ("no2_gt", "113"),
    ("pt08_s4_no2", "1692"),
    ("pt08_s5_o3", "1268"),
    ("t", "13.6"),
    ("rh", "48.9"),
    ("ah", "0.7578"),
];

/// The same fields for serde: every value is looked at, as in the columns.
#[derive(serde::Deserialize)]
#[allow(dead_code)]
struct Reading<'a> {
    station_id: &'a str,
    timestamp: &'a str,
    co_gt: Option<f64>,
    pt08_s1_co: Option<f64>,
    nmhc_gt: Option<f64>,
    c6h6_gt: Option<f64>,
    pt08_s2_nmhc: Option<f64>,
    nox_gt: Option<f64>,
    pt08_s3_nox: Option<f64>,
    no2_gt: Option<f64>,
    pt08_s4_no2: Option<f64>,
    pt08_s5_o3: Option<f64>,
    t: Option<f64>,
    rh: Option<f64>,
    ah: Option<f64>,
}

fn main() {
    let cases = [
        ("keys in one order", records(|_, _| {}, 0)),
        ("keys shuffled", records(|index, fields| fields.rotate_left(index % 15), 0)),
        ("0.5 % bad", records(|_, _| {}, 5)),
        ("50 % bad", records(|_, _| {}, 500)),
    ];
    let mut checker = Checker::new(&pipeline());
    let partition = Partition { topic: "air-quality-data".into(), partition: 0 };
    let mut best = [(Duration::MAX, Duration::MAX); 4];
    for _ in 0..ROUNDS {
        for ((_, records), (checking, parsing)) in cases.iter().zip(&mut best) {
            let started = Instant::now();
            let checked = checker.check(&partition, records);
            *checking = started.elapsed().min(*checking);
            let classes = checked.rows.num_rows() + checked.rejects.num_rows();
            assert_eq!(classes, RECORDS);

            let started = Instant::now();
            let read = |index| serde_json::from_slice::<Reading>(records.value(index)).is_ok();
            let good = (0..RECORDS).filter(|index| read(*index)).count();
            *parsing = started.elapsed().min(*parsing);
            assert_eq!(good, checked.rows.num_rows());
        }
    }
    let bytes = cases[0].1.values.len() / RECORDS;
    println!("{bytes} bytes and {} columns a record", FIELDS.len());
    for ((name, _), (checking, parsing)) in cases.iter().zip(best) {
        let rate = RECORDS as f64 / checking.as_secs_f64() / 1e6;
        let ratio = parsing.as_secs_f64() / checking.as_secs_f64();
        println!("{name:20} {rate:6.2} M records/s, {ratio:4.2} × serde_json");
    }
}

/// Records whose fields `arrange` puts in order; `bad` in a thousand have a text for a number in the middle.
fn records(arrange: impl Fn(usize, &mut Vec<(&str, &str)>), bad: usize) -> RawRecords {
    let mut records = RawRecords::default();
    for index in 0..RECORDS {
        let mut fields = FIELDS.to_vec();
        if index * 7919 % 1000 < bad {
            fields[7].1 = "\"n/a\"";
        }
        arrange(index, &mut fields);
        let members: Vec<String> = fields.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
        let payload = format!("{{{}}}", members.join(","));
        records.push(index as i64, Some(1_700_000_000_000), None, Some(payload.as_bytes()));
    }
    records
}

fn columns() -> Vec<Column> {
    let column = |(name, _): &(&str, &str)| Column {
        name: (*name).to_owned(),
        kind: ColumnType::Float(64),
        from: vec![(*name).to_owned()],
        required: false,
        default: None,
        missing: vec![Value::Float(-200.0)],
        min: None,
        max: None,
        one_of: vec![],
        pattern: None,
        max_length: None,
        coerce: false,
    };
    let mut columns: Vec<Column> = FIELDS.iter().map(column).collect();
    columns[0].kind = ColumnType::String;
    columns[1].kind = ColumnType::Timestamp(TimestampFormat {
        encoding: TimeEncoding::Rfc3339,
        zone: Some(Zone::Fixed(3600)),
        gap: LocalTimePolicy::Reject,
        fold: LocalTimePolicy::Reject,
    });
    for column in &mut columns[..2] {
        (column.required, column.missing) = (true, vec![]);
    }
    columns[13].min = Some(Value::Float(0.0));
    columns[13].max = Some(Value::Float(100.0));
    columns
}

fn pipeline() -> Pipeline {
    Pipeline {
        name: "bench".to_owned(),
        source: Source {
            brokers: String::new(),
            topics: vec![],
            format: Format::Json,
            start: Start::Earliest,
            group: String::new(),
            consumers: 1,
            client: BTreeMap::new(),
        },
        columns: columns(),
        validate: Validate { unknown_fields: UnknownFields::Ignore },
        window: Window::Count { rows: 100 },
        sink: Sink {
            path: "unused".into(),
            partition_by: vec![],
            max_keys: 1,
            compression: parquet::basic::Compression::UNCOMPRESSED,
            row_group_rows: 1,
            roll: Roll { windows: 1, rows: None, bytes: 1, age: Duration::ZERO },
        },
        hash: String::new(),
        text: String::new(),
    }
}
