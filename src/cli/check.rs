//! `weir check FILE…`: what weir makes of pipeline files, without connecting to anything.
//!
//! A dataset that is there already must fit the file, or the file is not ok.
//! A good file's summary goes to stdout, mistakes and warnings go to stderr; with `--format json` all of it goes to
//! stdout, one object a file and line. Whether brokers answer and topics exist is not looked at.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::OutputFormat;
use crate::base::words::chain;
use crate::engine::identity;
use crate::ledger::LedgerError;
use crate::model::names::hive;
use crate::model::pipeline::{Column, ColumnType, Pipeline, Value};
use crate::settings::{Broken, Mistake};

/// Checks pipeline files: every mistake with its line and what to write instead.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// Pipeline files (TOML).
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// How to write what was found.
    #[arg(long, value_enum, default_value_t = OutputFormat::Text)]
    format: OutputFormat,
}

/// Checks the files; 1 when one of them has a mistake.
pub(crate) fn check(arguments: &CheckArgs) -> ExitCode {
    match check_all(arguments, &mut io::stdout().lock(), &mut io::stderr().lock()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(_) => ExitCode::from(3),
    }
}

/// Whether all files are good.
fn check_all(arguments: &CheckArgs, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<bool> {
    let mut all_good = true;
    for file in &arguments.files {
        let (checked, more) = match Pipeline::load(file) {
            Ok(pipeline) => match against_its_dataset(&pipeline) {
                (None, more) => (Ok(pipeline), more),
                (Some((message, help)), _) => (Err(Broken::of_file(file, message, help)), Vec::new()),
            },
            Err(broken) => (Err(broken), Vec::new()),
        };
        all_good &= checked.is_ok();
        match (arguments.format, checked) {
            (OutputFormat::Text, Ok(pipeline)) => {
                write_summary(file, &pipeline, out)?;
                for warning in warnings(&pipeline).iter().chain(&more) {
                    writeln!(err, "warning: {}: {warning}", file.display())?;
                }
            }
            (OutputFormat::Text, Err(broken)) => write!(err, "{}", broken.report())?,
            (OutputFormat::Json, Ok(pipeline)) => writeln!(out, "{}", good_json(file, &pipeline, &more))?,
            (OutputFormat::Json, Err(broken)) => writeln!(out, "{}", broken_json(file, &broken))?,
        }
    }
    Ok(all_good)
}

fn write_summary(file: &Path, pipeline: &Pipeline, out: &mut dyn Write) -> io::Result<()> {
    let widest = pipeline.columns.iter().map(|column| column.name.chars().count()).max().unwrap_or_default();
    writeln!(out, "ok {}", file.display())?;
    writeln!(out, "  pipeline  {}", pipeline.name)?;
    writeln!(out, "  topics    {}", pipeline.source.topics.join(", "))?;
    writeln!(out, "  brokers   {}", pipeline.source.brokers)?;
    writeln!(out, "  group     {}", pipeline.source.group)?;
    writeln!(out, "  window    {}", pipeline.window.kind().summary())?;
    writeln!(out, "  dataset   {}", dataset(pipeline).display())?;
    if !pipeline.sink.partition_by.is_empty() {
        writeln!(out, "  keys      {}", pipeline.sink.partition_by.join(", "))?;
    }
    for (index, column) in pipeline.columns.iter().enumerate() {
        let title = if index == 0 { "columns" } else { "" };
        let required = if column.required { "  required" } else { "" };
        writeln!(out, "  {title:<8}  {:<widest$}  {}{required}", column.name, type_name(&column.kind))?;
    }
    Ok(())
}

fn good_json(file: &Path, pipeline: &Pipeline, more: &[String]) -> serde_json::Value {
    let columns: Vec<_> = pipeline
        .columns
        .iter()
        .map(|column| json!({"name": column.name, "type": type_name(&column.kind), "required": column.required}))
        .collect();
    json!({
        "file": file.display().to_string(),
        "ok": true,
        "name": pipeline.name,
        "brokers": pipeline.source.brokers,
        "topics": pipeline.source.topics,
        "group": pipeline.source.group,
        "window": pipeline.window.kind().summary(),
        "dataset": dataset(pipeline).display().to_string(),
        "partition_by": pipeline.sink.partition_by,
        "columns": columns,
        "hash": pipeline.hash,
        "warnings": warnings(pipeline).iter().chain(more).collect::<Vec<_>>(),
    })
}

fn broken_json(file: &Path, broken: &Broken) -> serde_json::Value {
    let mistake = |mistake: &Mistake| {
        let (line, column) = broken.position(mistake).unzip();
        json!({"line": line, "column": column, "message": mistake.message, "help": mistake.help})
    };
    let mistakes: Vec<_> = broken.mistakes.iter().map(mistake).collect();
    json!({"file": file.display().to_string(), "ok": false, "mistakes": mistakes})
}

/// The dataset's folder in full. A working directory that is gone leaves the path as written.
fn dataset(pipeline: &Pipeline) -> PathBuf {
    let path = pipeline.folder();
    std::path::absolute(&path).unwrap_or(path)
}

fn type_name(kind: &ColumnType) -> String {
    match kind {
        ColumnType::String => "string".to_owned(),
        ColumnType::Bool => "bool".to_owned(),
        ColumnType::Int(bits) => format!("int{bits}"),
        ColumnType::Uint(bits) => format!("uint{bits}"),
        ColumnType::Float(bits) => format!("float{bits}"),
        ColumnType::Timestamp(_) => "timestamp".to_owned(),
        ColumnType::Date(_) => "date".to_owned(),
        ColumnType::Json => "json".to_owned(),
    }
}

/// What works, but not as one might think.
pub(crate) fn warnings(pipeline: &Pipeline) -> Vec<String> {
    let is_key = |column: &&Column| pipeline.sink.partition_by.contains(&column.name);
    let keys: Vec<&Column> = pipeline.columns.iter().filter(is_key).collect();
    let number_like = keys.iter().copied().filter_map(number_like_key);
    let without_a_folder = keys.iter().copied().filter_map(key_without_a_folder);
    pipeline.columns.iter().filter_map(path_like_name).chain(number_like).chain(without_a_folder).collect()
}

/// A field's name that looks like a path in another notation: only a JSON pointer leads into nested values.
fn path_like_name(column: &Column) -> Option<String> {
    let [name] = &*column.from else { return None };
    let steps: Vec<&str> =
        name.strip_prefix("$.").unwrap_or(name).split(['.', '[', ']']).filter(|step| !step.is_empty()).collect();
    let plain = |step: &&str| step.chars().all(|letter| letter.is_alphanumeric() || letter == '_' || letter == '-');
    if steps.len() < 2 || !steps.iter().all(plain) {
        return None;
    }
    let pointer = steps.join("/");
    Some(format!(
        "the column `{}` reads a top-level field that is called {name:?}, dots and all; a nested field is written as \
         from = \"/{pointer}\". A record without the field has no value here",
        column.name
    ))
}

/// What a dataset that is there has to do with a pipeline: a mistake if it can't go on with it, and warnings.
fn against_its_dataset(pipeline: &Pipeline) -> (Option<(String, String)>, Vec<String>) {
    match identity::fits_its_dataset(pipeline) {
        Ok(topics) => {
            let gone = topics.into_iter().filter(|topic| !pipeline.source.topics.contains(topic));
            let warning =
                |topic| format!("the dataset holds records of the topic `{topic}`, which this file doesn't read");
            (None, gone.map(warning).collect())
        }
        Err(LedgerError::OtherDataset { folder, differences }) => {
            let message = format!("the dataset {} was made differently: {}", folder.display(), differences.join("; "));
            let help = "give the pipeline another name (a new dataset), or move the old dataset's folder away, or put the old \
                        definition back: its ledger/pipelines/ holds every one that wrote there";
            (Some((message, help.to_owned())), Vec::new())
        }
        Err(error) => (
            Some((format!("its dataset can't be read: {}", chain(&error)), "look at it with `weir verify`".to_owned())),
            Vec::new(),
        ),
    }
}

/// A key's values name folders, and a folder's name has an end.
fn key_without_a_folder(column: &Column) -> Option<String> {
    let room = hive::room(&column.name);
    let without = |value: &&Value| matches!(value, Value::Text(text) if !hive::is_value(text, room));
    let what = match (column.one_of.iter().find(without), column.max_length) {
        (Some(Value::Text(text)), _) => {
            format!("{:?}, which can't name a folder", text.chars().take(60).collect::<String>())
        }
        (_, Some(length)) if length > room => {
            format!("{length} characters long, and a folder's name has room for {room}")
        }
        _ => return None,
    };
    Some(format!("the key `{}` may be {what}; records with such a value are rejected (rule folder_name)", column.name))
}

/// Readers guess a hive key's type from its folders' names.
fn number_like_key(column: &Column) -> Option<String> {
    let number_like = |value: &&Value| matches!(value, Value::Text(text) if text.parse::<f64>().is_ok());
    let Some(Value::Text(text)) = column.one_of.iter().chain(&column.default).find(number_like) else {
        return None;
    };
    Some(format!(
        "the key `{}` may be \"{text}\", which readers of the dataset turn into a number; \
         put a letter before it, or tell each reader that this key is text",
        column.name
    ))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn run(text: &str, format: OutputFormat) -> (bool, String, String) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("p.toml");
        std::fs::write(&file, text).unwrap();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let arguments = CheckArgs { files: vec![file], format };
        let good = check_all(&arguments, &mut out, &mut err).unwrap();
        let here = std::env::current_dir().unwrap().display().to_string();
        let mask = |text: Vec<u8>| {
            let text = String::from_utf8(text).unwrap();
            text.replace(&folder.path().display().to_string(), "").replace(&here, "/here")
        };
        (good, mask(out), mask(err))
    }

    const GOOD: &str = r#"
name = "p"
source = { type = "kafka", brokers = "a:1", topics = ["t", "u"], format = "json" }
columns.zone = { type = "string", required = true, one_of = ["a", "007"] }
columns.value = { type = "float32" }
window = { type = "count", rows = 7 }
sink = { type = "parquet", path = "out", partition_by = ["zone"] }
"#;

    #[test]
    fn a_good_file_is_summed_up() {
        let (good, out, err) = run(GOOD, OutputFormat::Text);
        assert!(good);
        insta::assert_snapshot!(out, @r"
        ok /p.toml
          pipeline  p
          topics    t, u
          brokers   a:1
          group     weir-p
          window    every 7 rows of a partition
          dataset   /here/out/p
          keys      zone
          columns   zone   string  required
                    value  float32
        ");
        insta::assert_snapshot!(err, @r#"warning: /p.toml: the key `zone` may be "007", which readers of the dataset turn into a number; put a letter before it, or tell each reader that this key is text"#);
    }

    #[test]
    fn a_key_that_may_be_too_long_for_a_folder_is_warned_of() {
        let warned = |column: &str| {
            let from = r#"{ type = "string", required = true, one_of = ["a", "007"] }"#;
            run(&GOOD.replace(from, column), OutputFormat::Text).2
        };
        let long = warned(r#"{ type = "string", required = true, max_length = 300 }"#);
        assert!(long.contains("300 characters long, and a folder's name has room for 250"), "{long}");
        assert_eq!(warned(r#"{ type = "string", required = true, max_length = 250 }"#), "");
        let null = warned(r#"{ type = "string", required = true, one_of = ["__HIVE_DEFAULT_PARTITION__"] }"#);
        assert!(null.contains("which can't name a folder") && null.contains("rule folder_name"), "{null}");
    }

    #[test]
    fn a_good_file_as_json() {
        let (good, out, err) = run(GOOD, OutputFormat::Json);
        assert!(good && err.is_empty());
        insta::assert_snapshot!(out, @r#"{"file":"/p.toml","ok":true,"name":"p","brokers":"a:1","topics":["t","u"],"group":"weir-p","window":"every 7 rows of a partition","dataset":"/here/out/p","partition_by":["zone"],"columns":[{"name":"zone","type":"string","required":true},{"name":"value","type":"float32","required":false}],"hash":"ec735328c3560df939dce4f783a21f6484a482fdccfdea9e8b6f32f999a08fd7","warnings":["the key `zone` may be \"007\", which readers of the dataset turn into a number; put a letter before it, or tell each reader that this key is text"]}"#);
    }

    #[test]
    fn mistakes_as_json() {
        let (good, out, err) = run(&GOOD.replace("rows = 7", "rows = 0").replace("kafka", "kafak"), OutputFormat::Json);
        assert!(!good && err.is_empty());
        insta::assert_snapshot!(out, @r#"{"file":"/p.toml","ok":false,"mistakes":[{"line":3,"column":19,"message":"this must be \"kafka\", not \"kafak\"","help":"did you mean \"kafka\"?"},{"line":6,"column":35,"message":"this must be a whole number from 1 to 1000000000, not 0","help":"write such a number"}]}"#);
    }

    #[test]
    fn names_that_look_like_paths_are_warned_of() {
        let with = |from: &str| {
            let text = GOOD
                .replace(r#"type = "float32""#, &format!(r#"type = "float32", from = "{from}""#))
                .replace("007", "b");
            run(&text, OutputFormat::Text).2
        };
        insta::assert_snapshot!(with("readings.temp_c"), @r#"warning: /p.toml: the column `value` reads a top-level field that is called "readings.temp_c", dots and all; a nested field is written as from = "/readings/temp_c". A record without the field has no value here"#);
        assert!(with("$.a.b").contains(r#"from = "/a/b""#) && with("a[0].x").contains(r#"from = "/a/0/x""#));
        for fine in ["/a/b", "temp", "a b.", ".", "1.5 %"] {
            assert_eq!(with(fine), "", "{fine}");
        }
    }

    #[test]
    fn a_dataset_that_is_there_must_fit() {
        let folder = tempfile::tempdir().unwrap();
        let text = GOOD.replace("\"out\"", &format!("{:?}", folder.path())).replace("007", "b");
        let parse = |text: &str| Pipeline::parse("p.toml", text, &|_| None).unwrap();
        let pipeline = parse(&text);
        let identity = identity::identity(&pipeline, "a cluster".to_owned());
        let definition = crate::ledger::Definition::of(&pipeline);
        let dataset = crate::ledger::Dataset::open(&pipeline.folder(), &identity, definition).unwrap();
        dataset.topic("t", "an id", 1).unwrap();
        dataset.topic("old", "its id", 1).unwrap();
        let mask = |out: String| out.replace(&folder.path().display().to_string(), "/out");

        let (good, _, err) = run(&text, OutputFormat::Text);
        assert!(good);
        insta::assert_snapshot!(mask(err), @"warning: /p.toml: the dataset holds records of the topic `old`, which this file doesn't read");

        let changed =
            text.replace("float32", "float64").replace("rows = 7", "rows = 8") + "columns.more = { type = \"bool\" }\n";
        let changed = changed.replace("columns.zone", "columns.place").replace("[\"zone\"]", "[]");
        let (good, out, err) = run(&changed, OutputFormat::Text);
        assert!(!good && out.is_empty() && err.contains("was made differently"), "{err}");
        let (_, out, _) = run(&changed, OutputFormat::Json);
        insta::assert_snapshot!(mask(out), @r#"{"file":"/p.toml","ok":false,"mistakes":[{"line":null,"column":null,"message":"the dataset /out/p was made differently: partition_by is [\"zone\"] there and [] in the pipeline; the column zone is string there and missing in the pipeline; the column value is float32 there and float64 in the pipeline; the column place is missing there and string in the pipeline; the column more is missing there and bool in the pipeline","help":"give the pipeline another name (a new dataset), or move the old dataset's folder away, or put the old definition back: its ledger/pipelines/ holds every one that wrote there"}]}"#);

        std::fs::write(pipeline.folder().join("ledger/dataset.json"), "{").unwrap();
        let (good, _, err) = run(&text, OutputFormat::Text);
        assert!(!good && err.contains("its dataset can't be read"), "{err}");
    }

    #[test]
    fn a_file_that_is_not_there() {
        let arguments = CheckArgs { files: vec!["no/such.toml".into()], format: OutputFormat::Json };
        let mut out = Vec::new();
        assert!(!check_all(&arguments, &mut out, &mut Vec::new()).unwrap());
        insta::assert_snapshot!(String::from_utf8(out).unwrap(), @r#"{"file":"no/such.toml","ok":false,"mistakes":[{"line":null,"column":null,"message":"can't be read: No such file or directory (os error 2)","help":null}]}"#);
    }
}
