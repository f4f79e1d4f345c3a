//! Pipeline files as people write them, right and wrong.

use std::time::Duration;

use proptest::prelude::*;

use super::Broken;
use crate::model::Pipeline;
use crate::model::pipeline::*;
use crate::model::window::{Count, Late, Window};

const SHIPPED: &str = include_str!("../../pipelines/air_quality.toml");

fn environment(name: &str) -> Option<String> {
    match name {
        "HOST" => Some("kafka".into()),
        "ROWS" => Some("250".into()),
        "WORDS" => Some("many".into()),
        "SECRET" => Some("hunter2".into()),
        _ => None,
    }
}

fn parse(text: &str) -> Result<Pipeline, Broken> {
    Pipeline::parse("p.toml", text, &environment)
}

/// A file in which one section's or column's lines are the given ones.
struct File {
    source: String,
    columns: String,
    window: String,
    sink: String,
}

fn file() -> File {
    File {
        source: "type = \"kafka\"\nbrokers = \"localhost:9092\"\ntopics = [\"t\"]\nformat = \"json\"\n".into(),
        columns: "id = { type = \"string\" }\n".into(),
        window: "type = \"count\"\nrows = 100\n".into(),
        sink: "type = \"parquet\"\n".into(),
    }
}

impl File {
    fn source(mut self, lines: &str) -> Self {
        self.source.push_str(lines);
        self
    }
    fn columns(mut self, lines: &str) -> Self {
        self.columns.push_str(lines);
        self
    }
    fn sink(mut self, lines: &str) -> Self {
        self.sink.push_str(lines);
        self
    }
    fn text(&self) -> String {
        let File { source, columns, window, sink } = self;
        format!("name = \"p\"\n[source]\n{source}\n[columns]\n{columns}\n[window]\n{window}\n[sink]\n{sink}\n")
    }
    #[track_caller]
    fn good(self) -> Pipeline {
        parse(&self.text()).unwrap_or_else(|broken| panic!("{}", broken.plain_report()))
    }
    #[track_caller]
    fn messages(self) -> Vec<String> {
        parse(&self.text()).unwrap_err().mistakes.into_iter().map(|mistake| mistake.message).collect()
    }
}

#[track_caller]
fn column(options: &str) -> Column {
    file().columns(&format!("x = {{ {options} }}")).good().columns.remove(1)
}

#[track_caller]
fn refused(options: &str, message: &str) {
    let messages = file().columns(&format!("x = {{ {options} }}")).messages();
    assert_eq!(messages, [message], "{options}");
}

#[test]
fn the_shipped_pipeline() {
    let pipeline = Pipeline::parse("air_quality.toml", SHIPPED, &|_| None).unwrap();
    assert_eq!(pipeline.name, "air-quality");
    assert_eq!(pipeline.source.brokers, "localhost:9092");
    assert_eq!(pipeline.source.group, "weir-air-quality");
    assert_eq!(pipeline.columns.len(), 15);
    assert_eq!(pipeline.columns[1].name, "measured_at");
    assert_eq!(pipeline.window, Window::Count(Count { rows: 100 }));
    assert_eq!(pipeline.sink.partition_by, ["station_id"]);
    assert_eq!(pipeline.hash.len(), 64);
    assert_eq!(pipeline.text, SHIPPED);
}

#[test]
fn what_may_be_left_out_has_defaults() {
    let pipeline = file().good();
    assert_eq!(pipeline.source.start, Start::Earliest);
    assert_eq!(pipeline.source.group, "weir-p");
    assert_eq!(pipeline.source.consumers, None);
    assert!(pipeline.source.client.is_empty());
    assert_eq!(pipeline.validate.unknown_fields, UnknownFields::Ignore);
    assert_eq!(pipeline.sink.path.to_str(), Some("processed_data"));
    assert_eq!(pipeline.sink.max_keys, 1000);
    assert_eq!(pipeline.sink.row_group_rows, 131_072);
    assert_eq!(pipeline.sink.roll, defaults::ROLL);
    assert_eq!(format!("{:?}", pipeline.sink.compression), "ZSTD(ZstdLevel(3))");
}

#[test]
fn variables_fill_text_and_numbers() {
    let text = file().text().replace("rows = 100", "rows = \"${ROWS}\"").replace("localhost", "${HOST}");
    let pipeline = parse(&text).unwrap();
    assert_eq!(pipeline.window, Window::Count(Count { rows: 250 }));
    assert_eq!(pipeline.source.brokers, "kafka:9092");
    assert!(pipeline.text.contains("${HOST}"), "the kept text has no values in it");
    let other = Pipeline::parse("p.toml", &text, &|_| Some("9".into())).unwrap();
    assert_eq!(pipeline.hash, other.hash, "the hash is of the text as written");
    assert_eq!(column("type = \"float64\", min = \"${ROWS}\"").min, Some(Value::Float(250.0)));
    let written_text = text.replace("rows = \"${ROWS}\"", "rows = \"250\"");
    assert!(parse(&written_text).is_err(), "only a variable may stand for a number");
}

