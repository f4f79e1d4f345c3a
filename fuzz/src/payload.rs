//! Any bytes as records: each is in one class, and none changes another. serde_json is the judge of
//! what is JSON.

use std::sync::LazyLock;

use arrow::array::{Array as _, AsArray as _, RecordBatch};
use arrow::datatypes::Int64Type;
use arrow::util::display::array_value_to_string;
use serde_json::Value;
use weir::flow::messages::CheckedRecords;
use weir::model::Pipeline;
use weir::model::{Partition, RawRecords};
use weir::validate::Checker;

/// Divides the bytes into records: no byte of a text.
const DIVIDER: u8 = 0xFF;
/// More records show nothing new.
const RECORDS_MAX: usize = 12;
/// The fields that [`ANY`] reads.
const COLUMNS: [&str; 4] = ["s", "f", "m", "j"];

/// Columns that take any JSON, so that only the JSON itself decides.
static ANY: LazyLock<Pipeline> = LazyLock::new(|| {
    pipeline("keep", COLUMNS.map(|name| format!("{name} = {{ type = \"json\" }}\n")).concat().as_str())
});

/// A column of every type, most with a rule.
static KINDS: LazyLock<Pipeline> = LazyLock::new(|| kinds("keep"));

/// The same, where an unknown field is a fault.
static STRICT: LazyLock<Pipeline> = LazyLock::new(|| kinds("reject"));

const KIND_COLUMNS: &str = r#"
s = { type = "string", pattern = "^[^!]*$", max_length = 40, missing = ["-"] }
f = { type = "float64", missing = [-200], max = 1e300 }
i = { type = "int64", from = "/m/0/i" }
j = { type = "json" }
f32 = { type = "float32", coerce = true }
i8 = { type = "int8", min = -100, default = 5 }
i16 = { type = "int16", one_of = [1, 2, 300] }
i32 = { type = "int32", coerce = true }
u8 = { type = "uint8" }
u16 = { type = "uint16", coerce = true }
u32 = { type = "uint32", max = 4000000000 }
u64 = { type = "uint64" }
b = { type = "bool" }
d = { type = "date" }
dmy = { type = "date", format = "%d/%m/%Y" }
t = { type = "timestamp" }
rome = { type = "timestamp", from = "t", time_zone = "Europe/Rome", nonexistent = "earlier", ambiguous = "later" }
strptime = { type = "timestamp", format = "%Y-%m-%d %H:%M:%S%.f", time_zone = "+01:00" }
ns = { type = "timestamp", format = "unix_ns" }
us = { type = "timestamp", format = "unix_us" }
ms = { type = "timestamp", format = "unix_ms" }
sec = { type = "timestamp", format = "unix_s" }
deep = { type = "string", from = "/m/1/a~1b/c" }
whole = { type = "json", from = "m" }
"#;

fn pipeline(unknown_fields: &str, columns: &str) -> Pipeline {
    let text = format!(
        "name = \"fuzz\"\n[source]\ntype = \"kafka\"\nbrokers = \"localhost:9092\"\ntopics = [\"t\"]\nformat = \"json\"\n\
         [columns]\n{columns}\n[validate]\nunknown_fields = \"{unknown_fields}\"\n[window]\ntype = \"count\"\nrows = 100\n\
         [sink]\ntype = \"parquet\"\npath = \"unused\"\n"
    );
    Pipeline::parse("fuzz.toml", &text, &|_| None).unwrap_or_else(|broken| panic!("{}", broken.plain_report()))
}

/// A pipeline with a column of every type, most with a rule.
pub fn kinds(unknown_fields: &str) -> Pipeline {
    pipeline(unknown_fields, KIND_COLUMNS)
}

pub fn run(data: &[u8]) {
    let payloads: Vec<_> = data.split(|byte| *byte == DIVIDER).take(RECORDS_MAX).collect();
    for payload in &payloads {
        same_as_serde_json(payload);
    }
    // One after the other and each twice: the second one is read by what the first one taught.
    let twice: Vec<_> = payloads.iter().flat_map(|payload| [*payload, *payload]).collect();
    for pipeline in [&*ANY, &KINDS, &STRICT] {
        in_one_class_each(pipeline, &twice);
    }
}

/// Accepted is what serde_json accepts, with the same values.
///
/// But a record must be an object, and fields that are read stand in it once. Numbers that no
/// column reads as numbers may be of any size.
fn same_as_serde_json(payload: &[u8]) {
    let oracle = serde_json::from_slice::<Value>(payload);
    if let Err(error) = &oracle
        && error.to_string().contains("number out of range")
    {
        return;
    }
    let object = oracle.ok().and_then(|value| value.as_object().cloned());
    let expected = object.filter(|_| !doubled(payload));
    let checked = check(&mut Checker::new(&ANY), &[payload]);
    assert_eq!(checked.rows.num_rows() == 1, expected.is_some(), "{:?}", String::from_utf8_lossy(payload));
    let Some(mut object) = expected else { return };
    for name in COLUMNS {
        let value = object.shift_remove(name).unwrap_or_default();
        let found: Value = serde_json::from_str(&cell(&checked.rows, name, 0)).expect("a column of JSON holds JSON");
        assert_eq!(found, value, "{name}");
    }
    let extra: Value = serde_json::from_str(&cell(&checked.rows, "_extra", 0)).expect("_extra is JSON");
    assert_eq!(extra.as_object().cloned().unwrap_or_default(), object);
    typed(payload);
}

