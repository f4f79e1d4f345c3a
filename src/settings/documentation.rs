//! The documentation, the editors' schema and the parser know the same keys, with the same defaults.

use std::collections::BTreeMap;

use serde_json::Value as Json;
use toml::{Table, Value as Toml};

use super::{client, keys};
use crate::model::Pipeline;

const PAGE: &str = include_str!("../../docs/pipeline.md");
const SCHEMA: &str = include_str!("../../pipelines/pipeline.schema.json");

/// The shortest pipeline file.
const MINIMAL: &str = r#"
name = "p"
source = { type = "kafka", brokers = "localhost:9092", topics = ["t"], format = "json" }
columns.id = { type = "string" }
window = { type = "count", rows = 100 }
sink = { type = "parquet" }
"#;

/// The same with windows of time.
const TUMBLING: &str = r#"
name = "p"
source = { type = "kafka", brokers = "localhost:9092", topics = ["t"], format = "json" }
columns.id = { type = "string" }
columns.at = { type = "timestamp" }
window = { type = "tumbling", size = "1h", time = "at" }
sink = { type = "parquet" }
"#;

/// Documented defaults by section and key: what stands between backticks is TOML, all else is words.
fn documented() -> BTreeMap<(&'static str, &'static str), &'static str> {
    let mut section = "";
    let mut found = BTreeMap::new();
    for line in PAGE.lines() {
        if let Some(heading) = line.trim_start_matches('#').strip_prefix(' ').filter(|_| line.starts_with('#')) {
            section = match heading {
                "The file" => "",
                "Options" => "columns",
                "`type = \"count\"`" => "window.count",
                "`type = \"tumbling\"`" => "window.tumbling",
                _ => heading.trim_matches(['`', '[', ']']),
            };
        } else if let Some((key, rest)) = line.strip_prefix("| `").and_then(|row| row.split_once("` | ")) {
            let default = rest.split(" | ").next().unwrap();
            assert!(found.insert((section, key), default).is_none(), "{key} of {section:?} is documented twice");
        }
    }
    found
}

/// Every key that the parser knows, by section.
fn known() -> Vec<(&'static str, Vec<&'static str>)> {
    let sections = keys::SECTIONS.iter().map(|(path, keys)| (*path, keys.to_vec()));
    let columns = ("columns", keys::COLUMN.iter().map(|(key, _)| *key).collect());
    sections.chain([columns]).collect()
}

fn parse(table: &Table) -> Result<Pipeline, String> {
    let text = toml::to_string(table).unwrap();
    Pipeline::parse("p.toml", &text, &|name| (name != "KAFKA_BROKERS").then(|| "x".into()))
        .map_err(|broken| format!("{text}\n{}", broken.plain_report()))
}

/// All that a pipeline says, but for its own text.
fn meaning(table: &Table) -> String {
    let Pipeline { name, source, columns, validate, window, sink, .. } = parse(table).unwrap();
    format!("{name} {source:?} {columns:?} {validate:?} {window:?} {sink:?}")
}

/// The table at a dotted path.
fn at<'a>(table: &'a mut Table, path: &str) -> &'a mut Table {
    path.split('.')
        .filter(|step| !step.is_empty())
        .fold(table, |table, step| table.entry(step).or_insert_with(|| Table::new().into()).as_table_mut().unwrap())
}

fn merge(into: &mut Table, from: Table) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(Toml::Table(into)), Toml::Table(from)) => merge(into, from),
            (_, value) => drop(into.insert(key, value)),
        }
    }
}

#[test]
fn the_page_has_every_key() {
    let documented: Vec<_> = documented().into_keys().collect();
    let mut known: Vec<_> =
        known().into_iter().flat_map(|(path, keys)| keys.into_iter().map(move |key| (path, key))).collect();
    known.sort_unstable();
    assert_eq!(documented, known);
}

