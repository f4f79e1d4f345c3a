//! Every key that a pipeline file may have: what the parser accepts, advice is chosen from, and the documentation and
//! the editors' schema are tested against.

/// Sections by their dotted path; the file's top level is `""`. What a section's `type` decides is the path's last step.
pub(super) const SECTIONS: &[(&str, &[&str])] = &[
    ("", &["name", "source", "columns", "validate", "window", "sink"]),
    ("source", &["type", "brokers", "topics", "format", "start", "group", "consumers", "client"]),
    ("validate", &["unknown_fields"]),
    ("window.count", &["type", "rows"]),
    ("window.tumbling", &["type", "size", "time", "time_zone", "origin", "out_of_order", "idle", "late", "max_ahead"]),
    ("sink", &["type", "path", "partition_by", "max_keys", "compression", "row_group_rows", "roll"]),
    ("sink.roll", &["windows", "rows", "bytes", "age"]),
];

/// The keys of a section.
pub(super) fn of(section: &str) -> &'static [&'static str] {
    SECTIONS.iter().find(|(path, _)| *path == section).map_or(&[], |(_, keys)| keys)
}

/// How a section is called in a file: what its `type` decides is no part of its name.
pub(super) fn title(path: &str) -> &str {
    if path.starts_with("window.") { "window" } else { path }
}

/// Kinds of column types, as bits: which options fit which.
pub(super) mod family {
    pub(crate) const STRING: u8 = 1;
    pub(crate) const BOOL: u8 = 2;
    pub(crate) const INT: u8 = 4;
    pub(crate) const FLOAT: u8 = 8;
    pub(crate) const TIMESTAMP: u8 = 16;
    pub(crate) const DATE: u8 = 32;
    pub(crate) const JSON: u8 = 64;
    pub(crate) const ALL: u8 = 127;
    pub(crate) const ORDERED: u8 = INT | FLOAT | TIMESTAMP | DATE;
}
use family::*;

/// Column types and their families.
pub(super) const TYPES: &[(&str, u8)] = &[
    ("string", STRING),
    ("bool", BOOL),
    ("int8", INT),
    ("int16", INT),
    ("int32", INT),
    ("int64", INT),
    ("uint8", INT),
    ("uint16", INT),
    ("uint32", INT),
    ("uint64", INT),
    ("float32", FLOAT),
    ("float64", FLOAT),
    ("timestamp", TIMESTAMP),
    ("date", DATE),
    ("json", JSON),
];

/// What types are called elsewhere, and here.
pub(super) const OTHER_TYPES: &[(&str, &str)] = &[
    ("double", "float64"),
    ("float", "float64"),
    ("real", "float64"),
    ("number", "float64"),
    ("decimal", "float64"),
    ("int", "int64"),
    ("integer", "int64"),
    ("long", "int64"),
    ("bigint", "int64"),
    ("short", "int16"),
    ("byte", "int8"),
    ("text", "string"),
    ("str", "string"),
    ("varchar", "string"),
    ("utf8", "string"),
    ("boolean", "bool"),
    ("datetime", "timestamp"),
    ("time", "timestamp"),
    ("list", "json"),
    ("array", "json"),
    ("map", "json"),
    ("object", "json"),
    ("struct", "json"),
];

/// What formats of timestamps are called elsewhere, and here.
pub(super) const OTHER_FORMATS: &[(&str, &str)] = &[
    ("epoch", "unix_s"),
    ("epoch_s", "unix_s"),
    ("epoch_ms", "unix_ms"),
    ("epoch_millis", "unix_ms"),
    ("epoch_us", "unix_us"),
    ("epoch_ns", "unix_ns"),
    ("unix", "unix_s"),
    ("unixtime", "unix_s"),
    ("seconds", "unix_s"),
    ("millis", "unix_ms"),
    ("milliseconds", "unix_ms"),
    ("micros", "unix_us"),
    ("nanos", "unix_ns"),
    ("iso", "rfc3339"),
    ("iso8601", "rfc3339"),
    ("iso-8601", "rfc3339"),
];

/// A column's options, and the types that they fit.
pub(super) const COLUMN: &[(&str, u8)] = &[
    ("type", ALL),
    ("from", ALL),
    ("required", ALL),
    ("default", ALL),
    ("missing", STRING | ORDERED),
    ("min", ORDERED),
    ("max", ORDERED),
    ("one_of", STRING | ORDERED),
    ("pattern", STRING),
    ("max_length", STRING),
    ("coerce", INT | FLOAT),
    ("format", TIMESTAMP | DATE),
    ("time_zone", TIMESTAMP),
    ("nonexistent", TIMESTAMP),
    ("ambiguous", TIMESTAMP),
];
