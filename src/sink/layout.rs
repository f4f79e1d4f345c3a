//! Which folder each row goes to, and what is left of it in the file.
//!
//! Each window of time has folders of its own here, also where it is no hive key and several have the same path. Folders have
//! numbers, so that whoever keeps something for each of thousands finds it without looking at their names.
//!
//! Rows keep their order within a folder. Columns that are hive keys are not columns of the files: some readers refuse a
//! column that stands in both places.

use std::collections::HashMap;
use std::iter;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::{partition, take_arrays, take_record_batch};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use arrow::row::{RowConverter, SortField};
use arrow::util::display::{ArrayFormatter, FormatOptions};

use crate::model::names::hive;
use crate::model::names::hive::{KEYS_MAX, WINDOW};
use crate::model::window::{Calendar, WindowId};
use crate::sink::SinkError;

/// How rows are laid out in folders.
#[derive(Debug)]
pub struct Layout {
    keys: Vec<Key>,
    /// Indices of the columns that stay in the file.
    kept: Vec<usize>,
    schema: SchemaRef,
    /// Gives rows of keys one comparable form.
    converter: RowConverter,
    /// The folders that rows went to since the last [`forget`](Self::forget), by that form, which is no other one's beginning, and
    /// the start of their window.
    known: HashMap<Box<[u8]>, Known>,
    /// Their paths, by their numbers.
    paths: Vec<Arc<str>>,
    /// Bytes of both.
    bytes: usize,
    /// How many batches were split.
    batches: u64,
}

/// A folder that rows went to.
#[derive(Debug)]
struct Known {
    number: usize,
    /// The last batch that had rows for it, and which of that batch's folders it was.
    batch: u64,
    at: usize,
}

/// Rows that are put in the order of their folders.
#[derive(Debug)]
pub struct Split {
    /// The rows, without the columns that their paths tell.
    pub rows: RecordBatch,
    /// Their folders, in order.
    pub folders: Vec<Folder>,
}

/// The rows of one folder.
#[derive(Debug, Clone)]
pub struct Folder {
    /// How many others had rows before it since the last [`forget`](Layout::forget).
    pub number: usize,
    /// Which rows of the [`Split`] these are.
    pub rows: Range<usize>,
    /// Which of all rows the first and the last of these were.
    pub first: usize,
    /// As `first`.
    pub last: usize,
}

/// A part of a folder's path.
#[derive(Debug)]
enum Key {
    /// The value of a column.
    Column { index: usize, name: String },
    /// The window's name.
    Window(Calendar),
}

impl Key {
    fn index(&self) -> Option<usize> {
        match self {
            Key::Column { index, .. } => Some(*index),
            Key::Window(_) => None,
        }
    }
}

/// Bytes of what is known of a folder without its texts, about.
const KNOWN_BYTES: usize = 128;

impl Layout {
    /// The layout of rows of this schema, in folders by these columns; `calendar` names their windows, if these are of time.
    pub fn new(rows: &SchemaRef, partition_by: &[String], calendar: Option<&Calendar>) -> Result<Self, SinkError> {
        if partition_by.len() > KEYS_MAX {
            return Err(SinkError::TooManyKeys { count: partition_by.len(), max: KEYS_MAX });
        }
        let keys = partition_by.iter().map(|name| key(rows, name, calendar)).collect::<Result<Vec<_>, _>>()?;
        let columns = keys.iter().filter_map(Key::index);
        let fields = columns.map(|index| SortField::new(rows.field(index).data_type().clone())).collect();
        let converter = RowConverter::new(fields)?;
        let kept: Vec<_> =
            (0..rows.fields().len()).filter(|index| keys.iter().all(|key| key.index() != Some(*index))).collect();
        let fields: Vec<_> = kept.iter().map(|index| rows.fields()[*index].clone()).collect();
        let schema = Arc::new(Schema::new_with_metadata(fields, rows.metadata().clone()));
        Ok(Layout { keys, kept, schema, converter, known: HashMap::new(), paths: Vec::new(), bytes: 0, batches: 0 })
    }

    /// The schema of the files.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Rows by folder, in the order of these folders' numbers; `window` is the window of time that they are all of, if any.
    ///
    /// Nothing is copied when all rows belong to one folder.
    pub fn split(&mut self, rows: &RecordBatch, window: Option<WindowId>) -> Result<Split, SinkError> {
        let file_rows = rows.project(&self.kept)?;
        if rows.num_rows() == 0 {
            return Ok(Split { rows: file_rows, folders: Vec::new() });
        }
        let columns: Vec<_> = self.keys.iter().filter_map(Key::index).map(|index| rows.column(index).clone()).collect();
        let runs = match columns[..] {
            [] => iter::once(0..rows.num_rows()).collect(),
            _ => partition(&columns)?.ranges(),
        };
        let (folders, folder_of_run) = self.folders(&columns, &runs, window)?;
        if let [_] = folders[..] {
            return Ok(Split { rows: file_rows, folders });
        }
        let (folders, order) = in_order(folders, &runs, &folder_of_run);
        // One copy that puts each folder's rows together.
        Ok(Split { rows: take_record_batch(&file_rows, &UInt32Array::from(order))?, folders })
    }