#[test]
fn starts() {
    let start = |written: &str| file().source(&format!("start = {written}")).good().source.start;
    assert_eq!(start("\"earliest\""), Start::Earliest);
    assert_eq!(start("\"latest\""), Start::Latest);
    assert_eq!(start("\"committed\""), Start::Committed);
    assert_eq!(start("\"1970-01-01T01:00:01.5+01:00\""), Start::Timestamp(1500));
    assert_eq!(start("1970-01-01T00:00:02Z"), Start::Timestamp(2000));
    for written in ["\"earlist\"", "\"\"", "\"2004-03-10\"", "5", "2004-03-10", "\"now\""] {
        assert_eq!(file().source(&format!("start = {written}")).messages().len(), 1, "{written}");
    }
}

#[test]
fn client_properties() {
    let lines = "[source.client]\n\"security.protocol\" = \"SASL_SSL\"\nsasl.password = \"${SECRET}\"\n\
                 \"session.timeout.ms\" = 6000\n\"socket.keepalive.enable\" = true\n\"group.instance.id\" = \"a\"\n\
                 \"group.protocol\" = \"classic\"\n\"partition.assignment.strategy\" = \"cooperative-sticky\"";
    let source = file().source(lines).good().source;
    assert_eq!(source.client["security.protocol"], "SASL_SSL");
    assert_eq!(source.client["sasl.password"], "hunter2");
    assert_eq!(source.client["session.timeout.ms"], "6000");
    assert_eq!(source.client["socket.keepalive.enable"], "true");
    assert!(!format!("{source:?}").contains("hunter2"));
}

#[test]
fn a_secret_is_never_shown() {
    for line in [
        "\"x\" = [\"${SECRET}\"]",
        "\"security.protocol\" = \"${SECRET}\"",
        "\"session.timeout.ms\" = \"${SECRET}\"",
        "\"sasl.pasword\" = \"${SECRET}\"",
        "\"group.protocol\" = \"${SECRET}\"",
        "\"isolation.level\" = \"${SECRET}\"",
        "\"debug\" = \"x${SECRET}\"",
    ] {
        let broken = parse(&file().source(&format!("[source.client]\n{line}")).text()).unwrap_err();
        assert!(!broken.plain_report().contains("hunter2"), "{line}");
        assert!(!format!("{broken:?}").contains("hunter2"), "{line}");
    }
    let broken = parse(&file().source("client = \"${SECRET}\"").text()).unwrap_err();
    assert!(!broken.plain_report().contains("hunter2"));
}

/// A file with a secret in it, as `${file:…}` writes it.
fn secret(folder: &tempfile::TempDir, secret: &str) -> String {
    use std::os::unix::fs::PermissionsExt;
    let path = folder.path().join("secret");
    std::fs::write(&path, secret).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    format!("${{file:{}}}", path.display())
}

#[test]
fn a_secret_from_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let written = secret(&folder, "hunter2\n");
    let with = |line: &str| file().source(&format!("[source.client]\n{line}"));
    let pipeline = with(&format!("\"sasl.password\" = \"{written}\"")).good();
    assert_eq!(pipeline.source.client["sasl.password"], "hunter2");
    assert!(!format!("{pipeline:?}").contains("hunter2") && !pipeline.text.contains("hunter2"));
    // Everything but [source.client] is shown somewhere.
    for text in [
        with("").columns(&format!("x = {{ type = \"string\", default = \"{written}\" }}")).text(),
        with("").sink(&format!("path = \"{written}\"")).text(),
        with("").text().replace("\"p\"", &format!("\"{written}\"")),
        with("").text().replace("\"localhost:9092\"", &format!("\"{written}\"")),
    ] {
        let broken = parse(&text).unwrap_err();
        let messages: Vec<&str> = broken.mistakes.iter().map(|mistake| &*mistake.message).collect();
        assert_eq!(messages, ["a secret's file can only be used in [source.client]"]);
        assert!(!format!("{broken:?}").contains("hunter2"));
    }
}

