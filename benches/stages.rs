//! What each stage of a lane takes by itself: `cargo bench --bench stages`.
//!
//! Checked and encoded are batches that follow each other as in a topic of all shipped readings, not one that the caches and the
//! processor's guesses know by heart.

use std::path::Path;

use divan::Bencher;
use divan::counter::ItemsCount;
use weir::cli::readings;
use weir::flow::messages::WindowedPart;
use weir::ledger::{ColumnIdentity, Committer, Dataset, Definition, Identity, NextEntry};
use weir::model::Pipeline;
use weir::model::names::StagedName;
use weir::model::schema::{data_schema, rejects_schema};
use weir::model::{Partition, Range, RawRecords};
use weir::model::{Reason, Side};
use weir::sink::LaneWriter;
use weir::validate::Checker;
use weir::window::resume;

/// Records of a batch: a mebibyte of readings, as the source hands on.
const RECORDS: usize = 3_500;

/// Batches that follow each other: eleven times all readings.
const BATCHES: usize = 30;

fn main() {
    divan::main();
}

/// Bytes to columns, and the rules.
#[divan::bench]
fn check(bencher: Bencher) {
    let (pipeline, batches) = (pipeline(), batches());
    let mut checker = Checker::new(&pipeline);
    let mut next = batches.iter().cycle();
    let batch = || next.next().expect("they go round");
    bencher
        .counter(ItemsCount::new(RECORDS))
        .with_inputs(batch)
        .bench_local_values(|records| checker.check(&partition(), records));
}

/// Rows to windows of 100.
#[divan::bench]
fn window(bencher: Bencher) {
    let pipeline = pipeline();
    let checked = Checker::new(&pipeline).check(&partition(), &batches()[0]);
    let mut windows = resume(&pipeline.window, None);
    bencher.counter(ItemsCount::new(RECORDS)).bench_local(|| windows.assign(range(0), checked.clone()));
}

/// Rows in windows of 100 to Parquet files of so many batches.
#[divan::bench(args = [1, 3, BATCHES])]
fn encode(bencher: Bencher, batches: usize) {
    let pipeline = pipeline();
    let parts = windowed(&pipeline);
    let mut next = parts.iter().cycle();
    let folder = tempfile::tempdir().expect("a folder");
    let (mut writer, files) = (writer(&pipeline, folder.path()), ItemsCount::new(RECORDS * batches));
    bencher.counter(files).bench_local(|| {
        next.by_ref().take(batches).for_each(|parts| writer.write(parts).expect("rows are written"));
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
    let definition = Definition::of(&pipeline);
    let dataset = Dataset::open(folder.path(), &identity, definition).expect("a dataset");
    dataset.topic("bench", "id", partitions).expect("a topic");
    let mut chains: Vec<_> = (0..partitions)
        .map(|partition| {
            let chain = dataset.chain("bench", "id", partition);
            let tip = chain.start(0, pipeline.window.kind().first_state()).expect("entry 0");
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

fn range(batch: usize) -> Range {
    let [from, to] = [batch, batch + 1].map(|batch| (batch * RECORDS) as i64);
    Range { from, to }
}

/// The readings in their order, as often as it takes.
fn batches() -> Vec<RawRecords> {
    let readings: Vec<_> = readings::readings().iter().map(|reading| reading.to_json(readings::STATION)).collect();
    let mut readings = readings.iter().cycle().zip(0..);
    let mut batch = || {
        let mut records = RawRecords::default();
        for (reading, offset) in readings.by_ref().take(RECORDS) {
            records.push(offset, Some(1_700_000_000_000 + offset), None, Some(reading));
        }
        records
    };
    (0..BATCHES).map(|_| batch()).collect()
}

/// All batches as the sink gets them.
fn windowed(pipeline: &Pipeline) -> Vec<Vec<WindowedPart>> {
    let (mut checker, mut windows) = (Checker::new(pipeline), resume(&pipeline.window, None));
    let batches = batches();
    let checked = batches.iter().map(|records| checker.check(&partition(), records));
    checked.enumerate().map(|(batch, checked)| windows.assign(range(batch), checked)).collect()
}

fn writer(pipeline: &Pipeline, root: &Path) -> LaneWriter {
    let mut number = 0;
    let names = Box::new(move |_: Side, _: &str| {
        number += 1;
        let (path, staged) = (format!("data/{number}.parquet"), format!("{number}.parquet"));
        (StagedName { path, staged }, Vec::new())
    });
    LaneWriter::new(pipeline, &partition(), &data_schema(pipeline), &rejects_schema(), root, names).expect("a writer")
}
