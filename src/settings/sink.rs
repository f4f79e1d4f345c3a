//! `[sink]`.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use parquet::basic::{Compression, GzipLevel, ZstdLevel};

use super::column::Known;
use super::keys::family;
use super::mistake::Mistakes;
use super::section::{Section, amount, array, choice, closest, filled_text, integer, refuse, text, wrong};
use super::tree::{Node, Toml};
use crate::base::units::{DURATION, SIZE, duration};
use crate::model::names::hive;
use crate::model::names::hive::{KEYS_MAX, WINDOW};
use crate::model::pipeline::{Roll, Sink, Value, defaults};
use crate::model::window::Window;

const KEYS: RangeInclusive<usize> = 1..=100_000;
const ROW_GROUP_ROWS: RangeInclusive<usize> = 1..=16_777_216;
const COUNT: RangeInclusive<u64> = 1..=1_000_000_000_000;
const BYTES: RangeInclusive<u64> = 1 << 10..=64 << 30;
const AGE: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(86_400);

/// Reads the section; `columns` are the file's, as far as they could be read.
pub(super) fn sink(
    node: &Node,
    columns: Option<&[Known<'_>]>,
    window: Option<&Window>,
    mistakes: &Mistakes,
) -> Option<Sink> {
    let section = Section::open("sink", node, mistakes)?;
    let kind = section.must("type", "type = \"parquet\"").and_then(|node| choice(node, &[("parquet", ())], mistakes));
    let path = section.node("path").and_then(|node| path(node, mistakes));
    let partition_by = section.node("partition_by").map(|node| partition_by(node, columns, window, mistakes));
    let max_keys = section.node("max_keys").and_then(|node| integer(node, KEYS, mistakes));
    let compression = section.node("compression").and_then(|node| compression_at(node, mistakes));
    let row_group_rows = section.node("row_group_rows").and_then(|node| integer(node, ROW_GROUP_ROWS, mistakes));
    let roll = section.node("roll").and_then(|node| roll(node, mistakes));
    kind?;
    Some(Sink {
        path: PathBuf::from(path.unwrap_or(defaults::SINK_PATH)),
        partition_by: partition_by.unwrap_or_default(),
        max_keys: max_keys.unwrap_or(defaults::MAX_KEYS),
        compression: compression.or_else(|| compression_of(defaults::COMPRESSION))?,
        row_group_rows: row_group_rows.unwrap_or(defaults::ROW_GROUP_ROWS),
        roll: roll.unwrap_or(defaults::ROLL),
    })
}

/// A folder. What looks like a URL would be a folder, too: one that is called `s3:`.
fn path<'a>(node: &'a Node, mistakes: &Mistakes) -> Option<&'a str> {
    let path = filled_text(node, mistakes)?;
    match url(path) {
        None => Some(path),
        Some(("file", folder)) => {
            let message = format!("{path:?} is a URL, but a dataset's path is a folder's");
            refuse(node, message, format!("write {folder:?}"), mistakes)
        }
        Some((scheme, _)) => {
            let message =
                format!("a dataset can't be written to {scheme}:// yet: it is a folder of a local filesystem");
            refuse(
                node,
                message,
                "write a folder's path, such as \"/data/lake\", and copy the files from there",
                mistakes,
            )
        }
    }
}

/// The scheme of a URL, and what follows after `://`.
pub(crate) fn url(path: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = path.split_once("://")?;
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "+-.".contains(letter);
    (scheme.starts_with(|first: char| first.is_ascii_alphabetic()) && scheme.chars().all(plain))
        .then_some((scheme, rest))
}

fn roll(node: &Node, mistakes: &Mistakes) -> Option<Roll> {
    if let Toml::Text(filled) = &node.toml
        && duration(&filled.text).is_some()
    {
        let message = "[sink.roll] must be a table: a file may end for several reasons";
        return refuse(node, message, format!("write roll = {{ age = {:?} }}", filled.text), mistakes);
    }
    let section = Section::open("sink.roll", node, mistakes)?;
    let count = |key| section.node(key).and_then(|node| integer(node, COUNT, mistakes));
    let bytes = section.node("bytes").and_then(|node| amount(node, &SIZE, BYTES, mistakes));
    let age = section.node("age").and_then(|node| amount(node, &DURATION, AGE, mistakes));
    Some(Roll {
        windows: count("windows").unwrap_or(defaults::ROLL.windows),
        rows: count("rows").or(defaults::ROLL.rows),
        bytes: bytes.unwrap_or(defaults::ROLL.bytes),
        age: age.unwrap_or(defaults::ROLL.age),
    })
}

