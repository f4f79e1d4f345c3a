//! `weir check FILE…`: what weir makes of pipeline files, without connecting to anything.
//!
//! A good file's summary goes to stdout, mistakes and warnings go to stderr; with `--format json` all of it goes to
//! stdout, one object a file and line. Whether brokers answer and topics exist is not looked at.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::OutputFormat;
use crate::names::hive;
use crate::settings::pipeline::{Column, ColumnType, Pipeline, Value, Window};
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
        let checked = Pipeline::load(file);
        all_good &= checked.is_ok();
        match (arguments.format, checked) {
            (OutputFormat::Text, Ok(pipeline)) => {
                write_summary(file, &pipeline, out)?;
                for warning in warnings(&pipeline) {
                    writeln!(err, "warning: {}: {warning}", file.display())?;
                }
            }
            (OutputFormat::Text, Err(broken)) => write!(err, "{}", broken.report())?,
            (OutputFormat::Json, Ok(pipeline)) => writeln!(out, "{}", good_json(file, &pipeline))?,
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
    writeln!(out, "  window    {}", window(pipeline))?;
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

fn good_json(file: &Path, pipeline: &Pipeline) -> serde_json::Value {
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
        "window": window(pipeline),
        "dataset": dataset(pipeline).display().to_string(),
        "partition_by": pipeline.sink.partition_by,
        "columns": columns,
        "hash": pipeline.hash,
        "warnings": warnings(pipeline),
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

fn window(pipeline: &Pipeline) -> String {
    match &pipeline.window {
        Window::Count { rows } => format!("every {rows} rows of a partition"),
        Window::Tumbling(window) => window.to_string(),
    }
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
fn warnings(pipeline: &Pipeline) -> Vec<String> {
    let is_key = |column: &&Column| pipeline.sink.partition_by.contains(&column.name);
    let keys: Vec<&Column> = pipeline.columns.iter().filter(is_key).collect();
    let number_like = keys.iter().copied().filter_map(number_like_key);
    number_like.chain(keys.iter().copied().filter_map(key_without_a_folder)).collect()
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
    fn a_file_that_is_not_there() {
        let arguments = CheckArgs { files: vec!["no/such.toml".into()], format: OutputFormat::Json };
        let mut out = Vec::new();
        assert!(!check_all(&arguments, &mut out, &mut Vec::new()).unwrap());
        insta::assert_snapshot!(String::from_utf8(out).unwrap(), @r#"{"file":"no/such.toml","ok":false,"mistakes":[{"line":null,"column":null,"message":"can't be read: No such file or directory (os error 2)","help":null}]}"#);
    }
}