/// Where a typed column takes a value that needs no conversion, it is serde_json's.
fn typed(payload: &[u8]) {
    let checked = check(&mut Checker::new(&KINDS), &[payload]);
    let Ok(value) = serde_json::from_slice::<Value>(payload) else { return };
    if checked.rows.num_rows() == 0 {
        return;
    }
    let text = checked.rows.column_by_name("s").expect("it is a column").as_string::<i32>();
    let expected = value["s"].as_str().filter(|text| *text != "-");
    assert_eq!(text.is_valid(0).then(|| text.value(0)), expected);
    let integer = checked.rows.column_by_name("i").expect("it is a column").as_primitive::<Int64Type>();
    // A whole number may be written as 1.0 or 1e2.
    if let Some(expected) = value["m"][0]["i"].as_i64() {
        assert_eq!(integer.is_valid(0).then(|| integer.value(0)), Some(expected));
    }
}

/// Every offset is in exactly one class, in order. A record's class and values don't depend on its
/// neighbours.
fn in_one_class_each(pipeline: &Pipeline, payloads: &[&[u8]]) {
    let checked = check(&mut Checker::new(pipeline), payloads);
    let (good, bad) = (offsets(&checked.rows), offsets(&checked.rejects));
    assert!(good.is_sorted() && bad.is_sorted() && checked.tombstones.is_empty());
    let mut all = [&*good, &bad].concat();
    all.sort_unstable();
    assert!(all.iter().copied().eq(0..payloads.len() as i64), "{all:?} of {}", payloads.len());

    for (offset, payload) in payloads.iter().enumerate() {
        let alone = check(&mut Checker::new(pipeline), &[payload]);
        let (together, alone, row) = match good.binary_search(&(offset as i64)) {
            Ok(row) => (&checked.rows, alone.rows, row),
            Err(_) => {
                let row = bad.binary_search(&(offset as i64)).expect("it is in one of them");
                let kept = checked.rejects.column_by_name("payload").expect("rejects have it").as_binary::<i32>();
                assert!(kept.value(row) == *payload, "the payload is in the rejects byte for byte");
                (&checked.rejects, alone.rejects, row)
            }
        };
        assert_eq!(alone.num_rows(), 1, "another class beside its neighbours");
        for (at, field) in together.schema().fields().iter().enumerate() {
            if !field.name().starts_with("_kafka_") {
                let found = together.column(at).slice(row, 1);
                assert_eq!(&found, alone.column(at), "another value beside its neighbours: {}", field.name());
            }
        }
    }
}

fn check(checker: &mut Checker, payloads: &[&[u8]]) -> CheckedRecords {
    let mut records = RawRecords::default();
    for (offset, payload) in (0..).zip(payloads) {
        records.push(offset, Some(1_700_000_000_000), None, Some(payload));
    }
    checker.check(&Partition { topic: "t".into(), partition: 3 }, &records)
}

fn offsets(rows: &RecordBatch) -> Vec<i64> {
    let column = rows.column_by_name("_kafka_offset").expect("every row has one");
    column.as_primitive::<Int64Type>().values().to_vec()
}

/// A cell as text; "null" for null.
fn cell(batch: &RecordBatch, name: &str, row: usize) -> String {
    let array = batch.column_by_name(name).expect("it is a column");
    match array.is_null(row) {
        true => "null".to_owned(),
        false => array_value_to_string(array, row).expect("a text can be shown"),
    }
}

/// Whether a field of [`ANY`]'s columns stands twice in the object.
fn doubled(payload: &[u8]) -> bool {
    struct Keys(Vec<String>);
    impl<'de> serde::Deserialize<'de> for Keys {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            deserializer.deserialize_map(Visitor)
        }
    }
    struct Visitor;
    impl<'de> serde::de::Visitor<'de> for Visitor {
        type Value = Keys;
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an object")
        }
        fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Keys, A::Error> {
            let mut keys = Vec::new();
            while let Some((key, _)) = map.next_entry::<String, serde::de::IgnoredAny>()? {
                keys.push(key);
            }
            Ok(Keys(keys))
        }
    }
    let keys = serde_json::from_slice::<Keys>(payload).map(|keys| keys.0).unwrap_or_default();
    COLUMNS.iter().any(|name| keys.iter().filter(|key| key == name).count() > 1)
}
