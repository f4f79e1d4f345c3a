//! Rows of every kind of file come back, in order, however files and row groups end.

use std::fs::File;
use std::time::Instant;

use arrow::array::AsArray;
use arrow::compute::concat_batches;
use arrow::datatypes::{Float64Type, Int64Type};
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::file::metadata::PageIndexPolicy;
use proptest::prelude::*;
use sha2::{Digest, Sha256};

use super::*;
use crate::model::Class;
use crate::model::names::StagedName;
use crate::model::window::{WindowId, WindowState};
use crate::sink::testing::{partition, parts, pipeline, rejects, rows, windower};
use crate::sink::{Pending, Roller, Step};

fn writer(root: &Path, pipeline: &Pipeline) -> LaneWriter {
    let mut number = 0;
    let names: Names = Box::new(move |side, path| {
        number += 1;
        let (staged, path) = (format!("{number}.parquet"), format!("{}/{path}/{number}.parquet", side.folder()));
        (StagedName { staged, path }, vec![("weir.sequence", "7".to_owned())])
    });
    LaneWriter::new(pipeline, &partition(), &rows(0, &[]).schema(), &rejects(vec![]).schema(), root, names).unwrap()
}

/// A file as one comparable value: side and hive path, windows, rows.
type Seen<'a> = (&'a str, Option<(u64, u64)>, u64);

fn seen(files: &[FileEntry]) -> Vec<Seen<'_>> {
    let number = |window| if let WindowId::Count(number) = window { number } else { unreachable!() };
    let seen = files.iter().map(|file| {
        let folder = file.path.rsplit_once('/').unwrap().0;
        (folder, file.windows.map(|(first, last)| (number(first), number(last))), file.rows)
    });
    seen.collect()
}

/// The hive paths that have rows and are not ended.
fn paths(writer: &LaneWriter) -> Vec<&str> {
    let mut paths: Vec<&str> = writer.open.iter().map(|(_, open)| open.path()).collect();
    paths.sort_unstable();
    paths
}

fn read(root: &Path, file: &FileEntry) -> (ArrowReaderMetadata, RecordBatch) {
    let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Required);
    let open = File::open(root.join(&file.staged)).unwrap();
    let metadata = ArrowReaderMetadata::load(&open, options).unwrap();
    let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(open, metadata.clone()).build().unwrap();
    let batches: Vec<_> = reader.map(Result::unwrap).collect();
    (metadata.clone(), concat_batches(metadata.schema(), &batches).unwrap())
}

#[test]
fn rows_and_rejects_come_back() {
    let root = tempfile::tempdir().unwrap();
    let mut writer = writer(root.path(), &pipeline(&["k"]));
    let keys = [Some("a"), Some("a"), Some("b"), Some("a"), Some("b")];
    writer.write(&parts(&mut windower(2), 0, &keys, 2)).unwrap();
    let files = writer.finish().unwrap();
    assert_eq!(seen(&files), [("data/k=a", Some((0, 1)), 3), ("data/k=b", Some((1, 2)), 2), ("rejects/", None, 2)]);

    let offsets = |index: usize| {
        let (_, rows) = read(root.path(), &files[index]);
        rows["_kafka_offset"].as_primitive::<Int64Type>().values().to_vec()
    };
    assert_eq!([offsets(0), offsets(1), offsets(2)], [vec![0, 1, 3], vec![2, 4], vec![5, 6]]);
    let (_, rows) = read(root.path(), &files[1]);
    assert_eq!(rows["value"].as_primitive::<Float64Type>().values(), &[1.0, 2.0]);
    assert!(rows.column_by_name("k").is_none());
}

#[test]
fn few_rows_get_a_codec_that_costs_little() {
    use parquet::basic::Compression::{GZIP, SNAPPY, ZSTD};
    let codec = |compression, rows: usize| {
        let root = tempfile::tempdir().unwrap();
        let mut pipeline = pipeline(&[]);
        pipeline.sink.compression = compression;
        let mut writer = writer(root.path(), &pipeline);
        writer.write(&parts(&mut windower(100), 0, &vec![None; rows], 0)).unwrap();
        let files = writer.finish().unwrap();
        let (metadata, read) = read(root.path(), &files[0]);
        assert_eq!(read.num_rows(), rows);
        let chunk = metadata.metadata().row_group(0).column(0);
        assert!(chunk.statistics().is_some());
        chunk.compression()
    };
    assert_eq!(codec(ZSTD(Default::default()), 1000), SNAPPY);
    assert!(matches!(codec(ZSTD(Default::default()), 1001), ZSTD(_)));
    assert!(matches!(codec(GZIP(Default::default()), 1000), GZIP(_)));
}

