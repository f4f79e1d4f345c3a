//! Payload bytes to Arrow columns on one core, beside arrow-json and sonic-rs, for records of many shapes.
//!
//! `cargo bench --bench decode`. A timing on a shared machine is noise: the three take turns, each keeps its best round, and
//! what counts are the ratios. weir checks its rules, keeps coordinates and puts bad records aside; arrow-json gives up a batch at its first
//! bad record, so that it only has good ones; sonic-rs parses a record into its tree, from which each column's vector is filled.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::datatypes::{DataType, Field, Fields, Schema};
use arrow_json::ReaderBuilder;
use sonic_rs::{JsonContainerTrait as _, JsonValueTrait as _, Value};
use weir::cli::readings;
use weir::model::Pipeline;
use weir::model::{Partition, RawRecords};
use weir::validate::Checker;

const ROUNDS: usize = 40;
/// Bytes of a batch, about.
const BATCH_BYTES: usize = 1 << 20;

/// What one batch is read as.
struct Case {
    name: &'static str,
    columns: String,
    /// The same for arrow-json.
    schema: Schema,
    /// Each column's way through a record, and whether it is a number.
    paths: Vec<(Vec<String>, bool)>,
    records: RawRecords,
    bad: usize,
}

fn main() {
    println!("{:34} {:>7} {:>9} {:>9} {:>12} {:>12}", "", "bytes", "M rec/s", "MB/s", "arrow-json", "sonic-rs");
    for case in cases() {
        let text = format!("name = \"bench\"\n{SOURCE}\n[columns]\n{}\n{SINK}", case.columns);
        let pipeline = Pipeline::parse("bench.toml", &text, &|_| None).expect("a pipeline");
        let mut checker = Checker::new(&pipeline);
        let partition = Partition { topic: "bench".into(), partition: 0 };
        let schema = Arc::new(case.schema.clone());
        let [mut ours, mut arrow, mut sonic] = [Duration::MAX; 3];
        for _ in 0..ROUNDS {
            let started = Instant::now();
            let checked = black_box(checker.check(&partition, &case.records));
            ours = ours.min(started.elapsed());
            assert_eq!(checked.rejects.num_rows(), case.bad, "{}", case.name);
            if case.bad == 0 {
                let started = Instant::now();
                let rows = black_box(arrow_json(&schema, &case.records));
                arrow = arrow.min(started.elapsed());
                assert_eq!(rows, checked.rows.num_rows());
            }
            let started = Instant::now();
            let rows = black_box(sonic_rs(&case.paths, &case.records));
            sonic = sonic.min(started.elapsed());
            assert_eq!(rows, case.records.len());
        }
        let records = case.records.len() as f64;
        let (rate, bytes) = (records / ours.as_secs_f64(), case.records.values.len() as f64);
        let ratio = |other: Duration| match other {
            Duration::MAX => "-".to_owned(),
            other => format!("{:.2} ×", other.as_secs_f64() / ours.as_secs_f64()),
        };
        println!(
            "{:34} {:7.0} {:9.2} {:9.0} {:>12} {:>12}",
            case.name,
            bytes / records,
            rate / 1e6,
            bytes / ours.as_secs_f64() / 1e6,
            ratio(arrow),
            ratio(sonic)
        );
    }
}

const SOURCE: &str = "[source]\ntype = \"kafka\"\nbrokers = \"-\"\ntopics = [\"bench\"]\nformat = \"json\"";
const SINK: &str = "[window]\ntype = \"count\"\nrows = 100\n[sink]\ntype = \"parquet\"\npath = \"unused\"";

fn arrow_json(schema: &Arc<Schema>, records: &RawRecords) -> usize {
    let mut decoder =
        ReaderBuilder::new(schema.clone()).with_batch_size(records.len()).build_decoder().expect("a decoder");
    for index in 0..records.len() {
        decoder.decode(records.value(index)).expect("a record");
    }
    decoder.flush().expect("a batch").map_or(0, |batch| batch.num_rows())
}

fn sonic_rs(paths: &[(Vec<String>, bool)], records: &RawRecords) -> usize {
    // Which columns are at or below a top-level field.
    let mut fields: HashMap<&str, Vec<usize>> = HashMap::new();
    for (column, (path, _)) in paths.iter().enumerate() {
        fields.entry(&path[0]).or_default().push(column);
    }
    let mut numbers: Vec<Vec<Option<f64>>> = paths.iter().map(|_| Vec::with_capacity(records.len())).collect();
    let mut texts: Vec<Vec<u8>> = paths.iter().map(|_| Vec::new()).collect();
    let (mut rows, mut values) = (0, 0);
    for index in 0..records.len() {
        let record = sonic_rs::from_slice::<Value>(records.value(index)).expect("JSON");
        for (field, value) in record.as_object().expect("an object") {
            for &column in fields.get(field).into_iter().flatten() {
                let (path, number) = &paths[column];
                let value = path[1..].iter().try_fold(value, |value, name| value.as_object()?.get(name));
                values += 1;
                if *number {
                    numbers[column].push(value.and_then(|value| value.as_f64()));
                } else {
                    let text = value.and_then(|value| value.as_str()).unwrap_or_default();
                    texts[column].extend_from_slice(text.as_bytes());
                }
            }
        }
        rows += 1;
    }
    assert_eq!(values, rows * paths.len(), "a record has all fields");
    black_box((numbers, texts));
    rows
}