    /// The path of a folder by its number: `key=value/key2=value2`; empty without keys.
    ///
    /// # Panics
    /// When no folder has this number since the last [`forget`](Self::forget).
    pub fn path(&self, number: usize) -> &Arc<str> {
        &self.paths[number]
    }

    /// Frees what is known of folders, and numbers them anew. To be called at times: there is no end to them.
    pub fn forget(&mut self) {
        (self.known, self.paths, self.bytes) = Default::default();
    }

    /// Bytes of what is known of folders, about.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The folders of rows that come in runs of one key, and which of them each run goes to. Where a folder's rows will be isn't
    /// known yet: its `rows` only are as many as it has.
    fn folders(
        &mut self,
        columns: &[ArrayRef],
        runs: &[Range<usize>],
        window: Option<WindowId>,
    ) -> Result<(Vec<Folder>, Vec<usize>), SinkError> {
        let firsts = UInt32Array::from_iter_values(runs.iter().map(|run| index(run.start)));
        let keys = self.converter.convert_columns(&take_arrays(columns, &firsts, None)?)?;
        let (mut folders, mut folder_of_run, mut name) =
            (Vec::<Folder>::new(), Vec::with_capacity(runs.len()), Vec::new());
        self.batches += 1;
        for (at, run) in runs.iter().enumerate() {
            name.clear();
            if !columns.is_empty() {
                name.extend_from_slice(keys.row(at).data());
            }
            if let Some((start, _)) = window.and_then(WindowId::time) {
                name.extend_from_slice(&start.to_be_bytes());
            }
            let known = match self.known.get_mut(&*name) {
                Some(known) => known,
                None => {
                    let path: Arc<str> = self.path_of(columns, run.start, window)?.into();
                    self.bytes += KNOWN_BYTES + name.len() + path.len();
                    let known = Known { number: self.paths.len(), batch: 0, at: 0 };
                    self.paths.push(path);
                    self.known.entry(name.as_slice().into()).or_insert(known)
                }
            };
            if known.batch != self.batches {
                (known.batch, known.at) = (self.batches, folders.len());
                folders.push(Folder { number: known.number, rows: 0..0, first: run.start, last: 0 });
            }
            let folder = &mut folders[known.at];
            (folder.rows.end, folder.last) = (folder.rows.end + run.len(), run.end - 1);
            folder_of_run.push(known.at);
        }
        Ok((folders, folder_of_run))
    }

    /// The folder of one row.
    fn path_of(&self, columns: &[ArrayRef], row: usize, window: Option<WindowId>) -> Result<String, SinkError> {
        let mut path = String::new();
        let mut columns = columns.iter();
        for key in &self.keys {
            if !path.is_empty() {
                path.push('/');
            }
            match key {
                Key::Window(calendar) => {
                    let name = calendar.name(window.expect("where there is a calendar, rows are of a window of time"));
                    let segment = hive::segment(WINDOW, Some(&name));
                    path.push_str(&segment.expect("a window's name is short"));
                }
                Key::Column { name, .. } => {
                    let column = columns.next().expect("there is one for each key that is a column");
                    let text = ArrayFormatter::try_new(column, &FormatOptions::new())?.value(row).to_string();
                    let segment = hive::segment(name, column.is_valid(row).then_some(text.as_str()));
                    let value = || text.chars().take(60).collect();
                    path.push_str(&segment.ok_or_else(|| SinkError::KeyValue { name: name.clone(), value: value() })?);
                }
            }
        }
        Ok(path)
    }
}

/// Folders by their numbers, each with where its rows will be, and the rows in that order.
fn in_order(mut folders: Vec<Folder>, runs: &[Range<usize>], folder_of_run: &[usize]) -> (Vec<Folder>, Vec<u32>) {
    let mut by_number: Vec<(usize, usize)> = folders.iter().map(|folder| folder.number).zip(0..).collect();
    by_number.sort_unstable();
    let mut start = 0;
    for (_, at) in &by_number {
        let rows = &mut folders[*at].rows;
        let next = start + rows.end;
        *rows = start..start;
        start = next;
    }
    let mut order = vec![0; start];
    for (run, at) in runs.iter().zip(folder_of_run) {
        let rows = &mut folders[*at].rows;
        let end = rows.end + run.len();
        order[rows.end..end].iter_mut().zip(run.clone()).for_each(|(slot, row)| *slot = index(row));
        rows.end = end;
    }
    (by_number.into_iter().map(|(_, at)| folders[at].clone()).collect(), order)
}

