//! A file of a lane: what is known of it while its rows wait, while it is encoded, and when it is
//! closed.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io::{self, Write};
use std::ops::Index;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::{max, min};
use arrow::datatypes::{Int64Type, SchemaRef, TimestampMicrosecondType};
use parquet::file::properties::WriterProperties;

use super::route::Place;
use super::waiting::Run;
use crate::ledger::{FileEntry, Receipt};
use crate::model::Side;
use crate::model::names::StagedName;
use crate::model::schema::OFFSET;
use crate::model::window::WindowId;
use crate::sink::{ParquetFile, Recipe, SinkError};

/// Names a new file of this side and hive path (`key=value/…`, empty for none), never the same name
/// twice, and says what its footer says of its place in the ledger.
pub type Names = Box<dyn FnMut(Side, &str) -> (StagedName, Receipt) + Send>;

/// Makes a new file, by its staged name.
pub type Create = Box<dyn FnMut(&str) -> io::Result<Box<dyn Write + Send>> + Send>;

/// Removes a staged file, by its staged name, that no entry names or will name.
pub type Discard = Arc<dyn Fn(&str) + Send + Sync>;

/// How a lane's files are made.
pub(super) struct Files {
    pub(super) names: Names,
    pub(super) create: Create,
    pub(super) discard: Discard,
    /// The dataset's folder, for messages.
    pub(super) root: PathBuf,
    /// What files of each side have.
    pub(super) schemas: BTreeMap<Side, SchemaRef>,
    pub(super) properties: WriterProperties,
    /// Made with a side's first file: most lanes never have a late one.
    pub(super) recipes: BTreeMap<Side, Recipe>,
    /// The column of event times, for windows of time.
    pub(super) time: Option<String>,
}

impl Files {
    /// Makes a file with its names.
    fn create(&mut self, side: Side, path: &str, rows_max: Option<u64>) -> Result<(Staged, ParquetFile), SinkError> {
        let (name, receipt) = (self.names)(side, path);
        let staged = self.root.join(&name.staged);
        let recipe = match self.recipes.entry(side) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(none) => {
                let recipe = Recipe::new(&self.schemas[&side], &self.properties);
                none.insert(recipe.map_err(|source| SinkError::Write { path: staged.clone(), source })?)
            }
        };
        let created = (self.create)(&name.staged);
        let file = created.map_err(|source| SinkError::Create { path: staged.clone(), source })?;
        let name = Staged { name, discard: self.discard.clone(), closed: false };
        let mut file = ParquetFile::new(file, &staged, &name.name.path, recipe, rows_max)?;
        receipt.into_iter().for_each(|(key, value)| file.note(key, value));
        Ok((name, file))
    }
}

/// A file that was made. It goes with this, unless it was closed.
struct Staged {
    name: StagedName,
    discard: Discard,
    closed: bool,
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.closed {
            (self.discard)(&self.name.staged);
        }
    }
}

/// A file that has rows.
pub(super) struct OpenFile {
    side: Side,
    /// Its hive path.
    path: Arc<str>,
    /// None before its first rows are encoded.
    file: Option<Box<(Staged, ParquetFile)>>,
    /// Its rows that are not yet encoded, how many they are, and their bytes.
    waiting: Vec<Run>,
    waiting_rows: u64,
    waiting_bytes: usize,
    /// All its rows, and the newest of them.
    rows: u64,
    newest: u64,
    windows: Option<(WindowId, WindowId)>,
    event_time: Option<(i64, i64)>,
    /// The offsets of its first row and of its last one so far.
    offsets: Option<(i64, i64)>,
}

/// Bytes of the notes of which rows wait.
pub(super) fn notes_bytes(runs: &Vec<Run>) -> usize {
    runs.capacity() * size_of::<Run>()
}

impl OpenFile {
    /// Without a row yet, in the folder of this hive path.
    pub(super) fn new(side: Side, path: Arc<str>) -> Self {
        OpenFile {
            side,
            path,
            file: None,
            waiting: Vec::new(),
            waiting_rows: 0,
            waiting_bytes: 0,
            rows: 0,
            newest: 0,
            windows: None,
            event_time: None,
            offsets: None,
        }
    }

    /// Counts rows that are given to it, of these windows.
    pub(super) fn count(&mut self, rows: u64, windows: Option<(WindowId, WindowId)>) {
        self.rows += rows;
        self.newest = rows;
        self.windows = match (self.windows, windows) {
            (Some((first, last)), Some((lower, upper))) => Some((first.min(lower), last.max(upper))),
            (known, new) => known.or(new),
        };
    }

    /// Some of them wait, of so many bytes. Answers how many more bytes their notes take.
    pub(super) fn wait(&mut self, run: Run, bytes: usize) -> usize {
        self.waiting_rows += run.end - run.start;
        self.waiting_bytes += bytes;
        let before = notes_bytes(&self.waiting);
        match self.waiting.last_mut() {
            Some(last) if last.end == run.start => last.end = run.end,
            _ => self.waiting.push(run),
        }
        notes_bytes(&self.waiting) - before
    }

    /// Those that wait, to be encoded or moved.
    pub(super) fn take_waiting(&mut self) -> Vec<Run> {
        (self.waiting_rows, self.waiting_bytes) = (0, 0);
        std::mem::take(&mut self.waiting)
    }

