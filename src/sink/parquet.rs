//! One Parquet file: encoded, counted and hashed while it is written.
//!
//! A closed file's size and SHA-256 are known without reading it again. Closed is not durable:
//! nothing here fsyncs.
//!
//! A row group is encoded when all its rows are there, one column after the other; it has
//! `sink.row_group_rows` at the most. Pages and dictionaries end at [`PAGE_BYTES`], and a single
//! value larger than that has a page of its own. Each chunk and page has its statistics. The footer
//! says who wrote the file:
//!
//! | key | value |
//! |---|---|
//! | `weir.pipeline` | the pipeline's name |
//! | `weir.pipeline_hash` | SHA-256 of its definition: the file's name in `ledger/pipelines/` |
//! | `weir.topic`, `weir.partition` | where all its rows come from |
//! | `weir.path` | its name in the dataset: hive keys and sequence, also where the file was copied elsewhere |
//! | `weir.dataset`, `weir.topic_id`, `weir.sequence` | the dataset's id, the topic's, and the number of the entry that names it |
//! | `weir.rows`, `weir.first_offset`, `weir.last_offset` | how many rows it has, and between which offsets |
//! | `weir.definition` | SHA-256 of the definition, its variables filled in |
//! | `weir.previous` | the checksum of the entry before the one that names it: which history it belongs to |

use std::collections::HashMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Fields, Schema};
use parquet::arrow::arrow_writer::{ArrowRowGroupWriterFactory, compute_leaves};
use parquet::arrow::{ArrowSchemaConverter, add_encoded_arrow_schema_to_metadata};
use parquet::basic::Compression;
use parquet::errors::ParquetError;
use parquet::file::metadata::{KeyValue, RowGroupMetaData};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::{ColumnPath, TypePtr};
use sha2::{Digest, Sha256};

use crate::model::Partition;
use crate::model::Pipeline;
use crate::model::window::EventTime;
use crate::sink::SinkError;

/// Bytes of a page, and of a dictionary before its column chunk goes on without one, about.
const PAGE_BYTES: usize = 1 << 20;

/// Rows of a page at the most.
const PAGE_ROWS: usize = 20_000;

