//! Any text as a pipeline file: it is refused with places that lie in it, or means the same
//! whenever it is read.

use std::fmt::Write as _;

use miette::Diagnostic as _;
use weir::model::Pipeline;
use weir::model::pipeline::{ColumnType, TimeEncoding};
use weir::model::{Partition, Range, RawRecords};
use weir::settings::Broken;
use weir::validate::Checker;
use weir::window::resume;

/// What no report may show: the value of a password.
const SECRET: &str = "hunter2";

/// Files that a text makes worse, all with a password that is whole.
const HEADS: &[&str] = &[
    "source.client.\"sasl.password\" = \"hunter2\"\n",
    "source.client = { \"sasl.password\" = \"hunter2\" }\n",
    "[source.client]\n\"sasl.password\" = \"hunter2\n",
    "[source.client]\n\"sasl.password\" = \"hunter2\"\n",
    "[source.client]\n\"ssl.key.password\" = 'hunter2' # why\n",
    "[source.client]\n'ssl.key.pem' = \"\"\"\n-----\nhunter2\"\"\"\n",
];

pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match parse(text) {
        Ok(pipeline) => accepted(&pipeline, text),
        Err(broken) => {
            let report = refused(&broken, text);
            if has_a_secret(text) {
                assert!(!report.contains(SECRET), "a password is shown:\n{report}");
            }
        }
    }
    if text.contains(SECRET) {
        return;
    }
    for head in HEADS {
        let text = format!("{head}{text}");
        if let Err(broken) = parse(&text) {
            let report = refused(&broken, &text);
            assert!(!report.contains(SECRET), "a password is shown:\n{report}");
        }
    }
}

fn parse(text: &str) -> Result<Pipeline, Broken> {
    Pipeline::parse("fuzz.toml", text, &|name| match name {
        "HOST" => Some("kafka:9092".to_owned()),
        "NUMBER" => Some("7".to_owned()),
        "EMPTY" => Some(String::new()),
        _ => None,
    })
}

/// Every mistake has words, and a place in the text; answers with the report.
fn refused(broken: &Broken, text: &str) -> String {
    assert!(!broken.mistakes.is_empty(), "a refusal without a reason");
    for mistake in &broken.mistakes {
        assert!(!mistake.message.is_empty(), "a mistake without words");
        let mut labels = mistake.labels().into_iter().flatten().peekable();
        assert_eq!(labels.peek().is_some(), broken.position(mistake).is_some(), "{}", mistake.message);
        for label in labels {
            let place = label.offset()..label.offset() + label.len();
            assert!(text.get(place.clone()).is_some(), "{place:?} is no place in the text: {}", mistake.message);
        }
    }
    let report = broken.plain_report();
    // A value is told once, each of its characters as an escape of at the most ten bytes.
    let most = 4096 * broken.mistakes.len() + 16 * text.len();
    assert!(report.len() <= most, "a report of {} bytes for a file of {}", report.len(), text.len());
    report
}

/// Whether the secret stands in the text once, as the value of a client's password.
fn has_a_secret(text: &str) -> bool {
    let Ok(toml::Value::Table(root)) = toml::from_str(text) else { return false };
    let client = root.get("source").and_then(|source| source.get("client")?.as_table());
    let secret = |(key, value): (&String, &toml::Value)| {
        key.to_lowercase().contains("password") && value.as_str().is_some_and(|value| value.contains(SECRET))
    };
    text.matches(SECRET).count() == 1 && client.is_some_and(|client| client.iter().any(secret))
}

/// A second reading finds the same, and the stages take what it says.
fn accepted(pipeline: &Pipeline, text: &str) {
    assert_eq!(pipeline.text, text);
    let again = parse(&pipeline.text).expect("it was accepted before");
    assert_eq!(format!("{again:?}"), format!("{pipeline:?}"));

    let partition = Partition { topic: "t".into(), partition: 0 };
    let mut records = RawRecords::default();
    let payload = record(pipeline);
    for (offset, value) in
        [Some(payload.as_bytes()), Some(b"{}"), None, Some(b"["), Some(payload.as_bytes())].into_iter().enumerate()
    {
        records.push(offset as i64, Some(1_700_000_000_000), None, value);
    }
    let checked = Checker::new(pipeline).check(&partition, &records);
    assert_eq!(checked.rows.num_rows() + checked.rejects.num_rows() + checked.tombstones.len(), 5);
    let parts = resume(&pipeline.window, None).assign(Range { from: 0, to: 5 }, checked);
    assert_eq!(parts.iter().map(|part| part.counts.total()).sum::<u64>(), 5);
}

/// A record with a value for each column that is read from a field of the record itself.
fn record(pipeline: &Pipeline) -> String {
    let mut members = String::new();
    for column in pipeline.columns.iter().filter(|column| column.from.len() == 1) {
        let value = match &column.kind {
            ColumnType::String => "\"IT-01\"",
            ColumnType::Bool => "true",
            ColumnType::Date(_) => "\"2024-02-29\"",
            ColumnType::Timestamp(format) => match format.encoding {
                TimeEncoding::Rfc3339 | TimeEncoding::Strptime(_) if format.zone.is_some() => "\"2024-02-29T12:00:00\"",
                TimeEncoding::Rfc3339 | TimeEncoding::Strptime(_) => "\"2024-02-29T12:00:00Z\"",
                _ => "1709208000",
            },
            _ => "1",
        };
        let name = serde_json::Value::from(&*column.from[0]);
        write!(members, "{name}:{value},").expect("writing to a String does not fail");
    }
    format!("{{{}}}", members.trim_end_matches(','))
}