    /// Its hive path.
    #[cfg(test)]
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// How many of its rows wait.
    pub(super) fn waiting_rows(&self) -> u64 {
        self.waiting_rows
    }

    /// How many bytes these have.
    pub(super) fn waiting_bytes(&self) -> usize {
        self.waiting_bytes
    }

    /// How many came last.
    pub(super) fn newest(&self) -> u64 {
        self.newest
    }

    /// All its rows.
    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    /// Bytes that it has on disk, about; none of those that wait.
    pub(super) fn bytes(&self) -> u64 {
        self.file.as_ref().map_or(0, |made| made.1.bytes())
    }

    /// Bytes of memory that it takes, but for rows that wait.
    pub(super) fn memory(&self) -> usize {
        self.file.as_ref().map_or(0, |made| made.1.memory())
    }

    /// Adds rows to its next row group; the file is `whole` where no further rows will come.
    pub(super) fn write(&mut self, rows: RecordBatch, files: &mut Files, whole: bool) -> Result<(), SinkError> {
        if let Some(time) = &files.time
            && let Some(times) = rows.column_by_name(time).filter(|_| self.side != Side::Rejects)
        {
            let times = times.as_primitive::<TimestampMicrosecondType>();
            self.event_time = match (self.event_time, min(times).zip(max(times))) {
                (Some((first, last)), Some((lower, upper))) => Some((first.min(lower), last.max(upper))),
                (known, new) => known.or(new),
            };
        }
        if let Some(offsets) = rows.column_by_name(OFFSET) {
            // Rows come in the order of their offsets.
            let offsets = offsets.as_primitive::<Int64Type>().values();
            if let (Some(first), Some(last)) = (offsets.first(), offsets.last()) {
                self.offsets = Some((self.offsets.map_or(*first, |(first, _)| first), *last));
            }
        }
        let made = match &mut self.file {
            Some(made) => made,
            none => {
                let rows_max = whole.then_some(self.rows);
                none.insert(Box::new(files.create(self.side, &self.path, rows_max)?))
            }
        };
        made.1.write(rows);
        Ok(())
    }

    /// Ends its row group.
    pub(super) fn end_row_group(&mut self) -> Result<(), SinkError> {
        self.file.as_mut().map_or(Ok(()), |made| made.1.end_row_group())
    }

    /// Ends it.
    pub(super) fn close(self) -> Result<FileEntry, SinkError> {
        let (mut staged, mut file) = *self.file.expect("a file that has rows was made when they were encoded");
        file.note("weir.rows", self.rows.to_string());
        if let Some((first, last)) = self.offsets {
            file.note("weir.first_offset", first.to_string());
            file.note("weir.last_offset", last.to_string());
        }
        let finished = file.close()?;
        staged.closed = true;
        Ok(FileEntry {
            side: self.side,
            path: std::mem::take(&mut staged.name.path),
            staged: std::mem::take(&mut staged.name.staged),
            rows: finished.rows,
            bytes: finished.bytes,
            sha256: finished.sha256,
            windows: self.windows,
            event_time: self.event_time,
            offsets: self.offsets,
            // What the dataset knows of it stands there when the entry is made.
            partition_values: serde_json::Map::new(),
            columns_version: None,
            sort: Vec::new(),
        })
    }
}

/// The files that are open, by their places, which are dense.
#[derive(Default)]
pub(super) struct OpenFiles {
    by_number: BTreeMap<Side, Vec<Option<OpenFile>>>,
}

impl OpenFiles {
    /// The file at a place, if one is open there.
    pub(super) fn get(&self, (side, number): Place) -> Option<&OpenFile> {
        self.by_number.get(&side)?.get(number)?.as_ref()
    }

    /// As [`get`](Self::get).
    pub(super) fn get_mut(&mut self, (side, number): Place) -> Option<&mut OpenFile> {
        self.by_number.get_mut(&side)?.get_mut(number)?.as_mut()
    }

    /// The file at a place; where none is open there, a new one with the hive path that this gives.
    pub(super) fn get_or_open(&mut self, (side, number): Place, path: impl FnOnce() -> Arc<str>) -> &mut OpenFile {
        let files = self.by_number.entry(side).or_default();
        if files.len() <= number {
            files.resize_with(number + 1, || None);
        }
        files[number].get_or_insert_with(|| OpenFile::new(side, path()))
    }

    /// Takes it out.
    pub(super) fn remove(&mut self, (side, number): Place) -> Option<OpenFile> {
        self.by_number.get_mut(&side)?.get_mut(number)?.take()
    }

    /// All of them, in the order of their places.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Place, &OpenFile)> {
        self.by_number.iter().flat_map(|(side, files)| {
            files.iter().enumerate().filter_map(|(number, open)| Some(((*side, number), open.as_ref()?)))
        })
    }

    /// Forgets the places of a side where no file is open any more.
    pub(super) fn forget_closed(&mut self) {
        self.by_number.retain(|_, files| files.iter().any(Option::is_some));
    }

    /// Bytes of memory that they and their places take, but for what they have.
    pub(super) fn memory(&self) -> usize {
        self.by_number.values().map(|files| files.capacity() * size_of::<Option<OpenFile>>()).sum()
    }
}

impl Index<Place> for OpenFiles {
    type Output = OpenFile;

    fn index(&self, place: Place) -> &OpenFile {
        self.get(place).expect("a file is open at this place")
    }
}
