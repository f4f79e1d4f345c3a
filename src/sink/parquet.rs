//! One Parquet file: encoded, counted and hashed while it is written.
//!
//! A closed file's size and SHA-256 are known without reading it again. Closed is not durable: nothing here fsyncs.
//!
//! Row groups end at `sink.row_group_rows` or at [`ROW_GROUP_BYTES`]; pages and dictionaries at [`PAGE_BYTES`], and a single
//! value larger than that has a page of its own. Each chunk and page has its statistics. The footer says who wrote the file:
//!
//! | key | value |
//! |---|---|
//! | `weir.pipeline` | the pipeline's name |
//! | `weir.pipeline_hash` | SHA-256 of its definition: the file's name in `ledger/pipelines/` |
//! | `weir.topic`, `weir.partition` | where all its rows come from |
//! | `weir.path` | its name in the dataset: hive keys and sequence, also where the file was copied elsewhere |

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::arrow::{ArrowSchemaConverter, ArrowWriter, add_encoded_arrow_schema_to_metadata};
use parquet::basic::Compression;
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::{ColumnPath, SchemaDescriptor};
use sha2::{Digest, Sha256};

use crate::pipeline::messages::Partition;
use crate::settings::Pipeline;
use crate::sink::SinkError;

/// Encoded bytes of a row group, about: what a file that is being written keeps in memory at the most.
pub(super) const ROW_GROUP_BYTES: usize = 32 << 20;

/// Bytes of a page, and of a dictionary before its column chunk goes on without one, about.
pub(super) const PAGE_BYTES: usize = 1 << 20;

/// Rows of a page at the most.
pub(super) const PAGE_ROWS: usize = 20_000;