#[test]
fn every_file_is_alike_and_describes_itself() {
    let root = tempfile::tempdir().unwrap();
    let mut pipeline = pipeline(&["k"]);
    pipeline.sink.row_group_rows = 10_000;
    let mut writer = writer(root.path(), &pipeline);
    let keys: Vec<_> = (0..60_000).map(|index| if index < 25_000 { Some("a") } else { None }).collect();
    writer.write(&parts(&mut windower(100_000), 0, &keys, 0)).unwrap();
    let files = writer.finish().unwrap();
    assert_eq!(files.len(), 2);

    let mut schemas = Vec::new();
    for file in &files {
        let bytes = std::fs::read(root.path().join(&file.staged)).unwrap();
        assert!(bytes.len() > 16 << 10, "more than one buffer's worth");
        assert_eq!(file.bytes, bytes.len() as u64);
        assert_eq!(file.sha256, crate::model::names::hex(&Sha256::digest(&bytes)));

        let (metadata, rows) = read(root.path(), file);
        assert_eq!(rows.num_rows() as u64, file.rows);
        schemas.push(metadata.schema().fields().clone());
        let metadata = metadata.metadata();
        let footer = metadata.file_metadata();
        assert_eq!(footer.created_by(), Some(concat!("weir version ", env!("CARGO_PKG_VERSION"))));
        let about = |key: &str| {
            let found = footer.key_value_metadata().unwrap().iter().find(|entry| entry.key == key);
            found.and_then(|entry| entry.value.clone()).unwrap()
        };
        assert_eq!(about("weir.pipeline"), "air");
        assert_eq!(about("weir.pipeline_hash"), "abc");
        assert_eq!((about("weir.topic"), about("weir.partition")), ("readings".to_owned(), "3".to_owned()));
        assert_eq!(about("weir.path"), file.path);
        assert_eq!((about("weir.sequence"), about("weir.rows")), ("7".to_owned(), file.rows.to_string()));
        let offsets = rows["_kafka_offset"].as_primitive::<Int64Type>().values();
        assert_eq!(file.offsets, offsets.first().copied().zip(offsets.last().copied()));
        let (first, last) = file.offsets.unwrap();
        assert_eq!((about("weir.first_offset"), about("weir.last_offset")), (first.to_string(), last.to_string()));
        assert!(metadata.row_groups().iter().all(|group| group.num_rows() <= 10_000));
        for chunk in metadata.row_groups().iter().flat_map(|group| group.columns()) {
            let statistics = chunk.statistics().unwrap();
            assert!(statistics.min_bytes_opt().is_some() && statistics.max_bytes_opt().is_some());
            assert_eq!(statistics.null_count_opt(), Some(0));
            assert!(matches!(chunk.compression(), parquet::basic::Compression::ZSTD(_)));
        }
        assert!(metadata.page_index().is_some());
    }
    assert_eq!(schemas[0], schemas[1]);
}

#[test]
fn ended_files_wait_for_the_finish() {
    let root = tempfile::tempdir().unwrap();
    let mut writer = writer(root.path(), &pipeline(&[]));
    let mut windower = windower(2);
    assert_eq!(writer.finish().unwrap(), []);
    writer.write(&parts(&mut windower, 0, &[None; 4], 1)).unwrap();
    writer.end_files().unwrap();
    writer.write(&parts(&mut windower, 5, &[None; 2], 1)).unwrap();
    let files = writer.finish().unwrap();
    assert_eq!(seen(&files), [("data/", Some((0, 1)), 4), ("data/", Some((2, 2)), 2), ("rejects/", None, 2)]);
    writer.write(&parts(&mut windower, 8, &[], 1)).unwrap();
    assert_eq!(seen(&writer.finish().unwrap()), [("rejects/", None, 1)]);
    assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 4);
}

/// Bytes of rows that are enough for a row group here.
const GROUP_BYTES: usize = 100_000;

/// As many rows: none takes less than two numbers.
const GROUP_ROWS: usize = GROUP_BYTES / 16;