fn partition_by(
    node: &Node,
    columns: Option<&[Known<'_>]>,
    window: Option<&Window>,
    mistakes: &Mistakes,
) -> Vec<String> {
    let mut keys = BTreeSet::new();
    let items = array(node, mistakes).unwrap_or_default();
    let names: Vec<_> = items.iter().filter_map(|item| Some((item, text(item, mistakes)?))).collect();
    for (item, name) in &names {
        if !keys.insert(*name) {
            refuse::<()>(item, format!("`{name}` is listed twice"), "list each column once", mistakes);
        }
        if let Some(columns) = columns {
            match window {
                Some(window) if *name == WINDOW && window.kind().calendar().is_some() => {
                    check_window_key(item, columns, mistakes)
                }
                None if *name == WINDOW => {}
                _ => check_key(item, name, columns, mistakes),
            }
        }
    }
    if keys.len() > KEYS_MAX {
        let help = format!("keep at most {KEYS_MAX}: a path has a limit, and every key multiplies the files");
        refuse::<()>(node, format!("{} keys are too many", keys.len()), help, mistakes);
    }
    let is_key = |column: &Known<'_>| keys.contains(column.name);
    if columns.is_some_and(|columns| columns.iter().all(is_key)) {
        let help = "leave out one of them: its values must stand in the files";
        refuse::<()>(node, "a file would have no column left", help, mistakes);
    }
    names.into_iter().map(|(_, name)| name.to_owned()).collect()
}

/// `window` is the folder of a window of time, so no column can have that name beside it.
fn check_window_key(item: &Node, columns: &[Known<'_>], mistakes: &Mistakes) {
    if columns.iter().any(|column| column.name.eq_ignore_ascii_case(WINDOW)) {
        let help = "rename the column, and let `from` name the record's field: begin = { from = \"window\", … }";
        refuse::<()>(item, "`window` is the window's own key and a column too", help, mistakes);
    }
}

fn check_key(item: &Node, name: &str, columns: &[Known<'_>], mistakes: &Mistakes) {
    let Some(column) = columns.iter().find(|column| column.name == name) else {
        let help = match closest(name, columns.iter().map(|column| column.name)) {
            Some(close) => format!("did you mean \"{close}\"?"),
            None if name == WINDOW => "only windows of time have folders: type = \"tumbling\" in [window]".to_owned(),
            None => "list names of [columns]".to_owned(),
        };
        refuse::<()>(item, format!("there is no column `{name}`"), help, mistakes);
        return;
    };
    // Where a type could not be read, nothing is known of it: its own mistake comes first.
    if column.family.is_some_and(|family| family & (family::FLOAT | family::TIMESTAMP | family::JSON) != 0) {
        let help = "a key's values name folders: use a column of string, bool, date or an integer type";
        refuse::<()>(item, format!("`{name}` is of a type that can't be a key"), help, mistakes);
        return;
    }
    if !hive::is_name(name) {
        let help =
            "readers find a key only under a plain name: letters, digits, _, - and ., the first a letter or digit";
        refuse::<()>(item, format!("`{name}` can't name a folder"), help, mistakes);
    }
    if let Some(Value::Text(text)) = column.column.as_ref().and_then(|column| column.default.as_ref())
        && !hive::is_value(text, hive::room(name))
    {
        let help = format!("a folder's name holds {} bytes of it when it is encoded: shorten it", hive::room(name));
        refuse::<()>(item, format!("the default of `{name}` can't name a folder"), help, mistakes);
    }
    // pandas refuses a dataset in which one folder stands for null and another one for a value.
    if column.column.as_ref().is_some_and(|column| !column.required && column.default.is_none()) {
        let help =
            format!("add `required = true` or a `default` to columns.{name}: a folder can't be named after no value");
        refuse::<()>(item, format!("`{name}` may have no value, so it can't be a key"), help, mistakes);
    }
}

fn compression_at(node: &Node, mistakes: &Mistakes) -> Option<Compression> {
    let written = text(node, mistakes)?;
    let help = "write \"none\", \"snappy\", \"lz4\", \"gzip(1)\" to \"gzip(9)\", or \"zstd(1)\" to \"zstd(22)\"";
    compression_of(written).or_else(|| wrong(node, "this must be a codec, with a level that it has", help, mistakes))
}

fn compression_of(written: &str) -> Option<Compression> {
    let (codec, level) = match written.split_once('(') {
        Some((codec, level)) => (codec, Some(level.strip_suffix(')')?.parse::<u8>().ok()?)),
        None => (written, None),
    };
    match (codec, level) {
        ("none", None) => Some(Compression::UNCOMPRESSED),
        ("snappy", None) => Some(Compression::SNAPPY),
        // Parquet's older LZ4 has a framing that its readers don't agree on.
        ("lz4", None) => Some(Compression::LZ4_RAW),
        ("gzip", level @ (None | Some(1..=9))) => {
            Some(Compression::GZIP(GzipLevel::try_new(level.unwrap_or(defaults::GZIP_LEVEL).into()).ok()?))
        }
        ("zstd", level @ (None | Some(1..=22))) => {
            Some(Compression::ZSTD(ZstdLevel::try_new(level.unwrap_or(defaults::ZSTD_LEVEL).into()).ok()?))
        }
        _ => None,
    }
}