/// How every file of a lane is written.
pub fn properties(pipeline: &Pipeline, partition: &Partition) -> WriterProperties {
    let key_values = [
        ("weir.pipeline", pipeline.name.clone()),
        ("weir.pipeline_hash", pipeline.hash.clone()),
        ("weir.topic", partition.topic.to_string()),
        ("weir.partition", partition.partition.to_string()),
    ];
    WriterProperties::builder()
        // The format's own pattern: some readers distrust statistics of a writer that they can't parse.
        .set_created_by(concat!("weir version ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(pipeline.sink.compression)
        .set_max_row_group_row_count(Some(pipeline.sink.row_group_rows))
        .set_max_row_group_bytes(Some(ROW_GROUP_BYTES))
        .set_data_page_row_count_limit(PAGE_ROWS)
        .set_data_page_size_limit(PAGE_BYTES)
        .set_dictionary_page_size_limit(PAGE_BYTES)
        .set_dictionary_enabled(true)
        // Each is another one: a dictionary would hold them all. Deltas would be smaller, but Flink can't read them.
        .set_column_dictionary_enabled(ColumnPath::from("_kafka_offset"), false)
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_key_value_metadata(Some(key_values.map(|(key, value)| KeyValue::new(key.to_owned(), value)).into()))
        .build()
}

/// Rows of a file for which the set-up of codecs and dictionaries would be most of the work.
///
/// Each column of each file needs two zstd contexts, and zstd asks the processor for its abilities each time, which a virtual
/// machine makes slow; a dictionary needs a table of 70 KiB, and with few rows saves little. A thousand partitions of 400 readings
/// take 26 ns a byte with snappy and without dictionaries and 41 with both, and the files are a fifth larger.
pub(super) const FEW_ROWS: u64 = 1000;

/// The same for a file of at most [`FEW_ROWS`].
fn properties_for_few_rows(properties: &WriterProperties) -> WriterProperties {
    let codec = properties.compression(&ColumnPath::new(Vec::new()));
    let properties = properties.clone().into_builder();
    // One page a column: an index of pages would be longer than what it is good for.
    let properties = properties.set_statistics_enabled(EnabledStatistics::Chunk).set_offset_index_disabled(true);
    // Making a dictionary's table costs a column more than encoding so few values does, and the codec finds repetitions, too.
    let properties = properties.set_dictionary_enabled(false);
    match codec {
        Compression::ZSTD(_) => properties.set_compression(Compression::SNAPPY),
        _ => properties,
    }
    .build()
}

/// How the files of one schema are written: what is the same for each of them is made once.
pub struct Recipe {
    /// What the rows have.
    pub schema: SchemaRef,
    descriptor: SchemaDescriptor,
    /// What the codecs of all columns keep once they have been used.
    codecs: usize,
    properties: WriterProperties,
    few_rows: WriterProperties,
}

impl Recipe {
    /// # Errors
    /// When a column has a type that Parquet has nothing for.
    pub fn new(schema: SchemaRef, properties: &WriterProperties) -> Result<Self, ParquetError> {
        let descriptor = ArrowSchemaConverter::new().convert(&schema)?;
        let mut properties = properties.clone();
        add_encoded_arrow_schema_to_metadata(&schema, &mut properties);
        let codecs = codecs_bytes(&properties, schema.fields().len());
        if codecs.is_none() {
            // A page is then as long as the row group, which ends by its bytes, and columns are compressed one after another.
            properties = properties.into_builder().set_data_page_row_count_limit(usize::MAX).build();
        }
        let (codecs, few_rows) = (codecs.unwrap_or(0), properties_for_few_rows(&properties));
        Ok(Recipe { codecs, descriptor, few_rows, properties, schema })
    }

    fn options(&self, rows_max: Option<u64>) -> ArrowWriterOptions {
        let few = rows_max.is_some_and(|rows| rows <= FEW_ROWS);
        let properties = if few { &self.few_rows } else { &self.properties };
        ArrowWriterOptions::new()
            .with_properties(properties.clone())
            // It is among the properties already.
            .with_skip_arrow_metadata(true)
            .with_parquet_schema(self.descriptor.clone())
    }
}

/// What the codecs of an open file may keep in memory: with zstd(3), those of 80 columns.
const CODECS_BYTES_MAX: usize = 32 << 20;

/// A file that is being written.
pub struct ParquetFile {
    path: PathBuf,
    writer: ArrowWriter<HashedFile>,
    rows: u64,
    /// What the codecs of all columns keep once they have been used.
    codecs: usize,
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
    /// Begins a new `file`, which was made at `path`; `name` is the one that it will be published under. `rows_max` is how many
    /// rows it gets, where that is known.
    pub fn new(
        file: Box<dyn Write + Send>,
        path: &Path,
        name: &str,
        recipe: &Recipe,
        rows_max: Option<u64>,
    ) -> Result<Self, SinkError> {
        let file = HashedFile { file, hash: Sha256::new(), bytes: 0 };
        let (schema, options) = (recipe.schema.clone(), recipe.options(rows_max));
        let mut writer = ArrowWriter::try_new_with_options(file, schema, options).map_err(failed(path))?;
        writer.append_key_value_metadata(KeyValue::new("weir.path".to_owned(), name.to_owned()));
        Ok(ParquetFile { path: path.to_owned(), writer, rows: 0, codecs: recipe.codecs })
    }

    /// Adds rows.
    pub fn write(&mut self, rows: &RecordBatch) -> Result<(), SinkError> {
        self.writer.write(rows).map_err(failed(&self.path))?;
        self.rows += rows.num_rows() as u64;
        Ok(())
    }

    /// Ends the file: writes what is left of it, and its footer.
    pub fn close(self) -> Result<Finished, SinkError> {
        let file = self.writer.into_inner().map_err(failed(&self.path))?;
        Ok(Finished { rows: self.rows, bytes: file.bytes, sha256: crate::ledger::hex(&file.hash.finalize()) })
    }

    /// Rows so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Bytes that the file would have, about, if it ended here.
    pub fn bytes(&self) -> u64 {
        (self.writer.bytes_written() + self.writer.in_progress_size()) as u64
    }

    /// Bytes that the open row group keeps in memory, about: some 70 KiB a column from the first row on.
    pub fn memory(&self) -> usize {
        let used = self.writer.in_progress_rows() > PAGE_ROWS;
        self.writer.memory_size() + if used { self.codecs } else { 0 }
    }
}

/// What the codecs of a file of so many columns keep while it is written. None where that is too much: columns are then
/// compressed one after another.
pub(super) fn codecs_bytes(properties: &WriterProperties, columns: usize) -> Option<usize> {
    let codecs = columns * codec_bytes(properties.compression(&ColumnPath::new(Vec::new())));
    (codecs <= CODECS_BYTES_MAX).then_some(codecs)
}

/// What a column's codec keeps from its first page to the end of its row group, which the writer doesn't count.
///
/// Measured as resident memory of files with 20 columns and 45,000 rows: for zstd 61 KiB a column at level 1, 407 at 3, 350 at
/// 6 and 9, 540 at 12, 690 at 15 to 22; 223 for gzip; none for the others.
fn codec_bytes(compression: Compression) -> usize {
    match compression {
        Compression::ZSTD(level) if level.compression_level() > 9 => 704 << 10,
        Compression::ZSTD(_) => 416 << 10,
        Compression::GZIP(_) => 224 << 10,
        _ => 0,
    }
}

fn failed(path: &Path) -> impl FnOnce(ParquetError) -> SinkError {
    let path = path.to_owned();
    move |source| SinkError::Write { path, source }
}

/// A file that counts and hashes what is written. `ArrowWriter` buffers in front of it.
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
