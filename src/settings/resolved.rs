//! A definition as it was understood, as a pipeline file without variables: what a record is judged
//! by, years later.
//!
//! What no record depends on is left out: the connection, and how files are written. Secrets may
//! stand there. A default that isn't written is part of weir's behaviour, which has a version of
//! its own. A value `"${X}"` may be read as a number or as text, so a number that came from a
//! variable is written as the default of one that nobody sets, which may be either, too.

use std::fmt::Write as _;

use super::tree::{Entry, Node, Toml};

/// Keys of [source] and [sink] that decide what becomes of a record. All other sections do.
const DECIDES: [(&str, &[&str]); 2] = [("source", &["type", "topics", "format"]), ("sink", &["type", "partition_by"])];

/// A pipeline file must have one. This is nobody's.
const BROKERS: &str = "brokers = \"left-out:9092\"";

/// The text of a pipeline file that has no mistakes.
pub(super) fn resolved(root: &Node) -> String {
    let Toml::Table(entries) = &root.toml else { return String::new() };
    let (mut text, mut sections) = (String::new(), String::new());
    for Entry { key: name, node, .. } in entries {
        let decides = DECIDES.iter().find(|(section, _)| section == name).map(|(_, keys)| *keys);
        match &node.toml {
            Toml::Table(keys) => {
                line(&mut sections, &format!("\n[{}]", key(name)));
                for Entry { key: inner, node, .. } in keys {
                    if decides.is_none_or(|keys| keys.contains(&inner.as_str())) {
                        line(&mut sections, &format!("{} = {}", key(inner), value(node)));
                    }
                }
                if name == "source" {
                    line(&mut sections, BROKERS);
                }
            }
            _ => line(&mut text, &format!("{} = {}", key(name), value(node))),
        }
    }
    text + &sections
}

fn line(text: &mut String, line: &str) {
    writeln!(text, "{line}").expect("writing to a String does not fail");
}

fn key(name: &str) -> String {
    let plain = |character: char| character.is_ascii_alphanumeric() || character == '_' || character == '-';
    if !name.is_empty() && name.chars().all(plain) { name.to_owned() } else { quoted(name) }
}

fn value(node: &Node) -> String {
    let all = |nodes: &[Node]| nodes.iter().map(value).collect::<Vec<_>>().join(", ");
    match &node.toml {
        Toml::Text(filled) if filled.whole && is_number(&filled.text) => {
            quoted(&format!("${{WEIR_RESOLVED_VALUE:-{}}}", filled.text))
        }
        Toml::Text(filled) => quoted(&filled.text.replace('$', "$$")),
        Toml::Int(number) => number.to_string(),
        Toml::Float(number) if number.is_nan() => "nan".to_owned(),
        // As short as it can be, and with a point or an exponent.
        Toml::Float(number) => format!("{number:?}"),
        Toml::Bool(flag) => flag.to_string(),
        Toml::Datetime(text) => text.clone(),
        Toml::Array(items) => format!("[{}]", all(items)),
        Toml::Table(entries) => {
            let entry = |entry: &Entry| format!("{} = {}", key(&entry.key), value(&entry.node));
            format!("{{ {} }}", entries.iter().map(entry).collect::<Vec<_>>().join(", "))
        }
        Toml::Nothing => unreachable!("its mistake is noted, and what has mistakes is not resolved"),
    }
}

fn is_number(text: &str) -> bool {
    text.parse::<f64>().is_ok() && !text.contains('}')
}

/// Text between quotes, as JSON writes it. TOML wants one more character escaped.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string().replace('\u{7f}', "\\u007F")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use crate::model::Pipeline;

    fn parse(text: &str, environment: &dyn Fn(&str) -> Option<String>) -> Pipeline {
        Pipeline::parse("p.toml", text, environment).unwrap_or_else(|broken| panic!("{}", broken.plain_report()))
    }

    /// All that a record's class and values depend on.
    fn decides(pipeline: &Pipeline) -> String {
        let Pipeline { name, columns, validate, window, sink, source, .. } = pipeline;
        let (topics, format, partition_by) = (&source.topics, source.format, &sink.partition_by);
        format!("{name} {columns:#?} {validate:?} {window:?} {partition_by:?} {topics:?} {format:?}")
    }

    #[test]
    fn what_was_resolved_judges_as_the_definition_did() {
        let files = std::fs::read_dir("pipelines").unwrap().map(|file| file.unwrap().path());
        let files = files.filter(|file| file.extension().is_some_and(|kind| kind == "toml"));
        let mut seen = 0;
        for file in files {
            let pipeline = parse(&std::fs::read_to_string(file).unwrap(), &|_| None);
            let again = parse(&pipeline.resolved, &|_| None);
            assert_eq!(decides(&pipeline), decides(&again));
            assert_eq!(pipeline.resolved, again.resolved);
            seen += 1;
        }
        assert!(seen > 1, "{seen} pipelines are shipped");
    }

    #[test]
    fn variables_are_filled_in_and_secrets_are_left_out() {
        let text = r#"
name = "a"
[source]
type = "kafka"
brokers = "${HOST}:9092"
topics = ["t", "${TOPIC}"]
format = "json"
[source.client]
"sasl.password" = "${PASSWORD}"
"client.id" = "me"
[columns]
co = { type = "uint64", min = "${MIN}", max = 18446744073709551615, missing = [0] }
f = { type = "float64", default = 1e300, min = -0.5 }
"a b" = { type = "string", one_of = ["${MIN}", "x$${y}", "é\u007f\"\n"] }
b = { type = "string", required = true, pattern = '^\d+$' }
on = { type = "date", default = 2004-03-10 }
[window]
type = "count"
rows = "${ROWS:-7}"
[sink]
type = "parquet"
path = "${OUT}"
roll = { windows = 2, age = "5s" }
partition_by = ["${KEY}"]
"#;
        let environment = |name: &str| {
            let values = [
                ("HOST", "kafka"),
                ("TOPIC", "u"),
                ("PASSWORD", "hunter2"),
                ("MIN", "3"),
                ("OUT", "o}$x"),
                ("KEY", "b"),
            ];
            values.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        let pipeline = parse(text, &environment);
        insta::assert_snapshot!(pipeline.resolved, @r#"
        name = "a"

        [source]
        type = "kafka"
        topics = ["t", "u"]
        format = "json"
        brokers = "left-out:9092"

        [columns]
        co = { type = "uint64", min = "${WEIR_RESOLVED_VALUE:-3}", max = 18446744073709551615, missing = [0] }
        f = { type = "float64", default = 1e300, min = -0.5 }
        "a b" = { type = "string", one_of = ["${WEIR_RESOLVED_VALUE:-3}", "x$${y}", "é\u007F\"\n"] }
        b = { type = "string", required = true, pattern = "^\\d+$$" }
        on = { type = "date", default = 2004-03-10 }

        [window]
        type = "count"
        rows = "${WEIR_RESOLVED_VALUE:-7}"

        [sink]
        type = "parquet"
        partition_by = ["b"]
        "#);
        assert_eq!(decides(&pipeline), decides(&parse(&pipeline.resolved, &|_| None)));
        for other in [text.replace("${HOST}", "another"), text.replace("\"me\"", "\"you\""), text.replace("5s", "6s")] {
            assert_eq!(pipeline.resolved_hash, parse(&other, &environment).resolved_hash);
        }
        assert_ne!(pipeline.resolved_hash, parse(&text.replace("1e300", "2e300"), &environment).resolved_hash);
    }
}
