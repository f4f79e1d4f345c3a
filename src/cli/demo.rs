//! `weir demo`: the whole path on real readings, from an empty folder to files that a notebook opens.
//!
//! Without `--brokers` the broker is librdkafka's mock cluster, in this process: a real client, group and offsets, but no
//! transactions and nothing that outlives the process. With it, the same on a real one.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Args;
use rdkafka::mocking::MockCluster;

use super::FAILED;
use super::produce::{ensure_topic, produce_all, producer_config};
use super::run::{Until, execute};
use super::show;
use crate::base::logging;
use crate::base::words::{bytes, number, plural};
use crate::cli::readings;
use crate::kafka::{Broker, client_config};
use crate::ledger;
use crate::model::Pipeline;
use crate::model::{Class, Partition};
use crate::settings::Service;

/// The pipeline that the demo runs: the shipped file.
const PIPELINE: &str = include_str!("../../pipelines/air_quality.toml");
const PIPELINE_FILE: &str = "pipelines/air_quality.toml";
const TOPIC: &str = "air-quality-data";
const PARTITIONS: i32 = 3;
/// How the embedded broker's cluster id begins; a real cluster's is base64 of random bits.
const EMBEDDED_CLUSTER: &str = "mockCluster";

/// Arguments of `weir demo`.
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Use this Kafka instead of the broker inside the process: host:port
    #[arg(long)]
    brokers: Option<String>,
    /// Delete the dataset of an earlier demo and make it again
    #[arg(long, conflicts_with = "brokers")]
    again: bool,
}

/// Runs the command.
pub(crate) fn demo(args: &DemoArgs) -> ExitCode {
    match show_all(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => super::fail(FAILED, &format!("{error:#}")),
    }
}

fn show_all(args: &DemoArgs) -> anyhow::Result<()> {
    let mut settings = Service::load()?;
    // The story is told on stdout; what goes wrong still is on stderr.
    settings.log.level = "warn".into();
    logging::start(&settings.log, false).map_err(anyhow::Error::msg)?;
    match &args.brokers {
        Some(brokers) => on_a_real_broker(brokers, &settings),
        None => on_the_embedded_broker(args.again, &settings),
    }
}

fn on_the_embedded_broker(again: bool, settings: &Service) -> anyhow::Result<()> {
    let folder = dataset(&pipeline("localhost:9092")?)?;
    if folder.exists() {
        if !again {
            println!("The demo's dataset is already there; `weir demo --again` deletes it and makes it again.\n");
            return describe(&folder);
        }
        let made_for = ledger::Dataset::existing(&folder)?.identity().cluster_id.clone();
        if !made_for.starts_with(EMBEDDED_CLUSTER) {
            bail!(
                "{} holds records of the cluster {made_for}, not of the embedded broker: --again does not delete it",
                folder.display()
            );
        }
        std::fs::remove_dir_all(&folder).with_context(|| format!("cannot delete {}", folder.display()))?;
    }
    let cluster = MockCluster::new(1).context("the embedded broker could not start")?;
    cluster.create_topic(TOPIC, PARTITIONS, 1).context("the embedded broker could not make the topic")?;
    println!(
        "Broker: librdkafka's mock cluster inside this process (a real client and real offsets, but no transactions)."
    );
    produce(&cluster.bootstrap_servers())?;
    run(&cluster.bootstrap_servers(), settings)?;
    describe(&folder)
}

fn on_a_real_broker(brokers: &str, settings: &Service) -> anyhow::Result<()> {
    println!("Broker: {brokers}.");
    let config = producer_config(brokers);
    ensure_topic(&config, TOPIC, PARTITIONS)?;
    let partitions: Vec<_> = (0..PARTITIONS).map(|partition| Partition { topic: TOPIC.into(), partition }).collect();
    let there = Broker::new(&client_config(&pipeline(brokers)?.source, 1 << 20))?.bounds(&partitions)?;
    if there.values().all(|bounds| bounds.start == bounds.end) {
        produce(brokers)?;
    } else {
        println!("Topic:  {TOPIC} has records already: nothing is sent again.");
    }
    run(brokers, settings)?;
    describe(&dataset(&pipeline(brokers)?)?)
}

fn pipeline(brokers: &str) -> anyhow::Result<Pipeline> {
    let environment = |name: &str| match name {
        "KAFKA_BROKERS" => Some(brokers.to_owned()),
        other => std::env::var(other).ok(),
    };
    Pipeline::parse(PIPELINE_FILE, PIPELINE, &environment).map_err(|broken| anyhow::anyhow!("{}", broken.report()))
}

fn dataset(pipeline: &Pipeline) -> anyhow::Result<PathBuf> {
    Ok(std::path::absolute(pipeline.folder())?)
}

fn produce(brokers: &str) -> anyhow::Result<()> {
    let records = readings::with_broken();
    let broken = readings::broken().len();
    println!(
        "Topic:  {TOPIC}, {}: {} real readings (UCI Air Quality, CC BY 4.0) and {broken} records broken on purpose.",
        plural(PARTITIONS.unsigned_abs().into(), "partition"),
        number((records.len() - broken) as u64),
    );
    let outgoing =
        records.into_iter().zip((0..PARTITIONS).cycle()).map(|(payload, partition)| (partition, None, payload));
    produce_all(&producer_config(brokers), TOPIC, outgoing)?;
    Ok(())
}

fn run(brokers: &str, settings: &Service) -> anyhow::Result<()> {
    println!("Run:    {PIPELINE_FILE}, windows of 100 rows, until the topic's end.");
    let outcome =
        execute(vec![pipeline(brokers)?], settings, Until::End).pop().context("one pipeline has one outcome")?;
    if !outcome.is_ok() {
        bail!("the run failed: {}", outcome.failures.join("; "));
    }
    println!("{outcome}");
    Ok(())
}

/// What is in the dataset now, proven against its ledger, and how to open it.
fn describe(folder: &Path) -> anyhow::Result<()> {
    let report = ledger::verify(folder)?;
    if !report.findings.is_empty() {
        bail!("the dataset differs from its ledger; look at `weir verify --dataset {}`", folder.display());
    }
    let counts = report.counts;
    println!(
        "Ledger: {} + {} rejected = {} in {}; {}, {}, each checked (weir verify).",
        plural(counts[Class::Row], "row"),
        number(counts[Class::Rejected]),
        plural(counts.total(), "record"),
        plural(report.partitions, "partition"),
        plural(report.files, "file"),
        bytes(report.bytes)
    );
    let rejects = show::rejects(folder)?;
    if !rejects.is_empty() {
        println!("\nRejects by rule, with one example each:");
        for (rule, (count, reason, payload)) in rejects {
            println!("  {count:>3} {rule:<10} {reason}\n      payload: {payload}");
        }
    }
    println!("\nDataset: {}\nOpen it:", folder.display());
    if counts[Class::Row] == 0 {
        println!("  {}", show::EMPTY);
    }
    for (library, line) in show::open_lines(folder) {
        println!("  {library:<7} {line}");
    }
    Ok(())
}
