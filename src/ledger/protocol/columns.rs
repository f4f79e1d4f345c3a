//! The columns of a dataset's rows, and their ids, which never change their meaning.
//!
//! `ledger/columns/<n>.json` is version `n` of them. Version 0 is made from `ledger/dataset.json`,
//! so that every process makes the same. A file of rows names the version that it has, and each of
//! its columns has its id in the Parquet schema: a reader can tell a column by it whatever it is
//! called.
//!
//! Types are written so:
//!
//! | written | Arrow |
//! |---|---|
//! | `string`, `bool`, `binary`, `date` | `Utf8`, `Boolean`, `Binary`, `Date32` |
//! | `int8` … `int64`, `uint8` … `uint64`, `float32`, `float64` | the same |
//! | `timestamp[us, UTC]`, `time[us]` | `Timestamp(Microsecond, "UTC")`, `Time64(Microsecond)` |
//! | `decimal(10, 2)` | `Decimal128(10, 2)` |
//! | `list<T>`, `map<K, V>`, `struct<"name": T, …>` | `List`, `Map`, `Struct`; a name is JSON text |

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use parquet::arrow::PARQUET_FIELD_ID_META_KEY;
use serde::{Deserialize, Serialize};

use super::error::LedgerError;
use super::format::{FORMAT, read_json, unreadable};
use crate::model::Side;
use crate::model::schema::{FIRST_ID, reserved_id};
use crate::store::Store;

/// The prefix of all versions.
pub(in crate::ledger) const COLUMNS: &str = "ledger/columns";

/// The version that every dataset has.
pub(in crate::ledger) const VERSION_0: &str = "ledger/columns/0.json";

/// A column's name and type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnIdentity {
    /// The column's name.
    pub name: String,
    /// The type, by [`ColumnIdentity::of`].
    #[serde(rename = "type")]
    pub kind: String,
}

impl ColumnIdentity {
    /// The columns of an Arrow schema. The types' names are our own where a dataset can have them,
    /// because Arrow's change from version to version.
    pub fn of(schema: &Schema) -> Vec<ColumnIdentity> {
        let column =
            |field: &Arc<Field>| ColumnIdentity { name: field.name().clone(), kind: type_name(field.data_type()) };
        schema.fields().iter().map(column).collect()
    }
}

/// How a type is written.
fn type_name(kind: &DataType) -> String {
    match kind {
        DataType::Utf8 => "string".to_owned(),
        DataType::Boolean => "bool".to_owned(),
        DataType::Timestamp(TimeUnit::Microsecond, Some(zone)) if matches!(&**zone, "UTC" | "+00:00") => {
            "timestamp[us, UTC]".to_owned()
        }
        DataType::Time64(TimeUnit::Microsecond) => "time[us]".to_owned(),
        DataType::Date32 => "date".to_owned(),
        DataType::Binary => "binary".to_owned(),
        DataType::Decimal128(precision, scale) => format!("decimal({precision}, {scale})"),
        number if number.is_integer() || matches!(number, DataType::Float32 | DataType::Float64) => {
            format!("{number:?}").to_lowercase()
        }
        DataType::List(item) => format!("list<{}>", type_name(item.data_type())),
        DataType::Struct(fields) => {
            let field = |field: &Arc<Field>| format!("{:?}: {}", field.name(), type_name(field.data_type()));
            format!("struct<{}>", fields.iter().map(field).collect::<Vec<_>>().join(", "))
        }
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(fields) if fields.len() == 2 => {
                format!("map<{}, {}>", type_name(fields[0].data_type()), type_name(fields[1].data_type()))
            }
            other => format!("{other:?}"),
        },
        // No dataset has such: a foreign file may.
        other => format!("{other:?}"),
    }
}

/// A version of a dataset's columns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::ledger) struct Columns {
    format: u32,
    /// Its number.
    pub(in crate::ledger) version: u32,
    /// In the order of the rows.
    columns: Vec<Numbered>,
}

/// A column with its id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Numbered {
    /// Those below [`FIRST_ID`] are of weir's own columns, in every dataset the same.
    id: i32,
    #[serde(flatten)]
    column: ColumnIdentity,
}

impl Columns {
    /// Version 0: ids in the columns' order.
    pub(in crate::ledger) fn first(columns: &[ColumnIdentity]) -> Columns {
        let mut next = FIRST_ID..;
        let numbered = |column: &ColumnIdentity| Numbered {
            // A pipeline's column may be called `reason`, as one of `rejects/` is. It gets an id of
            // its own.
            id: reserved_id(&column.name)
                .filter(|_| column.name.starts_with('_'))
                .unwrap_or_else(|| next.next().expect("ids for all columns")),
            column: column.clone(),
        };
        Columns { format: FORMAT, version: 0, columns: columns.iter().map(numbered).collect() }
    }

