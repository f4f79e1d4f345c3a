//! What each stage of a lane takes by itself, on batches of the shipped readings: `cargo bench --bench stages`.

use std::path::Path;

use divan::Bencher;
use divan::counter::ItemsCount;
use weir::decode::schema::{data_schema, rejects_schema};
use weir::ledger::{ColumnIdentity, Committer, Dataset, Definition, Identity, NextEntry, Reason, Side, StagedName};
use weir::pipeline::messages::{CheckedRecords, Partition, Range, RawRecords, WindowedPart};
use weir::readings;
use weir::settings::Pipeline;
use weir::sink::LaneWriter;
use weir::validate::Checker;
use weir::window::{Windows, initial_state};

/// Records of a batch: a mebibyte of readings, as the source hands on.
const RECORDS: usize = 3_500;

fn main() {
    divan::main();
}

/// Bytes to columns, and the rules.
#[divan::bench]
fn check(bencher: Bencher) {
    let (pipeline, records) = (pipeline(), records());
    let mut checker = Checker::new(&pipeline);
    bencher.counter(ItemsCount::new(RECORDS)).bench_local(|| checker.check(&partition(), &records));
}

/// Rows to windows of 100.
#[divan::bench]
fn window(bencher: Bencher) {
    let pipeline = pipeline();
    let checked = checked(&pipeline);
    let mut windows = Windows::new(&pipeline.window, None);
    bencher.counter(ItemsCount::new(RECORDS)).bench_local(|| windows.assign(range(), checked.clone()));
}

/// Rows in windows of 100 to Parquet files of so many batches.
#[divan::bench(args = [1, 3, 30])]
fn encode(bencher: Bencher, batches: usize) {
    let pipeline = pipeline();
    let parts = parts(&pipeline);
    let folder = tempfile::tempdir().expect("a folder");
    let (mut writer, files) = (writer(&pipeline, folder.path()), ItemsCount::new(RECORDS * batches));
    bencher.counter(files).bench_local(|| {
        (0..batches).for_each(|_| writer.write(&parts).expect("rows are written"));
        for file in writer.finish().expect("files end") {
            std::fs::remove_file(folder.path().join(file.staged)).expect("the file is there");
        }
    });
}

/// Entries of so many partitions made durable together; without files.
#[divan::bench(args = [1, 16, 256])]
fn commit(bencher: Bencher, partitions: i32) {
    let pipeline = pipeline();
    let folder = tempfile::tempdir().expect("a folder");
    let identity = Identity {
        name: pipeline.name.clone(),
        cluster_id: "bench".to_owned(),
        columns: ColumnIdentity::of(&data_schema(&pipeline)),
        partition_by: pipeline.sink.partition_by.clone(),
        window: "count".to_owned(),
    };
    let definition = Definition { hash: pipeline.hash.clone(), text: pipeline.text.clone() };
    let dataset = Dataset::open(folder.path(), &identity, definition).expect("a dataset");
    dataset.topic("bench", "id", partitions).expect("a topic");
    let mut chains: Vec<_> = (0..partitions)
        .map(|partition| {
            let chain = dataset.chain("bench", "id", partition);
            let tip = chain.start(0, initial_state(&pipeline.window)).expect("entry 0");
            (chain, tip)
        })
        .collect();
    let committer = Committer::start(dataset);
    bencher.counter(ItemsCount::new(partitions as usize)).bench_local(|| {
        let entries = chains.iter().map(|(chain, tip)| {
            let next = NextEntry {
                to: tip.to + 100,
                last: None,
                counts: Default::default(),
                window: tip.window.clone(),
                tallies: Vec::new(),
                reason: Reason::Age,
                files: Vec::new(),
            };
            committer.commit(chain.entry(tip, next))
        });
        let replies: Vec<_> = entries.collect();
        for ((_, tip), reply) in chains.iter_mut().zip(replies) {
            *tip = reply.blocking_recv().expect("the committer lives").expect("the entry is committed");
        }
    });
}

fn pipeline() -> Pipeline {
    let text = include_str!("../pipelines/air_quality.toml");
    Pipeline::parse("air_quality.toml", text, &|_| None).expect("the shipped pipeline")
}

fn partition() -> Partition {
    Partition { topic: "bench".into(), partition: 0 }
}

fn range() -> Range {
    Range { from: 0, to: RECORDS as i64 }
}

fn records() -> RawRecords {
    let mut records = RawRecords::default();
    for (at, reading) in readings::readings().iter().take(RECORDS).enumerate() {
        records.push(at as i64, Some(1_700_000_000_000), None, Some(&reading.to_json(readings::STATION)));
    }
    records
}

fn checked(pipeline: &Pipeline) -> CheckedRecords {
    Checker::new(pipeline).check(&partition(), &records())
}

fn parts(pipeline: &Pipeline) -> Vec<WindowedPart> {
    Windows::new(&pipeline.window, None).assign(range(), checked(pipeline))
}

fn writer(pipeline: &Pipeline, root: &Path) -> LaneWriter {
    let mut number = 0;
    let names = Box::new(move |_: Side, _: &str| {
        number += 1;
        StagedName { path: format!("data/{number}.parquet"), staged: format!("{number}.parquet") }
    });
    LaneWriter::new(pipeline, &partition(), &data_schema(pipeline), &rejects_schema(), root, names).expect("a writer")
}