fn cases() -> Vec<Case> {
    let good: Vec<Vec<u8>> = readings::readings().iter().map(|reading| reading.to_json(readings::STATION)).collect();
    let fields: Vec<String> = members(&good[0]).iter().map(|member| name(member)).collect();
    let broken = |every: usize| {
        let bad = good[0].clone();
        let text = String::from_utf8(bad).expect("a reading is ASCII").replace(":2.6,", ":\"n/a\",");
        let payloads = good.iter().cycle().take(4000).enumerate();
        payloads.map(|(at, one)| if at % every == 0 { text.clone().into_bytes() } else { one.clone() }).collect()
    };
    let rotated = good.iter().take(4000).enumerate().map(|(at, payload)| {
        let mut members = members(payload);
        let length = members.len();
        members.rotate_left(at % length);
        format!("{{{}}}", members.join(",")).into_bytes()
    });
    let flat = |columns: usize, text: usize| -> Vec<Vec<u8>> {
        let record = |at: usize| {
            let mut json = format!("{{\"f0\":\"{}\"", "x".repeat(text));
            (1..columns).for_each(|column| {
                write!(json, ",\"f{column}\":{}.{}", at % 100, column % 10).expect("a text takes what is written");
            });
            json.push('}');
            json.into_bytes()
        };
        (0..BATCH_BYTES / record(0).len() + 1).map(record).collect()
    };
    let flat_fields = |columns: usize| (0..columns).map(|column| format!("f{column}")).collect::<Vec<_>>();
    let nested: Vec<Vec<u8>> = (0..4000)
        .map(|at| {
            let at = at % 100;
            format!("{{\"id\":\"s{at}\",\"meta\":{{\"site\":{{\"lat\":{at}.5,\"lon\":-{at}.25}}}},\"values\":{{\"co\":{at}.1,\"no\":{at}.2,\"o\":{at}.3}}}}")
                .into_bytes()
        })
        .collect();
    let nested_fields = ["id", "meta/site/lat", "meta/site/lon", "values/co", "values/no", "values/o"];
    vec![
        case("readings", &fields, good.iter().take(4000).cloned().collect(), 0),
        case("readings, keys in any order", &fields, rotated.collect(), 0),
        case("readings, 0.5 % bad", &fields, broken(200), 20),
        case("readings, 50 % bad", &fields, broken(2), 2000),
        case("5 columns", &flat_fields(5), flat(5, 4), 0),
        case("50 columns", &flat_fields(50), flat(50, 4), 0),
        case("500 columns", &flat_fields(500), flat(500, 4), 0),
        case("15 columns, a text of 100 kB", &flat_fields(15), flat(15, 100_000), 0),
        case("6 columns, nested", &nested_fields.map(str::to_owned), nested, 0),
    ]
}

/// Text columns are the first, those of time are called `timestamp`; all others are numbers.
fn case(name: &'static str, fields: &[String], payloads: Vec<Vec<u8>>, bad: usize) -> Case {
    let mut columns = String::new();
    let mut paths = Vec::new();
    let mut schema: Vec<Field> = Vec::new();
    for (at, field) in fields.iter().enumerate() {
        let path: Vec<String> = field.split('/').map(str::to_owned).collect();
        let (kind, arrow) = match (at, field.as_str()) {
            (_, "timestamp") => (
                "timestamp\", time_zone = \"+01:00",
                DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, Some("+01:00".into())),
            ),
            (0, _) => ("string", DataType::Utf8),
            _ => ("float64", DataType::Float64),
        };
        writeln!(columns, "c{at} = {{ type = \"{kind}\", from = \"/{field}\" }}")
            .expect("a text takes what is written");
        add(&mut schema, &path, arrow);
        paths.push((path, kind == "float64"));
    }
    let mut records = RawRecords::default();
    for (at, payload) in payloads.iter().enumerate() {
        records.push(at as i64, Some(1_700_000_000_000), None, Some(payload));
    }
    Case { name, columns, schema: Schema::new(schema), paths, records, bad }
}

/// Adds a column at a path, which structs are made for.
fn add(fields: &mut Vec<Field>, path: &[String], kind: DataType) {
    let [first, rest @ ..] = path else { return };
    if rest.is_empty() {
        return fields.push(Field::new(first, kind, true));
    }
    let known = fields.iter().position(|field| field.name() == first);
    let mut below = match known.map(|at| fields.remove(at)) {
        Some(field) => match field.data_type() {
            DataType::Struct(below) => below.iter().map(|field| (**field).clone()).collect(),
            other => panic!("{first} is a value and holds some: {other}"),
        },
        None => Vec::new(),
    };
    add(&mut below, rest, kind);
    fields.push(Field::new(first, DataType::Struct(Fields::from(below)), true));
}

/// The members of an object whose texts hold no commas, as written.
fn members(payload: &[u8]) -> Vec<String> {
    let text = std::str::from_utf8(payload).expect("a reading is ASCII");
    text[1..text.len() - 1].split(',').map(str::to_owned).collect()
}

fn name(member: &str) -> String {
    member[1..].split('"').next().expect("a name in quotes").to_owned()
}