#[test]
fn the_page_has_every_refused_property() {
    for name in client::owned() {
        assert!(PAGE.contains(&format!("`{name}`")), "{name}");
    }
}

#[test]
fn the_pages_defaults_are_the_parsers() {
    for ((section, key), default) in documented() {
        let minimal = if section == "window.tumbling" { TUMBLING } else { MINIMAL };
        let mut changed: Table = minimal.parse().unwrap();
        let column = section == "columns";
        let path = if column { "columns.id" } else { keys::title(section) };
        if let Some(literal) = default.strip_prefix('`') {
            let literal = literal.trim_end_matches('`').replace("<name>", "p");
            let line: Table = format!("{key} = {literal}").parse().unwrap();
            // An option is tried on a type that it fits.
            let fits = keys::COLUMN.iter().find(|(option, _)| column && *option == key).map_or(127, |(_, fits)| *fits);
            let kind = keys::TYPES.iter().find(|(_, family)| fits & family != 0).unwrap().0;
            at(&mut changed, "columns.id").insert("type".into(), kind.into());
            if kind == "timestamp" {
                at(&mut changed, "columns.id").insert("time_zone".into(), "Europe/Rome".into());
            }
            let without = meaning(&changed);
            at(&mut changed, path).extend(line);
            assert_eq!(meaning(&changed), without, "the default of {key} in [{section}]");
        } else {
            let removed = at(&mut changed, path).remove(key).is_some();
            assert_eq!(removed, default == "required", "{key} in [{section}]");
            assert_eq!(parse(&changed).is_err(), removed, "{key} in [{section}]");
        }
    }
}

#[test]
fn the_pages_examples_parse() {
    let examples = PAGE.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let mut count = 0;
    for example in examples {
        let mut table: Table = MINIMAL.parse().unwrap();
        let example: Table = example.parse().unwrap();
        if example.contains_key("window") {
            table.remove("window");
        }
        merge(&mut table, example);
        parse(&table).unwrap();
        count += 1;
    }
    assert_eq!(count, 5);
}

/// The schema of a section.
fn schema_of<'a>(schema: &'a Json, section: &str) -> &'a Json {
    if section == "columns" {
        return &schema["properties"]["columns"]["additionalProperties"];
    }
    let types = ["window.count", "window.tumbling"];
    if let Some(at) = types.iter().position(|path| *path == section) {
        return &schema["properties"]["window"]["oneOf"][at];
    }
    section.split('.').filter(|step| !step.is_empty()).fold(schema, |schema, step| &schema["properties"][step])
}

#[test]
fn the_schema_has_every_key_and_default() {
    let schema: Json = serde_json::from_str(SCHEMA).unwrap();
    let documented = documented();
    for (section, keys) in known() {
        let part = schema_of(&schema, section);
        let properties = part["properties"].as_object().unwrap();
        assert_eq!(properties.keys().collect::<Vec<_>>(), keys, "[{section}]");
        assert_eq!(part["additionalProperties"], false, "[{section}]");
        let required: Vec<_> = keys.iter().copied().filter(|key| documented[&(section, *key)] == "required").collect();
        let listed = part["required"].as_array().cloned().unwrap_or_default();
        assert_eq!(listed, required, "[{section}]");
        for (key, property) in properties {
            let default = documented[&(section, key.as_str())].strip_prefix('`');
            let default =
                default.map(|literal| format!("v = {}", literal.trim_end_matches('`')).parse::<Table>().unwrap());
            let default = default.map(|mut table| serde_json::to_value(table.remove("v")).unwrap());
            assert_eq!(property.get("default"), default.as_ref(), "{key} in [{section}]");
            assert!(property["description"].is_string(), "{key} in [{section}]");
        }
    }
    let types: Vec<_> = keys::TYPES.iter().map(|(name, _)| *name).collect();
    let column = schema_of(&schema, "columns");
    assert_eq!(column["properties"]["type"]["anyOf"][0]["enum"], serde_json::json!(types));
}