/// A writer whose files end row groups where waiting rows take `memory`.
fn writer_within(root: &Path, pipeline: &Pipeline, memory: usize) -> LaneWriter {
    LaneWriter { row_group_bytes: GROUP_BYTES, ..writer(root, pipeline) }.within(memory)
}

#[test]
fn one_key_too_many_ends_the_largest_file() {
    let root = tempfile::tempdir().unwrap();
    let mut pipeline = pipeline(&["k"]);
    pipeline.sink.max_keys = 2;
    // Row groups end with each write.
    let mut writer = writer_within(root.path(), &pipeline, 1);
    let (mut windower, mut next) = (windower(1_000_000), 0);
    for (key, times) in [("a", 1), ("b", 2), ("c", 1), ("b", 1)] {
        let rows = times * GROUP_ROWS;
        writer.write(&parts(&mut windower, next, &vec![Some(key); rows], 0)).unwrap();
        next += rows as i64;
    }
    assert_eq!(paths(&writer), ["k=a", "k=b"]);
    assert!(!writer.is_full());
    let (windows, rows) = (Some((0, 0)), GROUP_ROWS as u64);
    assert_eq!(
        seen(&writer.finish().unwrap()),
        [
            ("data/k=b", windows, 2 * rows),
            ("data/k=c", windows, rows),
            ("data/k=a", windows, rows),
            ("data/k=b", windows, rows)
        ]
    );
}

#[test]
fn a_file_that_another_ends_in_the_same_write() {
    let root = tempfile::tempdir().unwrap();
    let mut pipeline = pipeline(&["k"]);
    pipeline.sink.max_keys = 1;
    let mut writer = writer_within(root.path(), &pipeline, 1);
    let (mut windower, rows) = (windower(1_000_000), GROUP_ROWS);
    writer.write(&parts(&mut windower, 0, &vec![Some("b"); 2 * rows], 0)).unwrap();
    // Both have enough for a row group, but the first one's makes the other one end.
    let keys: Vec<_> = (0..2 * rows).map(|row| if row < rows { Some("a") } else { Some("b") }).collect();
    writer.write(&parts(&mut windower, 2 * rows as i64, &keys, 0)).unwrap();
    assert_eq!((paths(&writer), writer.made.len(), writer.finished.files.len()), (vec!["k=a"], 1, 1));
    let files = writer.finish().unwrap();
    assert_eq!(files.iter().map(|file| file.rows).sum::<u64>(), 4 * rows as u64);
    assert_eq!(writer.memory(), 0);
}

/// Rows of each row group of a file.
fn row_groups(root: &Path, file: &FileEntry) -> Vec<i64> {
    let (metadata, _) = read(root, file);
    metadata.metadata().row_groups().iter().map(|group| group.num_rows()).collect()
}

#[test]
fn rows_wait_until_they_take_the_memory() {
    let root = tempfile::tempdir().unwrap();
    let mut writer = writer_within(root.path(), &pipeline(&["k"]), 2 * GROUP_BYTES);
    let (mut windower, mut most) = (windower(1_000_000), 0);
    for at in 0..100 {
        writer.write(&parts(&mut windower, at * 500, &[Some("a"); 500], 0)).unwrap();
        most = most.max(writer.waiting_bytes());
    }
    assert!(most < 2 * GROUP_BYTES, "{most} bytes");
    let files = writer.finish().unwrap();
    let groups = row_groups(root.path(), &files[0]);
    assert!((4..20).contains(&groups.len()) && groups[..3].iter().all(|rows| *rows > 2_000), "{groups:?}");
    let (_, rows) = read(root.path(), &files[0]);
    let offsets = rows["_kafka_offset"].as_primitive::<Int64Type>();
    assert_eq!(offsets.values(), &(0..50_000).collect::<Vec<_>>());
    assert_eq!(writer.memory(), 0);
}