    /// The names of all versions that there are.
    pub(in crate::ledger) fn names(store: &dyn Store) -> Result<Vec<String>, LedgerError> {
        let names = store.list(COLUMNS)?.into_iter().map(|name| format!("{COLUMNS}/{name}"));
        // The folders of a topic called `columns` are there, too.
        Ok(names.filter(|name| !store.is_prefix(name)).collect())
    }

    /// Reads all versions.
    pub(in crate::ledger) fn read_all(store: &dyn Store) -> Result<Vec<Columns>, LedgerError> {
        Columns::names(store)?.iter().map(|name| Columns::read(store, name)).collect()
    }

    /// Reads a version, whose file must be there.
    pub(in crate::ledger) fn read(store: &dyn Store, name: &str) -> Result<Columns, LedgerError> {
        let columns: Columns = read_json(store, name)?;
        if name != format!("{COLUMNS}/{}.json", columns.version) {
            return Err(unreadable(&store.place(name), format!("it says that it is version {}", columns.version)));
        }
        let mut ids: Vec<i32> = columns.columns.iter().map(|column| column.id).collect();
        ids.sort_unstable();
        ids.dedup();
        if ids.len() < columns.columns.len() {
            return Err(unreadable(&store.place(name), "two columns have one id"));
        }
        Ok(columns)
    }

    /// What they are, without their ids.
    pub(in crate::ledger) fn identity(&self) -> Vec<ColumnIdentity> {
        self.columns.iter().map(|numbered| numbered.column.clone()).collect()
    }

    /// The schema of a side's files, each column with its id, as Parquet's `field_id`.
    pub(in crate::ledger) fn with_ids(&self, side: Side, schema: &SchemaRef) -> SchemaRef {
        let of_rows = |name: &str| self.columns.iter().find(|numbered| numbered.column.name == name);
        let id = |name: &str| match side {
            Side::Rejects => reserved_id(name),
            Side::Data | Side::Late => of_rows(name).map(|numbered| numbered.id).or_else(|| reserved_id(name)),
        };
        let field = |field: &Arc<Field>| match id(field.name()) {
            Some(id) => {
                let id = HashMap::from([(PARQUET_FIELD_ID_META_KEY.to_owned(), id.to_string())]);
                Arc::new(field.as_ref().clone().with_metadata(id))
            }
            None => field.clone(),
        };
        let fields: Vec<_> = schema.fields().iter().map(field).collect();
        Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_type_has_a_name_of_our_own() {
        let field = |name: &str, kind| Arc::new(Field::new(name, kind, true));
        let entries = DataType::Struct(vec![field("k", DataType::Utf8), field("v", DataType::UInt8)].into());
        let nested = DataType::Struct(vec![field("a\"b", DataType::Decimal128(10, 2))].into());
        let kinds = [
            (DataType::UInt16, "uint16"),
            (DataType::Float32, "float32"),
            (DataType::Time64(TimeUnit::Microsecond), "time[us]"),
            (DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into())), "timestamp[us, UTC]"),
            (DataType::List(field("item", nested)), r#"list<struct<"a\"b": decimal(10, 2)>>"#),
            (DataType::Map(field("entries", entries), false), "map<string, uint8>"),
        ];
        for (kind, name) in kinds {
            assert_eq!(type_name(&kind), name);
        }
    }

    #[test]
    fn ids_are_given_in_order_and_weirs_own_are_reserved() {
        let column = |name: &str| ColumnIdentity { name: name.to_owned(), kind: "string".to_owned() };
        let columns = Columns::first(&["b", "reason", "_extra", "_kafka_offset", "c"].map(column));
        let names = ["reason", "_kafka_offset", "_late_by_us", "c", "x"];
        let schema = Arc::new(Schema::new(names.map(|name| Field::new(name, DataType::Utf8, true)).to_vec()));
        let ids = |side| {
            let numbered = columns.with_ids(side, &schema);
            let id = |field: &Arc<Field>| field.metadata().get(PARQUET_FIELD_ID_META_KEY).map(|id| id.parse().unwrap());
            numbered.fields().iter().map(id).collect::<Vec<Option<i32>>>()
        };
        assert_eq!(ids(Side::Late), [Some(FIRST_ID + 1), Some(3), Some(8), Some(FIRST_ID + 2), None]);
        assert_eq!(ids(Side::Rejects), [Some(13), Some(3), Some(8), None, None]);
    }
}