#[test]
fn a_secrets_file_that_is_refused() {
    let broken = parse(&file().source("[source.client]\nsasl.password = \"${file:/none}\"").text()).unwrap_err();
    insta::assert_snapshot!(broken.plain_report(), @r#"
      × p.toml has a mistake

    Error: 
      × there is no file /none
       ╭─[p.toml:8:17]
     8 │ sasl.password = "${file:/none}"
       ·                 ───────────────
       ╰────
      help: create it, or correct the path; a relative one begins where weir is started
    "#);
}

#[test]
fn a_fingerprint_tells_that_a_secret_was_changed() {
    let folder = tempfile::tempdir().unwrap();
    let written = secret(&folder, "one");
    let text = file()
        .source(&format!("[source.client]\nsasl.password = \"{written}\"\n\"client.id\" = \"${{A}}${{B}}\""))
        .text();
    let fingerprint = |text: &str, a: &str, b: &str| {
        let environment = |name: &str| Some(if name == "A" { a.to_owned() } else { b.to_owned() });
        let pipeline = Pipeline::parse("p.toml", text, &environment).unwrap();
        assert_eq!((pipeline.hash.len(), pipeline.fingerprint.len()), (64, 64));
        (pipeline.hash, pipeline.fingerprint)
    };
    let before = fingerprint(&text, "a", "b");
    assert_eq!(fingerprint(&text, "a", "b"), before);
    let variable = fingerprint(&text, "a", "c");
    assert!(variable.0 == before.0 && variable.1 != before.1);
    secret(&folder, "two");
    let file = fingerprint(&text, "a", "b");
    assert!(file.0 == before.0 && file.1 != before.1);
    let comment = fingerprint(&format!("{text}#"), "a", "b");
    assert!(comment.0 != before.0 && comment.1 != file.1);
}

#[test]
fn types() {
    for (written, kind) in [
        ("string", "String"),
        ("bool", "Bool"),
        ("int8", "Int(8)"),
        ("int16", "Int(16)"),
        ("int32", "Int(32)"),
        ("int64", "Int(64)"),
        ("uint8", "Uint(8)"),
        ("uint16", "Uint(16)"),
        ("uint32", "Uint(32)"),
        ("uint64", "Uint(64)"),
        ("float32", "Float(32)"),
        ("float64", "Float(64)"),
        ("date", "Date(None)"),
        ("json", "Json"),
    ] {
        assert_eq!(format!("{:?}", column(&format!("type = \"{written}\"")).kind), kind);
    }
}

#[test]
fn values_are_of_their_columns_type() {
    let default = |options: &str| column(options).default.unwrap();
    assert_eq!(default(r#"type = "string", default = "a""#), Value::Text("a".into()));
    assert_eq!(default(r#"type = "bool", default = false"#), Value::Bool(false));
    assert_eq!(default(r#"type = "int8", default = -128"#), Value::Int(-128));
    assert_eq!(default(r#"type = "uint64", default = 18446744073709551615"#), Value::Int(u64::MAX.into()));
    assert_eq!(default(r#"type = "float64", default = 1"#), Value::Float(1.0));
    assert_eq!(default(r#"type = "float32", default = 0.1"#), Value::Float(f64::from(0.1_f32)));
    assert_eq!(default(r#"type = "date", default = 1970-01-03"#), Value::Days(2));
    assert_eq!(default(r#"type = "date", default = "1969-12-31""#), Value::Days(-1));
    assert_eq!(default(r#"type = "json", default = '{"a": 1}'"#), Value::Text(r#"{"a": 1}"#.into()));
    assert_eq!(default(r#"type = "timestamp", default = "1970-01-01T01:00:01+01:00""#), Value::Micros(1_000_000));
    assert_eq!(
        column(r#"type = "float64", missing = [-200, -999.5]"#).missing,
        [Value::Float(-200.0), Value::Float(-999.5)]
    );
}

#[test]
fn values_that_dont_fit() {
    let whole =
        |from: i128, to: i128, found: &str| format!("this must be a whole number from {from} to {to}, not {found}");
    refused(r#"type = "int8", min = -129"#, &whole(-128, 127, "-129"));
    refused(r#"type = "int32", min = 1.5"#, &whole(i32::MIN.into(), i32::MAX.into(), "1.5"));
    refused(r#"type = "uint64", missing = [-1]"#, &whole(0, u64::MAX.into(), "-1"));
    refused(r#"type = "float32", max = 1e300"#, &format!("this must be a number that a float32 holds, not {}", 1e300));
    refused(r#"type = "float64", max = inf"#, "this must be a number that a float64 holds, not inf");
    refused(r#"type = "bool", default = "no""#, "this must be true or false, not \"no\"");
    refused(r#"type = "json", default = "{""#, "this is not JSON: EOF while parsing an object at line 1 column 1");
    refused(r#"type = "date", min = "1.1.2000""#, "this must be a date, not \"1.1.2000\"");
    refused(
        r#"type = "timestamp", min = "2004-03-10T18:00:00""#,
        "this must be a timestamp with its offset (RFC 3339), not \"2004-03-10T18:00:00\"",
    );
}

#[test]
fn options_that_dont_fit() {
    refused(r#"type = "bool", min = 1"#, "`min` doesn't fit a bool");
    refused(r#"type = "json", missing = ["x"]"#, "`missing` doesn't fit a json");
    refused(r#"type = "float64", pattern = "x""#, "`pattern` doesn't fit a float64");
    refused(r#"type = "string", coerce = true"#, "`coerce` doesn't fit a string");
    refused(r#"type = "date", time_zone = "UTC""#, "`time_zone` doesn't fit a date");
    refused(r#"type = "int8", min = 2, max = 1"#, "`min` is above `max`: no value would do");
    refused(r#"type = "int8", max = 1, default = 2"#, "the default breaks the column's own `max`");
    refused(r#"type = "string", one_of = ["a"], default = "b""#, "the default breaks the column's own `one_of`");
    refused(r#"type = "string", pattern = "^a", default = "b""#, "the default breaks the column's own `pattern`");
    refused(
        r#"type = "string", max_length = 2, one_of = ["äö", "abc"]"#,
        "a value of `one_of` breaks the column's own `max_length`",
    );
    refused(r#"type = "int8", missing = [0], default = 0"#, "the default is one of `missing`");
    refused(r#"type = "int8", one_of = []"#, "`one_of` lists nothing");
    refused(
        r#"type = "int8", required = true, default = 0"#,
        "a required column is never without a value, so a default is never used",
    );
    refused(r#"type = "string", max_length = 0"#, "this must be a whole number from 1 to 9223372036854775807, not 0");
}

#[test]
fn froms() {
    let from = |written: &str| column(&format!("type = \"string\", from = \"{written}\"")).from;
    assert_eq!(column("type = \"string\"").from, ["x"]);
    assert_eq!(from("a/b"), ["a/b"]);
    assert_eq!(from("/a/0/b"), ["a", "0", "b"]);
    assert_eq!(from("/a~1b/~01"), ["a/b", "~1"]);
    assert_eq!(from("/"), [""]);
    refused(r#"type = "string", from = "/a~2""#, "this JSON pointer has a ~ that stands for nothing");
    refused(r#"type = "string", from = """#, "this must not be empty");
}

#[track_caller]
fn time(options: &str) -> TimestampFormat {
    match column(&format!("type = \"timestamp\", {options}")).kind {
        ColumnType::Timestamp(format) => format,
        kind => panic!("{kind:?}"),
    }
}

#[test]
fn timestamps() {
    for (format, encoding) in [
        ("rfc3339", TimeEncoding::Rfc3339),
        ("unix_s", TimeEncoding::UnixSeconds),
        ("unix_ms", TimeEncoding::UnixMillis),
        ("unix_us", TimeEncoding::UnixMicros),
        ("unix_ns", TimeEncoding::UnixNanos),
        ("%d/%m/%Y %H:%M %z", TimeEncoding::Strptime("%d/%m/%Y %H:%M %z".into())),
        ("%Y-%m-%dT%H:%M:%S%.f%:z", TimeEncoding::Strptime("%Y-%m-%dT%H:%M:%S%.f%:z".into())),
    ] {
        assert_eq!(time(&format!("format = \"{format}\"")).encoding, encoding);
    }
    let zoned = time(r#"format = "%d/%m/%Y %I.%M %p", time_zone = "+05:30""#);
    assert!(matches!(zoned.zone, Some(Zone::Fixed(19_800))));
    assert!(matches!(time(r#"time_zone = "UTC""#).zone, Some(Zone::Fixed(0))));
    let named = time(r#"time_zone = "Europe/Rome", nonexistent = "later", ambiguous = "earlier""#);
    assert!(matches!(named.zone, Some(Zone::Named(_))));
    assert_eq!((named.gap, named.fold), (LocalTimePolicy::Later, LocalTimePolicy::Earlier));
    assert!(time(r#"format = "%d/%m/%Y", time_zone = "UTC""#).zone.is_some(), "a date alone is its midnight");
}

#[test]
fn zones_are_known_without_the_systems_database() {
    let bundled = jiff::tz::TimeZoneDatabase::bundled();
    assert!(bundled.get("Europe/Rome").is_ok());
}

#[test]
fn timestamps_that_cant_be_read() {
    let refused = |options: &str, message: &str| refused(&format!("type = \"timestamp\", {options}"), message);
    refused(r#"format = "unix""#, "\"unix\" is no format of a timestamp");
    refused(r#"format = "%H:%M", time_zone = "UTC""#, "this format can't be used: it doesn't tell the whole date");
    refused(r#"format = "%Y-%m-%d %I:%M", time_zone = "UTC""#, "this format doesn't tell morning from evening");
    refused(r#"format = "%Y-%m-%d %H:%M""#, "values in this format don't say which zone they are in");
    refused(r#"format = "unix_ms", time_zone = "UTC""#, "values in this format carry their own zone");
    refused(r#"format = "%Y-%m-%d %H:%M %z", time_zone = "UTC""#, "values in this format carry their own zone");
    refused(r#"time_zone = "+1""#, "\"+1\" is no offset from UTC");
    refused(r#"time_zone = "Europe/Roma""#, "there is no time zone \"Europe/Roma\"");
    refused(r#"time_zone = "+01:00", ambiguous = "later""#, "only a named zone skips or repeats local times");
}

#[test]
fn dates() {
    let kind = column(r#"type = "date", format = "%d/%m/%Y""#).kind;
    assert!(matches!(kind, ColumnType::Date(Some(format)) if format == "%d/%m/%Y"));
    refused(r#"type = "date", format = "%m/%Y""#, "this format can't be used: it doesn't tell the whole date");
    refused(r#"type = "date", format = "rfc3339""#, "\"rfc3339\" is no format of a date");
}

#[test]
fn codecs() {
    let codec =
        |written: &str| format!("{:?}", file().sink(&format!("compression = \"{written}\"")).good().sink.compression);
    assert_eq!(codec("none"), "UNCOMPRESSED");
    assert_eq!(codec("snappy"), "SNAPPY");
    assert_eq!(codec("lz4"), "LZ4_RAW");
    assert_eq!(codec("gzip"), "GZIP(GzipLevel(6))");
    assert_eq!(codec("gzip(9)"), "GZIP(GzipLevel(9))");
    assert_eq!(codec("zstd(22)"), "ZSTD(ZstdLevel(22))");
    for written in
        ["", "zstd(0)", "zstd(23)", "gzip(0)", "gzip(10)", "snappy(1)", "zstd(", "zstd()", "brotli", "zstd(3)x"]
    {
        let messages = file().sink(&format!("compression = \"{written}\"")).messages();
        assert_eq!(messages, [format!("this must be a codec, with a level that it has, not {written:?}")]);
    }
}

#[test]
fn hive_keys() {
    let refused = |keys: &str, message: &str| {
        let columns =
            "day = { type = \"date\", required = true }\nmaybe = { type = \"bool\" }\nco = { type = \"float64\" }";
        let messages = file().columns(columns).sink(&format!("partition_by = {keys}")).messages();
        assert_eq!(messages, [message], "{keys}");
    };
    refused(r#"["dya"]"#, "there is no column `dya`");
    refused(r#"["day", "day"]"#, "`day` is listed twice");
    refused(r#"["maybe"]"#, "`maybe` may have no value, so it can't be a key");
    refused(r#"["co"]"#, "`co` is of a type that can't be a key");
    refused(r#""day""#, "this must be a list, not \"day\"");
    let only = file().sink("partition_by = [\"id\"]").messages();
    assert_eq!(only, ["a file would have no column left", "`id` may have no value, so it can't be a key"]);
    let long = format!("k = {{ type = \"string\", default = \"{}\" }}", "x".repeat(254));
    let long = file().columns(&long).sink("partition_by = [\"k\"]").messages();
    assert!(long.contains(&"the default of `k` can't name a folder".to_owned()), "{long:?}");
    let good = file().columns("co = { type = \"int8\", default = 0 }").sink("partition_by = [\"co\"]").good();
    assert_eq!(good.sink.partition_by, ["co"]);
}

#[test]
fn column_names() {
    let messages = |lines: &str| file().columns(lines).messages();
    assert_eq!(messages("ID = { type = \"bool\" }"), ["`ID` and `id` are one column to readers that ignore case"]);
    assert_eq!(messages("_kafka_x = { type = \"bool\" }"), ["`_kafka_x` is a name that weir gives"]);
    assert_eq!(messages("_Kafka_x = { type = \"bool\" }"), ["`_Kafka_x` is a name that weir gives"]);
    assert_eq!(messages("_extra = { type = \"bool\" }"), ["`_extra` is a name that weir gives"]);
    assert_eq!(messages("_late_by_us = { type = \"bool\" }"), ["`_late_by_us` is a name that weir gives"]);
    assert_eq!(messages("\"\" = { type = \"bool\" }"), ["this can't be a column's name"]);
    let columns = file().columns("z = { type = \"bool\" }\na = { type = \"bool\" }").good().columns;
    assert_eq!(columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>(), ["id", "z", "a"]);
}

/// The mistakes' whole text, as a person sees it.
fn report(text: &str) -> String {
    parse(text).unwrap_err().plain_report()
}

#[test]
fn report_of_a_file_full_of_mistakes() {
    let text = r#"name = "air quality"
sources = 1

[source]
type = "kafka"
broker = "localhost:9092"
topics = "readings"
start = "earlist"
rows = 5
consumers = "${WORDS}"

[source.client]
"isolation.level" = "read_uncommitted"
"partition.assignment.strategy" = "range"
"sasl.pasword" = "${SECRET}"
"session.timeout.ms" = "${SECRET}"
"fetch.min.bytes" = -5
"group.id" = "${NOT_SET}"

[columns]
id = { type = "strng" }
flag = { type = "bool", min = 1 }
co = { type = "float64", requird = true, min = 5, max = 1 }
Id = "string"
at = { type = "timestamp", format = "%H:%M" }
pattern = { type = "string", pattern = "(" }

[window]
type = "session"
size = "1h"

[sink]
type = "parquet"
partition_by = ["id", "flg"]
compression = "zstd(99)"
roll = { bytes = "128", age = "1 year", window = 3 }
"#;
    insta::assert_snapshot!(report(text));
}

/// The mistakes of a pipeline whose `[window]` has these lines, beside a text column `id` and a timestamp column `at`.
#[track_caller]
fn refused_window(lines: &str, message: &str) {
    let file = File { window: lines.replace(';', "\n"), ..file().columns("at = { type = \"timestamp\" }\n") };
    assert_eq!(file.messages(), [message], "{lines}");
}

#[test]
fn windows_of_time() {
    let window = |lines: &str| {
        let file = File { window: lines.replace(';', "\n"), ..file().columns("at = { type = \"timestamp\" }\n") };
        let Window::Tumbling(tumbling) = file.good().window else { panic!("it is a window of time") };
        tumbling
    };
    let least = window(r#"type = "tumbling"; size = "1h"; time = "at""#);
    assert_eq!((least.size, least.out_of_order, least.idle, least.late), (3_600_000_000, 0, None, Late::Side));
    assert_eq!((least.time.column(), least.max_ahead), ("at", 3_600_000_000));
    let all = r#"type = "tumbling"; size = "7d"; time = "_kafka_timestamp"; time_zone = "Europe/Rome"; origin = 1970-01-05;
        out_of_order = "2m"; idle = "5s"; late = "drop""#;
    let all = window(all);
    assert_eq!(all.to_string(), "7d of _kafka_timestamp, Europe/Rome, from 1970-01-05T00:00:00");
    assert_eq!((all.out_of_order, all.idle, all.late), (120_000_000, Some(Duration::from_secs(5)), Late::Drop));
    assert_eq!(
        window(r#"type = "tumbling"; size = "1d"; time = "at"; origin = "1970-01-01T06:00:00""#).origin.hour(),
        6
    );
}

#[test]
fn mistakes_in_windows_of_time() {
    let good = r#"type = "tumbling"; size = "1h"; time = "at""#;
    let and = |more: &str, message: &str| refused_window(&format!("{good}; {more}"), message);
    refused_window(r#"type = "tumbling"; time = "at""#, "[window] lacks `size`");
    refused_window(r#"type = "tumbling"; size = "1h""#, "[window] lacks `time`");
    refused_window(r#"size = "1h"; time = "at""#, "[window] lacks `type`");
    refused_window("rows = 100", "[window] lacks `type`");
    refused_window(r#"type = "tumbling"; size = 3600; time = "at""#, "this must be a number with its unit, not 3600");
    refused_window(r#"type = "tumbling"; size = "0s"; time = "at""#, "this must be from 1ms to 366d, not \"0s\"");
    refused_window(r#"type = "tumbling"; size = "367d"; time = "at""#, "this must be from 1ms to 366d, not \"367d\"");
    refused_window(r#"type = "count"; rows = 1; size = "1h""#, "[window] has no key `size`");
    refused_window(
        r#"type = "tumbling"; size = "1h"; time = "id""#,
        "`id` is no timestamp, so it can't be the event time",
    );
    refused_window(r#"type = "tumbling"; size = "1h"; time = "att""#, "there is no column `att`");
    refused_window(r#"type = "hourly"; size = "1h""#, "this must be \"count\" or \"tumbling\", not \"hourly\"");
    and("rows = 5", "[window] has no key `rows`");
    and("late = \"aside\"", "this must be \"accept\", \"side\" or \"drop\", not \"aside\"");
    and("time_zone = \"Mars/Olympus\"", "there is no time zone \"Mars/Olympus\"");
    let no_origin = "this must be a date, or a date and time without a zone";
    for origin in [
        "\"1970-01-05T00:00:00Z\"",
        "\"1970-01-05T00:00:00+01:00\"",
        "\"1970-01-05T00:00:00[Europe/Rome]\"",
        "\"Monday\"",
    ] {
        and(&format!("origin = {origin}"), &format!("{no_origin}, not {origin}"));
    }
    and("origin = 06:00:00", &format!("{no_origin}, not the date or time 06:00:00"));
    let kafka = r#"type = "tumbling"; size = "1h"; time = "_kafka_timestamp"; max_ahead = "1h""#;
    refused_window(kafka, "`max_ahead` compares the event time with Kafka's timestamp, which is the event time here");
}

#[test]
fn folders_of_windows() {
    let tumbling = || File {
        window: "type = \"tumbling\"\nsize = \"1h\"\ntime = \"at\"".into(),
        ..file().columns("at = { type = \"timestamp\" }\n")
    };
    let keys = "partition_by = [\"window\"]\n";
    assert_eq!(tumbling().sink(keys).good().sink.partition_by, ["window"]);
    assert_eq!(file().sink(keys).messages(), ["there is no column `window`"]);
    let column = "Window = { type = \"string\", required = true }\n";
    assert_eq!(tumbling().columns(column).sink(keys).messages(), ["`window` is the window's own key and a column too"]);
}

#[test]
fn report_of_an_empty_file() {
    insta::assert_snapshot!(report(""));
}

#[test]
fn report_of_broken_toml() {
    insta::assert_snapshot!(report("name = air\n[source]\nbrokers = \"a\nrows = 1\nrows = 2\n"));
}

#[test]
fn a_report_is_short_however_many_mistakes_are_in_a_line() {
    let column = |number: usize| format!("\"é{number}\" = {{ type = \"flaot64\" }}");
    let columns: Vec<_> = (0..2000).map(column).collect();
    let text = format!("name = \"x\"\ncolumns = {{ {} }}\n", columns.join(", "));
    let broken = parse(&text).unwrap_err();
    assert_eq!(broken.mistakes.len(), 101);
    assert_eq!(broken.mistakes[100].message, "1903 mistakes like these are not told");
    let report = broken.plain_report();
    assert!(report.len() < 200_000, "{} bytes", report.len());
    assert!(report.contains("\"é0\" = {") && report.contains("did you mean \"float64\"?"), "{report}");
}

#[test]
fn report_of_a_file_that_is_not_there() {
    let broken = Pipeline::load(std::path::Path::new("no/such/file.toml")).unwrap_err();
    insta::assert_snapshot!(broken.plain_report());
}

#[test]
fn positions_count_characters() {
    let text = file().text().replace("[window]", "[window] # ü\n\"ü\" = 1");
    let broken = parse(&text.replace("\"ü\" = 1", "\"ü\".x = 1")).unwrap_err();
    assert_eq!(broken.position(&broken.mistakes[0]), Some((12, 1)));
    let broken = parse(&text.replace("\"ü\" = 1", "rows = \"ü\" x")).unwrap_err();
    assert_eq!(broken.position(&broken.mistakes[0]), Some((12, 12)));
}

proptest! {
    #[test]
    fn no_text_panics(text in "\\PC{0,200}") {
        let _ = parse(&text);
    }

    #[test]
    fn no_change_of_a_good_file_panics(cut in 0..SHIPPED.len(), length in 0..30_usize, put in "[\\[\\]{}=\"'$\\\\#.,a-z0-9é\n-]{0,8}") {
        let end = (cut + length).min(SHIPPED.len());
        let changed = [&SHIPPED.as_bytes()[..cut], put.as_bytes(), &SHIPPED.as_bytes()[end..]].concat();
        if let Err(broken) = parse(&String::from_utf8_lossy(&changed)) {
            prop_assert!(!broken.mistakes.is_empty());
            let _ = broken.plain_report();
        }
    }
}

/// A file with mistakes as newcomers make them, and all that `weir check` says of it.
fn said(change: impl FnOnce(String) -> String) -> String {
    let good = "name = \"m\"\n[source]\ntype = \"kafka\"\nbrokers = \"localhost:9092\"\ntopics = [\"iot-temp\"]\nformat = \"json\"\n\
                [columns]\ndevice = { type = \"string\", required = true }\n\
                ts = { type = \"timestamp\", format = \"unix_ms\", required = true }\n\
                temp = { type = \"float64\", from = \"temp_c\" }\n\
                [window]\ntype = \"tumbling\"\nsize = \"1h\"\ntime = \"ts\"\n\
                [sink]\ntype = \"parquet\"\npartition_by = [\"window\"]\n";
    assert!(parse(good).is_ok());
    report(&change(good.to_owned()))
}

#[test]
fn a_bad_type_hides_no_other_mistake() {
    insta::assert_snapshot!(said(|good| {
        let bad = good.replace("\"float64\"", "\"double\"").replace("[\"window\"]", "[\"ts\", \"nope\"]");
        bad.replace("from = \"temp_c\"", "pattern = \"(\", required = 1")
    }));
}

#[test]
fn a_bad_format_hides_no_other_mistake() {
    insta::assert_snapshot!(said(|good| {
        let bad = good.replace("unix_ms", "epoch").replace("time = \"ts\"", "time = \"tss\"");
        bad.replace("[\"window\"]", "[\"ts\", \"nope\"]")
    }));
}

#[test]
fn an_option_that_does_not_fit_hides_no_other_mistake() {
    insta::assert_snapshot!(said(
        |good| good.replace("from = \"temp_c\"", "pattern = \"a\", min = 2, max = 1, missing = []")
    ));
}

#[test]
fn words_from_elsewhere() {
    insta::assert_snapshot!(said(|good| {
        let bad = good.replace("\"float64\"", "\"list<float64>\"").replace("unix_ms", "epoch_ms");
        let bad = bad.replace("format = \"json\"", "format = \"avro\"").replace("[\"iot-temp\"]", "\"iot-temp\"");
        bad.replace("time = \"ts\"", "time = \"timestamp\"") + "roll = \"5m\"\n"
    }));
}

#[test]
fn a_brace_that_is_not_closed_is_one_mistake() {
    insta::assert_snapshot!(
        said(|good| good.replace("\"unix_ms\", required = true }", "\"unix_ms\", required = true"))
    );
}

#[test]
fn paths_that_are_no_folder() {
    for (path, help) in [
        ("s3://bucket/x", "write a folder's path, such as \"/data/lake\", and copy the files from there"),
        ("gs://b", "write a folder's path, such as \"/data/lake\", and copy the files from there"),
        ("file:///data/lake", "write \"/data/lake\""),
    ] {
        let broken = parse(&file().sink(&format!("path = \"{path}\"")).text()).unwrap_err();
        assert_eq!(broken.mistakes.len(), 1, "{path}");
        assert_eq!(broken.mistakes[0].help.as_deref(), Some(help));
        assert_eq!(broken.position(&broken.mistakes[0]), Some((17, 8)), "{path}");
    }
    for path in ["/data/lake", "out", "a:b", "x/://y", "../s3"] {
        assert_eq!(file().sink(&format!("path = \"{path}\"")).good().sink.path.to_str(), Some(path));
    }
}

#[test]
fn addresses_of_brokers() {
    let with = |brokers: &str| file().text().replace("localhost:9092", brokers);
    for good in
        ["a:1", "a:1, b:65535", "[::1]:9092", "10.0.0.1:9092", "kafka.example.com:9092,b:9092", "my_host-1:9092"]
    {
        assert_eq!(parse(&with(good)).unwrap().source.brokers, good);
    }
    for (bad, message, help) in [
        (
            "http://localhost:9092",
            "\"http://localhost:9092\" is a URL, but a broker's address is host:port",
            "write \"localhost:9092\"",
        ),
        (
            "SASL_SSL://a:9092/",
            "\"SASL_SSL://a:9092/\" is a URL, but a broker's address is host:port",
            "write \"a:9092\", and \"security.protocol\" = \"SASL_SSL\" in [source.client]",
        ),
        ("localhost", "\"localhost\" has no port", "write \"localhost:9092\", or the port that the broker has"),
        ("[::1]", "\"[::1]\" has no port", "write \"[::1]:9092\", or the port that the broker has"),
        ("a:0", "\"a:0\" has no valid port", "write a port from 1 to 65535, such as \"a:9092\""),
        ("a:65536", "\"a:65536\" has no valid port", "write a port from 1 to 65535, such as \"a:9092\""),
        ("a:kafka", "\"a:kafka\" has no valid port", "write a port from 1 to 65535, such as \"a:9092\""),
        (
            "a:1,,b:2",
            "\"\" is no broker's address",
            "write host:port, several separated by commas: \"kafka-1:9092,kafka-2:9092\"",
        ),
        (
            "a:1 b:2",
            "\"a:1 b:2\" is no broker's address",
            "write host:port, several separated by commas: \"kafka-1:9092,kafka-2:9092\"",
        ),
        (
            "::1:9092",
            "\"::1:9092\" is no broker's address",
            "write host:port, several separated by commas: \"kafka-1:9092,kafka-2:9092\"",
        ),
        (
            ":9092",
            "\":9092\" is no broker's address",
            "write host:port, several separated by commas: \"kafka-1:9092,kafka-2:9092\"",
        ),
    ] {
        let broken = parse(&with(bad)).unwrap_err();
        let found: Vec<_> =
            broken.mistakes.iter().map(|mistake| (&*mistake.message, mistake.help.as_deref())).collect();
        assert_eq!(found, [(message, Some(help))], "{bad}");
    }
    assert_eq!(parse(&with("a,http://b:1,c:0")).unwrap_err().mistakes.len(), 3);
}

#[test]
fn instants_and_days_in_options_are_strict() {
    for bad in ["24-01-01", "2-2-1", "2024-02-30"] {
        refused(&format!("type = \"date\", min = \"{bad}\""), &format!("this must be a date, not {bad:?}"));
    }
    for bad in ["2016-12-31T23:59:60Z", "24-01-01T00:00:00Z", "2024-01-01T00:00:00"] {
        let message = format!("this must be a timestamp with its offset (RFC 3339), not {bad:?}");
        refused(&format!("type = \"timestamp\", min = \"{bad}\""), &message);
        assert_eq!(file().source(&format!("start = \"{bad}\"")).messages(), [message]);
    }
    refused("type = \"timestamp\", time_zone = \"+25:00\"", "\"+25:00\" is no offset from UTC");
    assert_eq!(column("type = \"date\", min = 2024-01-01").min, Some(Value::Days(19_723)));
}