#[test]
fn few_rows_of_many_files_are_no_row_groups() {
    let root = tempfile::tempdir().unwrap();
    let mut writer = writer_within(root.path(), &pipeline(&["k"]), GROUP_BYTES);
    let keys: Vec<String> = (0..10).map(|key| key.to_string()).collect();
    let batch: Vec<_> = (0..500).map(|row| Some(keys[row % 10].as_str())).collect();
    let mut windower = windower(1_000_000);
    for at in 0..100 {
        writer.write(&parts(&mut windower, at * 500, &batch, 0)).unwrap();
    }
    // Not even where all of them together take more than the lane's share: that is for a commit.
    assert!(writer.made.is_empty() && writer.waiting_bytes() > 2 * GROUP_BYTES);
    let files = writer.finish().unwrap();
    assert!(files.iter().all(|file| row_groups(root.path(), file) == [5_000]));
}

#[test]
fn rows_of_other_files_do_not_keep_a_row_group_in_memory() {
    let root = tempfile::tempdir().unwrap();
    let mut writer = writer_within(root.path(), &pipeline(&["k"]), 2 * GROUP_BYTES);
    // One in a hundred is of another key.
    let batch: Vec<_> = (0..500).map(|row| Some(if row % 100 == 7 { "b" } else { "a" })).collect();
    let mut windower = windower(1_000_000);
    for at in 0..100 {
        writer.write(&parts(&mut windower, at * 500, &batch, 0)).unwrap();
        assert!(writer.waiting_bytes() < 2 * GROUP_BYTES, "{} bytes", writer.waiting_bytes());
    }
    assert_eq!(writer.made.len(), 1);
    let files = writer.finish().unwrap();
    let offsets = |file| {
        let (_, rows) = read(root.path(), file);
        rows["_kafka_offset"].as_primitive::<Int64Type>().values().to_vec()
    };
    let of_key = |key: &str| files.iter().find(|file| file.path.contains(key)).unwrap();
    assert_eq!(offsets(of_key("k=b")), (0..50_000).filter(|row| row % 100 == 7).collect::<Vec<i64>>());
    assert_eq!(offsets(of_key("k=a")), (0..50_000).filter(|row| row % 100 != 7).collect::<Vec<i64>>());
}

#[test]
fn a_row_group_ends_before_it_has_too_many_rows() {
    let root = tempfile::tempdir().unwrap();
    let mut pipeline = pipeline(&["k"]);
    pipeline.sink.row_group_rows = 1_000;
    let mut writer = writer(root.path(), &pipeline);
    let mut windower = windower(1_000_000);
    for at in 0..50 {
        writer.write(&parts(&mut windower, at * 300, &[Some("a"); 300], 0)).unwrap();
        let waiting: u64 = writer.open.iter().map(|(_, open)| open.waiting_rows()).sum();
        assert!(waiting < 900, "{waiting} rows wait");
    }
    let files = writer.finish().unwrap();
    let groups = row_groups(root.path(), &files[0]);
    assert!(groups[..16].iter().all(|rows| *rows == 900) && groups[16..] == [600], "{groups:?}");
}

#[test]
fn rows_of_texts_end_a_row_group_by_their_bytes() {
    let mut writer = writer(Path::new("/nowhere"), &pipeline(&[]));
    // Those that another one's average hides.
    let place = (Side::Data, 0);
    let open = writer.open.get_or_open(place, || "".into());
    open.count(1, None);
    writer.notes += open.wait(0..1, ROW_GROUP_BYTES_MAX);
    writer.waiting.entry(Side::Data).or_default().push(rows(0, &[None])).unwrap();
    let error = writer.settle(place).unwrap_err();
    assert!(matches!(error, SinkError::Create { .. }), "it is made: {error}");
}

#[test]
fn a_file_that_has_its_bytes_for_want_of_memory_ends() {
    let root = tempfile::tempdir().unwrap();
    let mut pipeline = pipeline(&["k"]);
    pipeline.sink.roll.bytes = 40_000;
    let mut writer = writer_within(root.path(), &pipeline, 1);
    // Rows seem to become far fewer bytes than they do.
    writer.encoded.insert(Side::Data, (1_000_000, 1));
    writer.write(&parts(&mut windower(1_000_000), 0, &[Some("a"); 10 * GROUP_ROWS], 0)).unwrap();
    assert!(writer.is_full() && paths(&writer).is_empty());
}