fn index(row: usize) -> u32 {
    u32::try_from(row).expect("a batch is far smaller")
}

fn key(rows: &SchemaRef, name: &str, calendar: Option<&Calendar>) -> Result<Key, SinkError> {
    let index = match (rows.index_of(name), calendar) {
        (Ok(index), _) => index,
        (Err(_), Some(calendar)) if name == WINDOW => return Ok(Key::Window(calendar.clone())),
        (Err(_), _) => return Err(SinkError::NoSuchKey { name: name.to_owned() }),
    };
    let kind = rows.field(index).data_type();
    if !(kind.is_integer() || matches!(kind, DataType::Utf8 | DataType::Boolean | DataType::Date32)) {
        return Err(SinkError::KeyType { name: name.to_owned(), kind: kind.clone() });
    }
    if !hive::is_name(name) {
        return Err(SinkError::KeyName { name: name.to_owned(), max: hive::NAME_BYTES_MAX });
    }
    Ok(Key::Column { index, name: name.to_owned() })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use arrow::array::{AsArray, BooleanArray, Date32Array, Int8Array, UInt64Array};
    use arrow::datatypes::Int64Type;
    use jiff::civil::DateTime;
    use jiff::tz::TimeZone;
    use proptest::prelude::*;

    use super::*;
    use crate::sink::testing::rows;

    fn layout(batch: &RecordBatch, keys: &[&str]) -> Result<Layout, SinkError> {
        let days = Calendar::new(DAY, DateTime::default(), &TimeZone::UTC);
        Layout::new(&batch.schema(), &keys.iter().map(|key| (*key).to_owned()).collect::<Vec<_>>(), Some(&days))
    }

    const DAY: i64 = 86_400_000_000;

    /// A day after 1970-01-01.
    fn day(day: i64) -> Option<WindowId> {
        Some(WindowId::Time { start: day * DAY, end: (day + 1) * DAY })
    }

    /// Each folder and the offsets of its rows.
    fn split(batch: &RecordBatch, keys: &[&str]) -> Vec<(String, Vec<i64>)> {
        let mut layout = layout(batch, keys).unwrap();
        let Split { rows: all, folders } = layout.split(batch, None).unwrap();
        assert_eq!(all.schema_ref(), layout.schema());
        let folders = folders.into_iter().map(|Folder { number, rows, .. }| {
            let rows = all.slice(rows.start, rows.len());
            (layout.path(number).to_string(), rows["_kafka_offset"].as_primitive::<Int64Type>().values().to_vec())
        });
        folders.collect()
    }

    #[track_caller]
    fn check(keys: &[Option<&str>], expected: &[(&str, &[i64])]) {
        let found = split(&rows(0, keys), &["k"]);
        let found: Vec<_> = found.iter().map(|(path, offsets)| (path.as_str(), offsets.as_slice())).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn rows_go_to_their_folders_in_order() {
        check(&[], &[]);
        check(&[Some("a"), Some("a")], &[("k=a", &[0, 1])]);
        check(&[Some("b"), Some("a"), Some("b"), Some("b")], &[("k=b", &[0, 2, 3]), ("k=a", &[1])]);
        check(&[None, Some(""), None], &[("k=__HIVE_DEFAULT_PARTITION__", &[0, 2]), ("k=", &[1])]);
    }

    /// Each folder's number and path, and its rows.
    fn folders(layout: &mut Layout, batch: &RecordBatch, window: Option<WindowId>) -> Vec<String> {
        let folders = layout.split(batch, window).unwrap().folders.into_iter();
        folders.map(|Folder { number, rows, .. }| format!("{number} {} {rows:?}", layout.path(number))).collect()
    }

    #[test]
    fn a_folder_is_known_again_and_each_window_has_its_own() {
        let batch = rows(0, &[Some("a"), Some("b"), Some("a")]);
        let mut layout = layout(&batch, &["k", WINDOW]).unwrap();
        let mut paths = |batch: &RecordBatch, of: i64| folders(&mut layout, batch, day(of));
        assert_eq!(paths(&batch, 1), ["0 k=a/window=1970-01-02 0..2", "1 k=b/window=1970-01-02 2..3"]);
        assert_eq!(paths(&batch, 2), ["2 k=a/window=1970-01-03 0..2", "3 k=b/window=1970-01-03 2..3"]);
        let other = rows(3, &[Some("b"), Some("c"), Some("c"), Some("a")]);
        // Those that are known first, as they were then.
        let all = ["0 k=a/window=1970-01-02 0..1", "1 k=b/window=1970-01-02 1..2", "4 k=c/window=1970-01-02 2..4"];
        assert_eq!(paths(&other, 1), all);
        assert!(layout.bytes() > 5 * KNOWN_BYTES);
        layout.forget();
        assert_eq!((layout.known.len(), layout.bytes()), (0, 0));
        // Numbered anew.
        let all = ["0 k=b/window=1970-01-02 0..1", "1 k=c/window=1970-01-02 1..3", "2 k=a/window=1970-01-02 3..4"];
        assert_eq!(folders(&mut layout, &other, day(1)), all);
    }

    #[test]
    fn a_window_that_is_no_key_has_its_own_folders_under_the_same_path() {
        let batch = rows(0, &[Some("a"), Some("b")]);
        let mut by_key = layout(&batch, &["k"]).unwrap();
        assert_eq!(folders(&mut by_key, &batch, day(1)), ["0 k=a 0..1", "1 k=b 1..2"]);
        assert_eq!(folders(&mut by_key, &batch, day(2)), ["2 k=a 0..1", "3 k=b 1..2"]);
        assert_eq!(folders(&mut by_key, &batch, day(1)), ["0 k=a 0..1", "1 k=b 1..2"]);
        let mut by_nothing = layout(&batch, &[]).unwrap();
        let days = [1, 2, 1].map(|of| folders(&mut by_nothing, &batch, day(of)));
        assert_eq!(days, [["0  0..2"], ["1  0..2"], ["0  0..2"]]);
    }

    #[test]
    fn one_key_copies_nothing() {
        let batch = rows(0, &[Some("a"); 3]);
        let split = layout(&batch, &["k"]).unwrap().split(&batch, None).unwrap();
        assert_eq!(
            split.rows.column(0).to_data().buffers()[0].as_ptr(),
            batch.column(1).to_data().buffers()[0].as_ptr()
        );
        assert_eq!(self::split(&batch, &[]), [(String::new(), vec![0, 1, 2])]);
    }

    #[test]
    fn every_key_type_has_its_text() {
        let columns: [(&str, ArrayRef); 5] = [
            ("day", Arc::new(Date32Array::from(vec![0, 20_000]))),
            ("ok", Arc::new(BooleanArray::from(vec![true, false]))),
            ("small", Arc::new(Int8Array::from(vec![-128, 7]))),
            ("big", Arc::new(UInt64Array::from(vec![u64::MAX, 0]))),
            ("_kafka_offset", Arc::new(arrow::array::Int64Array::from(vec![0, 1]))),
        ];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let paths: Vec<_> = split(&batch, &["small", "day", "ok", "big"]).into_iter().map(|(path, _)| path).collect();
        assert_eq!(
            paths,
            ["small=-128/day=1970-01-01/ok=true/big=18446744073709551615", "small=7/day=2024-10-04/ok=false/big=0"]
        );
    }

    #[test]
    fn a_value_without_a_folder_is_never_put_elsewhere() {
        for value in ["x".repeat(254), "__HIVE_DEFAULT_PARTITION__".to_owned()] {
            let batch = rows(0, &[Some("a"), Some(&value)]);
            let refused = layout(&batch, &["k"]).unwrap().split(&batch, None);
            assert!(matches!(refused, Err(SinkError::KeyValue { .. })), "{value}");
        }
    }

    #[test]
    fn keys_that_cannot_be_are_refused() {
        let batch = rows(0, &[]);
        let refused = |keys: &[&str]| layout(&batch, keys).unwrap_err().to_string();
        assert_eq!(refused(&["nope"]), "sink.partition_by names `nope`, which is no column");
        let without_time = Layout::new(&batch.schema(), &[WINDOW.to_owned()], None).unwrap_err().to_string();
        assert_eq!(without_time, "sink.partition_by names `window`, which is no column");
        assert_eq!(
            refused(&["value"]),
            "sink.partition_by names `value`, a Float64: a key is a string, an integer, a bool or a date"
        );
        assert!(refused(&["_kafka_offset"]).starts_with("sink.partition_by names `_kafka_offset`, which some readers"));
        assert_eq!(refused(&["k"; 9]), "sink.partition_by names 9 columns: 8 at the most");
    }

    proptest! {
        #[test]
        fn each_row_is_in_one_folder_in_order(keys in prop::collection::vec(prop::option::of("[ab=/]{0,2}"), 0..40)) {
            let keys: Vec<_> = keys.iter().map(Option::as_deref).collect();
            let found = split(&rows(0, &keys), &["k"]);
            let mut expected: Vec<(String, Vec<i64>)> = Vec::new();
            for (offset, key) in (0..).zip(&keys) {
                let path = hive::segment("k", *key).unwrap();
                match expected.iter_mut().find(|(known, _)| *known == path) {
                    Some((_, offsets)) => offsets.push(offset),
                    None => expected.push((path, vec![offset])),
                }
            }
            prop_assert_eq!(found, expected);
        }
    }
}