/// How every file of a lane is written.
pub fn properties(pipeline: &Pipeline, partition: &Partition) -> WriterProperties {
    let key_values = [
        ("weir.pipeline", pipeline.name.clone()),
        ("weir.pipeline_hash", pipeline.hash.clone()),
        ("weir.topic", partition.topic.to_string()),
        ("weir.partition", partition.partition.to_string()),
    ];
    let codec = pipeline.sink.compression;
    let builder = WriterProperties::builder()
        // The format's own pattern: some readers distrust statistics of a writer that they can't
        // parse.
        .set_created_by(concat!("weir version ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(codec)
        .set_max_row_group_row_count(Some(pipeline.sink.row_group_rows))
        .set_data_page_row_count_limit(PAGE_ROWS)
        .set_data_page_size_limit(PAGE_BYTES)
        .set_dictionary_page_size_limit(PAGE_BYTES)
        .set_dictionary_enabled(true)
        // Each is another one: a dictionary would hold them all. Deltas would be smaller, but Flink
        // can't read them.
        .set_column_dictionary_enabled(ColumnPath::from("_kafka_offset"), false)
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_key_value_metadata(Some(key_values.map(|(key, value)| KeyValue::new(key.to_owned(), value)).into()));
    // Nearly every record has another timestamp where they come one by one; where many have the
    // same, a codec finds that, too.
    match codec {
        Compression::UNCOMPRESSED => builder,
        _ => builder.set_column_dictionary_enabled(ColumnPath::from(EventTime::KAFKA), false),
    }
    .build()
}

/// Rows of a file for which the set-up of codecs and dictionaries would be most of the work.
///
/// Each column of each file needs two zstd contexts, and zstd asks the processor for its abilities
/// each time, which a virtual machine makes slow; a dictionary needs a table of 70 KiB, and with
/// few rows saves little. A thousand partitions of 400 readings take 26 ns a byte with snappy and
/// without dictionaries and 41 with both, and the files are a fifth larger.
const FEW_ROWS: u64 = 1000;

/// The same for a file of at most [`FEW_ROWS`].
fn properties_for_few_rows(properties: &WriterProperties) -> WriterProperties {
    let codec = properties.compression(&ColumnPath::new(Vec::new()));
    let properties = properties.clone().into_builder();
    // One page a column: an index of pages would be longer than what it is good for.
    let properties = properties.set_statistics_enabled(EnabledStatistics::Chunk).set_offset_index_disabled(true);
    // Making a dictionary's table costs a column more than encoding so few values does, and the
    // codec finds repetitions, too.
    let properties = properties.set_dictionary_enabled(false);
    match codec {
        Compression::ZSTD(_) => properties.set_compression(Compression::SNAPPY),
        _ => properties,
    }
    .build()
}

/// Columns whose writers are made at once: each has the table of its dictionary from the beginning,
/// 70 KiB.
const COLUMNS_AT_ONCE: usize = 64;

/// How the files of one schema are written: what is the same for each of them is made once.
pub struct Recipe {
    /// What a file has, in Parquet's words.
    schema: TypePtr,
    usual: Style,
    few_rows: Style,
}

/// How a file is written.
#[derive(Clone)]
struct Style {
    properties: Arc<WriterProperties>,
    /// All columns, in order.
    columns: Arc<[Columns]>,
}

/// Some columns, and what makes their writers.
struct Columns {
    fields: Fields,
    writers: ArrowRowGroupWriterFactory,
}

impl Recipe {
    /// # Errors
    /// When a column has a type that Parquet has nothing for.
    pub fn new(rows: &Schema, properties: &WriterProperties) -> Result<Self, ParquetError> {
        let mut properties = properties.clone();
        // Parquet's own schema has the ids.
        let plain = rows.fields().iter().map(|field| field.as_ref().clone().with_metadata(HashMap::new()));
        add_encoded_arrow_schema_to_metadata(&Schema::new(plain.collect::<Vec<_>>()), &mut properties);
        let few_rows = Style::new(rows, properties_for_few_rows(&properties))?;
        let schema = ArrowSchemaConverter::new().convert(rows)?.root_schema_ptr();
        Ok(Recipe { schema, usual: Style::new(rows, properties)?, few_rows })
    }
}

impl Style {
    fn new(rows: &Schema, properties: WriterProperties) -> Result<Self, ParquetError> {
        let properties = Arc::new(properties);
        let columns = rows.fields().chunks(COLUMNS_AT_ONCE).map(|fields| {
            let schema = Arc::new(Schema::new(fields.to_vec()));
            let root = ArrowSchemaConverter::new().convert(&schema)?.root_schema_ptr();
            let file = SerializedFileWriter::new(io::sink(), root, properties.clone())?;
            let fields = schema.fields().clone();
            Ok(Columns { fields, writers: ArrowRowGroupWriterFactory::new(&file, schema) })
        });
        Ok(Style { columns: columns.collect::<Result<_, ParquetError>>()?, properties })
    }
}

/// A file that is being written.
pub struct ParquetFile {
    path: PathBuf,
    writer: SerializedFileWriter<HashedFile>,
    columns: Arc<[Columns]>,
    /// Rows of the next row group, in order.
    next: Vec<RecordBatch>,
    rows: u64,
}

/// What a closed file turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// Rows in it.
    pub rows: u64,
    /// Its size.
    pub bytes: u64,
    /// SHA-256 of its content, hex.
    pub sha256: String,
}

impl ParquetFile {
    /// Begins a new `file`, which was made at `path`; `name` is the one that it will be published
    /// under. `rows_max` is how many rows it gets, where that is known.
    pub fn new(
        file: Box<dyn Write + Send>,
        path: &Path,
        name: &str,
        recipe: &Recipe,
        rows_max: Option<u64>,
    ) -> Result<Self, SinkError> {
        let file = HashedFile { file, hash: Sha256::new(), bytes: 0 };
        let few = rows_max.is_some_and(|rows| rows <= FEW_ROWS);
        let Style { properties, columns } = if few { &recipe.few_rows } else { &recipe.usual }.clone();
        let writer = SerializedFileWriter::new(file, recipe.schema.clone(), properties);
        let writer = writer.map_err(failed(path))?;
        let mut file = ParquetFile { path: path.to_owned(), writer, columns, next: Vec::new(), rows: 0 };
        file.note("weir.path", name.to_owned());
        Ok(file)
    }

    /// Adds to what the footer says.
    pub fn note(&mut self, key: &str, value: String) {
        self.writer.append_key_value_metadata(KeyValue::new(key.to_owned(), value));
    }

    /// Adds rows to the next row group.
    pub fn write(&mut self, rows: RecordBatch) {
        self.rows += rows.num_rows() as u64;
        self.next.push(rows);
    }

    /// Encodes and writes the rows of the next row group; of several of about the same size where
    /// they are more than one may have.
    pub fn end_row_group(&mut self) -> Result<(), SinkError> {
        let next = std::mem::take(&mut self.next);
        let rows: usize = next.iter().map(RecordBatch::num_rows).sum();
        let most = self.writer.properties().max_row_group_row_count().unwrap_or(usize::MAX);
        let groups = groups(next, rows.div_ceil(rows.div_ceil(most).max(1)));
        groups.iter().try_for_each(|group| self.encode(group)).map_err(failed(&self.path))
    }

    /// One column after the other: each one's dictionary and what its codec keeps stay in the
    /// processor's caches, and in memory are those of one.
    fn encode(&mut self, batches: &[RecordBatch]) -> Result<(), ParquetError> {
        let mut group = self.writer.next_row_group()?;
        let mut index = 0;
        for Columns { fields, writers } in &*self.columns {
            // Columns are flat, so that each has one writer; which row group it is matters only
            // where it is encrypted.
            for (field, mut column) in fields.iter().zip(writers.create_column_writers(0)?) {
                for batch in batches {
                    for leaf in compute_leaves(field, batch.column(index))? {
                        column.write(&leaf)?;
                    }
                }
                column.close()?.append_to_row_group(&mut group)?;
                index += 1;
            }
        }
        group.close()?;
        Ok(())
    }

    /// Ends the file: writes what is left of it, and its footer.
    pub fn close(mut self) -> Result<Finished, SinkError> {
        self.end_row_group()?;
        let file = self.writer.into_inner().map_err(failed(&self.path))?;
        Ok(Finished { rows: self.rows, bytes: file.bytes, sha256: crate::model::names::hex(&file.hash.finalize()) })
    }

    /// Rows so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Bytes of its row groups.
    pub fn bytes(&self) -> u64 {
        self.writer.bytes_written() as u64
    }

    /// Bytes that it keeps in memory between row groups, about: a buffer, and what its footer will
    /// say.
    pub fn memory(&self) -> usize {
        let chunks: usize = self.writer.flushed_row_groups().iter().map(RowGroupMetaData::num_columns).sum();
        BUFFER_BYTES + chunks * CHUNK_BYTES
    }
}

/// Bytes of the writer's buffer.
const BUFFER_BYTES: usize = 8 << 10;

/// Bytes that a file keeps of a column of each row group until it is closed, about: what it is, and
/// its pages.
const CHUNK_BYTES: usize = 2 << 10;

/// The rows of batches in groups of `size`, in order; none of them empty.
fn groups(batches: Vec<RecordBatch>, size: usize) -> Vec<Vec<RecordBatch>> {
    let mut groups = Vec::new();
    let (mut group, mut room) = (Vec::new(), size);
    for batch in batches {
        let mut from = 0;
        while from < batch.num_rows() {
            let rows = room.min(batch.num_rows() - from);
            group.push(batch.slice(from, rows));
            (from, room) = (from + rows, room - rows);
            if room == 0 {
                groups.push(std::mem::take(&mut group));
                room = size;
            }
        }
    }
    groups.extend((!group.is_empty()).then_some(group));
    groups
}

fn failed(path: &Path) -> impl FnOnce(ParquetError) -> SinkError {
    let path = path.to_owned();
    move |source| SinkError::Write { path, source }
}

/// A file that counts and hashes what is written. The writer buffers in front of it.
struct HashedFile {
    file: Box<dyn Write + Send>,
    hash: Sha256,
    bytes: u64,
}

impl Write for HashedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hash.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use arrow::array::{ArrayRef, Int64Array, StringArray};
    use arrow::compute::concat_batches;
    use arrow::datatypes::{DataType, Field};
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

    use super::*;
    use crate::sink::testing::{partition, pipeline};

    /// Rows of 150 columns, of which every seventh is text.
    fn wide(first: i64, rows: i64) -> RecordBatch {
        let column = |at: i64| -> (Field, ArrayRef) {
            let values = (first..first + rows).map(|row| row * 1000 + at);
            let name = format!("c{at}");
            if at % 7 == 0 {
                let texts = StringArray::from_iter_values(values.map(|value| value.to_string()));
                return (Field::new(name, DataType::Utf8, false), Arc::new(texts));
            }
            let numbers = values.map(|value| (value % 11 != 0).then_some(value));
            (Field::new(name, DataType::Int64, true), Arc::new(numbers.collect::<Int64Array>()))
        };
        let (fields, columns): (Vec<_>, Vec<_>) = (0..150).map(column).unzip();
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
    }

    #[test]
    fn rows_of_many_columns_come_back_in_row_groups_of_the_same_size() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("wide.parquet");
        let mut pipeline = pipeline(&[]);
        pipeline.sink.row_group_rows = 1_000;
        let recipe = Recipe::new(&wide(0, 1).schema(), &properties(&pipeline, &partition())).unwrap();
        let mut file =
            ParquetFile::new(Box::new(std::fs::File::create(&path).unwrap()), &path, "data/a", &recipe, None).unwrap();
        let batches: Vec<_> = (0..9).map(|at| wide(at * 300, 300)).collect();
        let (begin, rest) = batches.split_at(4);
        begin.iter().for_each(|batch| file.write(batch.clone()));
        file.end_row_group().unwrap();
        rest.iter().for_each(|batch| file.write(batch.clone()));
        assert_eq!(file.close().unwrap().rows, 2_700);

        let reader = ParquetRecordBatchReaderBuilder::try_new(std::fs::File::open(&path).unwrap()).unwrap();
        let groups = reader.metadata().row_groups();
        assert_eq!(groups.iter().map(RowGroupMetaData::num_rows).collect::<Vec<_>>(), [600, 600, 750, 750]);
        let read: Vec<_> = reader.build().unwrap().map(Result::unwrap).collect();
        assert_eq!(concat_batches(&read[0].schema(), &read).unwrap(), wide(0, 2_700));
    }

    #[test]
    fn values_that_seldom_repeat_have_no_dictionary() {
        let column = || -> ArrayRef { Arc::new(Int64Array::from_iter_values(0..2_000)) };
        let rows = ["value", "_kafka_offset", "_kafka_timestamp"].map(|name| (name, column()));
        let rows = RecordBatch::try_from_iter(rows).unwrap();
        let with_dictionary = |compression| {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("some.parquet");
            let mut pipeline = pipeline(&[]);
            pipeline.sink.compression = compression;
            let recipe = Recipe::new(&rows.schema(), &properties(&pipeline, &partition())).unwrap();
            let file = Box::new(std::fs::File::create(&path).unwrap());
            let mut file = ParquetFile::new(file, &path, "data/a", &recipe, None).unwrap();
            file.write(rows.clone());
            file.close().unwrap();
            let reader = ParquetRecordBatchReaderBuilder::try_new(std::fs::File::open(&path).unwrap()).unwrap();
            let chunks = reader.metadata().row_group(0).columns().iter();
            let with = chunks.filter(|chunk| chunk.dictionary_page_offset().is_some());
            with.map(|chunk| chunk.column_path().string()).collect::<Vec<_>>()
        };
        assert_eq!(with_dictionary(Compression::SNAPPY), ["value"]);
        assert_eq!(with_dictionary(Compression::UNCOMPRESSED), ["value", "_kafka_timestamp"]);
    }
}