#[test]
fn a_file_has_its_bytes_whatever_memory_there_is() {
    for memory in [1, usize::MAX] {
        let root = tempfile::tempdir().unwrap();
        let mut pipeline = pipeline(&["k"]);
        pipeline.sink.roll.bytes = 400_000;
        let mut writer = writer(root.path(), &pipeline).within(memory);
        let (mut windower, mut next) = (windower(10_000_000), 0);
        for _ in 0..3 {
            while !writer.is_full() {
                writer.write(&parts(&mut windower, next, &[Some("a"); 5_000], 0)).unwrap();
                next += 5_000;
            }
            let files = writer.finish().unwrap();
            let groups = row_groups(root.path(), &files[0]);
            assert!(files.len() == 1 && (400_000..500_000).contains(&files[0].bytes), "{} bytes", files[0].bytes);
            // What the first file learned of its bytes, the others know.
            assert!(groups.len() <= 5, "{groups:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..Default::default() })]

    /// Whatever is made early, late, ended for another one or begun again: each key's rows are in its files, in their order.
    #[test]
    fn each_row_is_in_a_file_of_its_key_in_order(
        batches in prop::collection::vec((prop::collection::vec((0usize..5, 1usize..4_000), 1..5), any::<bool>()), 1..25),
        (max_keys, memory, bytes_max) in (1usize..4, 1usize..400_000, prop_oneof![Just(50_000u64), Just(1 << 30)]),
        row_group_rows in prop_oneof![Just(700usize), Just(131_072)],
    ) {
        let root = tempfile::tempdir().unwrap();
        let mut pipeline = pipeline(&["k"]);
        (pipeline.sink.max_keys, pipeline.sink.roll.bytes) = (max_keys, bytes_max);
        pipeline.sink.row_group_rows = row_group_rows;
        let mut writer = LaneWriter { row_group_bytes: memory / 4, ..writer(root.path(), &pipeline) }.within(memory);
        let (mut windower, mut next) = (windower(1_000_000), 0);
        let mut expected = BTreeMap::<&str, Vec<i64>>::new();
        for (runs, ends) in &batches {
            let keys: Vec<&str> = runs.iter().flat_map(|(key, rows)| vec![["a", "b", "c", "d", "e"][*key]; *rows]).collect();
            for (key, offset) in keys.iter().zip(next..) {
                expected.entry(key).or_default().push(offset);
            }
            let some: Vec<_> = keys.iter().map(|key| Some(*key)).collect();
            writer.write(&parts(&mut windower, next, &some, 3)).unwrap();
            next += keys.len() as i64 + 3;
            if *ends {
                writer.end_files().unwrap();
            }
        }
        let files = writer.finish().unwrap();
        prop_assert_eq!(writer.memory(), 0);
        for (key, expected) in expected {
            let folder = format!("data/k={key}/");
            let of_key = files.iter().filter(|file| file.path.starts_with(&folder));
            let found: Vec<i64> = of_key.flat_map(|file| {
                let (_, rows) = read(root.path(), file);
                rows["_kafka_offset"].as_primitive::<Int64Type>().values().to_vec()
            }).collect();
            prop_assert_eq!(found, expected);
        }
        let rejects: u64 = files.iter().filter(|file| file.side == Side::Rejects).map(|file| file.rows).sum();
        prop_assert_eq!(rejects, 3 * batches.len() as u64);
    }
}

/// Else each value of each row would be read from another place in memory.
#[test]
fn rows_wait_in_the_order_in_which_their_files_end() {
    let root = tempfile::tempdir().unwrap();
    let mut writer = writer(root.path(), &pipeline(&["k"]));
    let mut windower = windower(100);
    let mut write = |writer: &mut LaneWriter| {
        writer.write(&parts(&mut windower, 0, &["b", "a", "c"].map(Some), 0)).unwrap();
        writer.write(&parts(&mut windower, 3, &["c", "d", "a", "b", "a"].map(Some), 0)).unwrap();
    };
    write(&mut writer);
    let files = writer.finish().unwrap();
    let folders: Vec<&str> = seen(&files).iter().map(|file| file.0).collect();
    assert_eq!(folders, ["data/k=b", "data/k=a", "data/k=c", "data/k=d"]);

    write(&mut writer);
    let mut waiting = |number| {
        let open = writer.open.get_mut((Side::Data, number)).unwrap();
        (open.path().to_owned(), open.take_waiting().last().unwrap().clone())
    };
    assert_eq!(
        [0, 1, 2, 3].map(&mut waiting),
        [("k=b", 11..12), ("k=a", 12..14), ("k=c", 14..15), ("k=d", 15..16)].map(|(path, run)| (path.to_owned(), run))
    );
}

#[test]
fn a_few_rows_each_need_no_file_and_little_memory() {
    let root = tempfile::tempdir().unwrap();
    let mut writer = writer(root.path(), &pipeline(&["k"]));
    let keys: Vec<String> = (0..3_000).map(|key| key.to_string()).collect();
    let keys: Vec<_> = keys.iter().map(|key| Some(key.as_str())).collect();
    let mut windower = windower(100_000);
    for batch in 0..10 {
        writer.write(&parts(&mut windower, batch * 3_000, &keys, 0)).unwrap();
    }
    assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 0);
    assert!(writer.memory() < 20 << 20, "{} bytes for 3,000 keys of 10 rows", writer.memory());
    let files = writer.finish().unwrap();
    assert_eq!((files.len(), files.iter().map(|file| file.rows).sum::<u64>()), (3_000, 30_000));
    assert_eq!(writer.memory(), 0);
}

#[test]
fn a_file_with_all_its_bytes_ends() {
    let root = tempfile::tempdir().unwrap();
    let mut pipeline = pipeline(&["k"]);
    pipeline.sink.roll.bytes = 4000;
    let mut writer = writer(root.path(), &pipeline);
    let mut windower = windower(1000);
    let many: Vec<_> = [Some("b")].into_iter().chain([Some("a"); 9_999]).collect();
    writer.write(&parts(&mut windower, 0, &many[..2], 0)).unwrap();
    assert!(!writer.is_full());
    writer.write(&parts(&mut windower, 2, &many, 0)).unwrap();
    assert!(writer.is_full());
    assert!(writer.memory() > 0);
    assert_eq!(paths(&writer), ["k=b"]);
    writer.finish().unwrap();
    assert!(!writer.is_full());
    assert_eq!(writer.memory(), 0);
}

#[test]
fn a_rejects_file_with_all_its_bytes_ends() {
    let root = tempfile::tempdir().unwrap();
    let mut pipeline = pipeline(&[]);
    pipeline.sink.roll.bytes = 4000;
    let mut writer = writer(root.path(), &pipeline);
    writer.write(&parts(&mut windower(1000), 0, &[None], 2000)).unwrap();
    assert!(writer.is_full() && writer.open.iter().all(|(place, _)| place != REJECTS));
    assert_eq!(seen(&writer.finish().unwrap()), [("rejects/", None, 2000), ("data/", Some((0, 0)), 1)]);
}

#[test]
fn a_missing_folder_is_named() {
    let root = tempfile::tempdir().unwrap();
    let mut writer = writer(&root.path().join("gone"), &pipeline(&[]));
    writer.write(&parts(&mut windower(2), 0, &[None], 0)).unwrap();
    let error = writer.finish().unwrap_err();
    assert!(matches!(&error, SinkError::Create { path, .. } if path.ends_with("gone/1.parquet")), "{error}");
}

#[test]
fn plans_give_whole_commits() {
    let root = tempfile::tempdir().unwrap();
    let mut pipeline = pipeline(&["k"]);
    pipeline.sink.roll.windows = 2;
    let mut writer = writer(root.path(), &pipeline);
    let (mut windower, mut roller) = (windower(10), Roller::new(pipeline.sink.roll));
    let mut pending = Pending::new(0, WindowState::Count { window: 0, rows: 0 }, None);
    let mut commits = Vec::new();
    for batch in 0..3 {
        let keys: Vec<_> = (0..45).map(|row| Some(["a", "b", "c"][row % 3])).collect();
        let parts = parts(&mut windower, batch * 50, &keys, 5);
        for step in roller.plan(&parts) {
            match step {
                Step::Write(range) => {
                    writer.write(&parts[range.clone()]).unwrap();
                    parts[range].iter().for_each(|part| pending.add(part, None, Instant::now()));
                }
                Step::EndFiles => writer.end_files().unwrap(),
                Step::Commit(_) => {
                    let files = writer.finish().unwrap();
                    let taken = pending.take();
                    taken.assert_files(&files);
                    commits.push((taken.range.to, taken.counts[Class::Row], files.len()));
                }
            }
        }
    }
    assert_eq!(commits, [(40, 40, 6), (85, 40, 7), (130, 40, 7)]);
    pending.assert_files(&writer.finish().unwrap());
}
