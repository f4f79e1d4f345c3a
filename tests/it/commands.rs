//! What people do with weir and read from it: the demo, starts of every kind, several topics and consumers, and refusals,
//! each of which names what is wrong and leaves everything as it was.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::Command;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::producer::Producer;
use rdkafka::{Offset, TopicPartitionList};

use crate::harness::broker::Broker;
use crate::harness::case::{Case, PATIENCE};
use crate::harness::ledger::to;
use crate::harness::oracle::{Record, committed};
use crate::harness::pipeline::Pipeline;
use crate::harness::produce::{Load, produce, send, settle, transactional};
use crate::harness::setup;
use crate::harness::topics::{delete_records, delete_topic, end, make_topic, topic};
use crate::harness::until;
use crate::harness::weir::{Run, Workspace};
use crate::readers;

/// The columns whose means are compared, and their names in the published file.
const COLUMNS: [(&str, &str); 3] = [("co", "CO(GT)"), ("temperature", "T"), ("humidity", "RH")];

fn case(name: &str) -> Case<'static> {
    Case::new(Broker::shared(), name, 3)
}

fn send_readings(case: &Case, seed: u64) {
    let load = Load { records: 3_000, aborted: 50, broken: 5, tombstones: 2, stations: 2, seed, ..Load::default() };
    produce(case.broker, &case.pipeline.topic, 3, &load);
}

// The demo.

/// The dataset of a demo has all readings and nothing else, for weir and for four notebook libraries.
fn assert_is_the_demo(workspace: &Workspace) {
    let dataset = workspace.path().join("processed_data/air-quality");
    let args = ["verify", "--dataset", dataset.to_str().unwrap(), "--format", "json"];
    let report = workspace.run(args, PATIENCE).expect_code(0);
    let report: serde_json::Value = serde_json::from_str(&report.stdout).unwrap();
    assert_eq!([&report["counts"]["row"], &report["counts"]["rejected"]], [9_357, 10], "{report}");
    let found = readers::read(&dataset, &COLUMNS.map(|(column, _)| column));
    assert_eq!([&found["data"]["rows"], &found["rejects"]["rows"]], [9_357, 10]);
    readers::assert_means(&found, &readers::published(&COLUMNS.map(|(_, original)| original)), &COLUMNS);
}

#[test]
fn the_demo_in_an_empty_folder() {
    let workspace = Workspace::new();
    let first = workspace.run(["demo"], PATIENCE).expect_code(0);
    for words in ["9,357 real readings", "10 records broken on purpose", "mock cluster", "9,357 rows + 10 rejected"] {
        assert!(first.stdout.contains(words), "no {words:?} in:\n{}", first.stdout);
    }
    for library in ["pandas", "polars", "duckdb"] {
        assert!(first.stdout.to_lowercase().contains(library), "no {library} in:\n{}", first.stdout);
    }
    assert_is_the_demo(&workspace);
    let second = workspace.run(["demo"], PATIENCE).expect_code(0);
    assert!(second.stdout.contains("already there"), "{}", second.stdout);
    assert_is_the_demo(&workspace);
    workspace.run(["demo", "--again"], PATIENCE).expect_code(0);
    assert_is_the_demo(&workspace);
}

#[test]
fn the_demo_on_a_real_broker() {
    let workspace = Workspace::new();
    let address = Broker::shared().address();
    workspace.run(["demo", "--brokers", &address], PATIENCE).expect_code(0);
    assert_is_the_demo(&workspace);
    let second = workspace.run(["demo", "--brokers", &address], PATIENCE).expect_code(0);
    assert!(second.stdout.contains("nothing is sent again"), "{}", second.stdout);
    assert_is_the_demo(&workspace);
}

// Refusals.

/// A run up to the end ends with `code` and says each of `words`; no file of the dataset was made, changed or removed.
#[track_caller]
fn refused(case: &Case, code: i32, words: &[&str]) {
    let before = case.inventory();
    let finished = case.to_end().wait(PATIENCE).expect_code(code);
    let said = finished.stdout + &finished.stderr;
    for word in words {
        assert!(said.contains(word), "no {word:?} in:\n{said}");
    }
    assert_eq!(case.inventory(), before, "a refused run must change nothing");
}

/// A dataset that holds everything its topic has.
fn filled(name: &str) -> Case<'static> {
    let case = case(name);
    send_readings(&case, 1);
    case.finish();
    case
}

#[test]
fn no_broker_there() {
    let case = case("nobody").with(|pipeline| pipeline.brokers = "localhost:1".into());
    refused(&case, 3, &["localhost:1", "no broker answered"]);
    assert!(!case.dataset().exists());
    // Once, on whatever it is written.
    let finished = case.to_end().wait(PATIENCE);
    let said = finished.stdout + &finished.stderr;
    assert_eq!(said.matches("no broker answered").count(), 1, "{said}");
}

#[test]
fn no_such_topic() {
    let case = Case::of(Broker::shared(), Pipeline::new(Broker::shared(), "never-made"));
    refused(&case, 3, &["\"never-made\"", "does not exist", &case.broker.address()]);
    assert!(!case.dataset().exists());
}

#[test]
fn a_broken_pipeline_file() {
    let case = case("broken").with(|pipeline| pipeline.roll = "windws = 3".into());
    refused(&case, 1, &["windws", "windows"]);
    assert!(!case.dataset().exists());
}

#[test]
fn records_that_retention_took() {
    let case = filled("retention");
    send_readings(&case, 2);
    let position = case.positions()[&1];
    delete_records(case.broker, &case.pipeline.topic, 1, position + 7);
    let words = [format!("position {position}"), (position + 7).to_string()];
    // The other partitions go on, so only this one's chain stays as it is.
    let finished = case.to_end().wait(PATIENCE).expect_code(3);
    let said = finished.stdout + &finished.stderr;
    for word in words.iter().map(String::as_str).chain(["deleted", "retention", ":1"]) {
        assert!(said.contains(word), "no {word:?} in:\n{said}");
    }
    assert_eq!(case.positions()[&1], position);
    assert!(case.positions()[&0] > 0 && case.positions()[&0] == end(case.broker, &case.pipeline.topic, 0));
    case.verify();
}

#[test]
fn a_topic_deleted_and_made_again() {
    let case = filled("remade");
    delete_topic(case.broker, &case.pipeline.topic);
    make_topic(case.broker, &case.pipeline.topic, 3, &[]);
    send_readings(&case, 2);
    refused(&case, 3, &["deleted and made again", &case.pipeline.topic]);
}

/// A topic that goes and comes back with other records under a running weir: it says so, and takes none of them.
fn made_again_under(name: &str, replace: impl FnOnce(&Case, &Run)) {
    let case = case(name).with(|pipeline| pipeline.roll = r#"age = "200ms""#.into());
    send_readings(&case, 1);
    let run = case.endless();
    let ends: Vec<i64> = (0..3).map(|partition| end(case.broker, &case.pipeline.topic, partition)).collect();
    until("everything is committed", PATIENCE, || case.positions().into_values().eq(ends.iter().copied()));
    // An entry is there a moment before its files are.
    until("everything is in place", PATIENCE, || case.verify()["unpublished"] == serde_json::json!([]));
    let before = case.inventory();
    replace(&case, &run);
    until("it says so", PATIENCE, || run.stderr().matches("deleted and made again").count() >= 3);
    run.signal("TERM");
    run.wait(PATIENCE).expect_code(3);
    assert_eq!(case.inventory(), before, "no record of the new topic may be in the dataset");
}

fn make_again(case: &Case, seeds: std::ops::Range<u64>) {
    delete_topic(case.broker, &case.pipeline.topic);
    make_topic(case.broker, &case.pipeline.topic, 3, &[]);
    seeds.for_each(|seed| send_readings(case, seed));
}

#[test]
fn a_topic_deleted_and_made_again_while_it_is_read() {
    made_again_under("remade-live", |case, _| make_again(case, 2..3));
}

/// The client is not there to see the topic go, and finds one that has records where it wants to read on: it just does.
#[test]
fn a_topic_deleted_and_made_again_behind_its_back() {
    made_again_under("remade-asleep", |case, run| {
        run.signal("STOP");
        make_again(case, 2..4);
        run.signal("CONT");
    });
}

#[test]
fn a_dataset_of_another_cluster() {
    let case = filled("cluster");
    let path = case.dataset().join("ledger/dataset.json");
    let mut identity: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let id = identity["cluster_id"].as_str().expect("the identity has the cluster's id").to_owned();
    identity["cluster_id"] = "another".into();
    fs::write(&path, identity.to_string()).unwrap();
    refused(&case, 3, &["cluster", &id, "another"]);
}

#[test]
fn a_restored_backup() {
    let case = filled("backup");
    let backup = case.workspace.path().join("backup");
    copy(&case.dataset(), &backup);
    send_readings(&case, 2);
    case.finish();
    assert_eq!(case.committed_offsets(), case.positions());
    fs::remove_dir_all(case.dataset()).unwrap();
    copy(&backup, &case.dataset());
    refused(&case, 3, &["restored backup", "source.group", &format!("weir-{}", case.pipeline.name)]);
    // The way out that the message names.
    let case = case.with(|pipeline| pipeline.source = r#"group = "another""#.into());
    case.finish();
    case.judge();
}

fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-r").args([from, to]).status().unwrap().success());
}

// Starts, ends and gaps.

/// The committed records that a partition's position comes before, or is.
fn records_from(case: &Case, from: impl Fn(&Record) -> bool) -> Vec<Record> {
    let all = committed(case.broker, &[&case.pipeline.topic]);
    let count = all.len();
    let left: Vec<Record> = all.into_iter().filter(from).collect();
    assert!((1..count).contains(&left.len()), "{} of {count} records are no test", left.len());
    left
}

#[test]
fn a_tail_of_aborted_records() {
    let case = case("aborted-tail");
    send_readings(&case, 1);
    let producer = transactional(case.broker, "aborted-tail");
    for record in 0..300 {
        send(&producer, &case.pipeline.topic, record % 3, Some(b"never"));
    }
    settle(&producer);
    producer.abort_transaction(PATIENCE).unwrap();
    case.finish();
    for (partition, position) in case.positions() {
        assert_eq!(position, end(case.broker, &case.pipeline.topic, partition as i32), "partition {partition}");
    }
    case.judge();
}

#[test]
fn an_open_transaction_holds_the_end_back() {
    let case = case("open");
    send_readings(&case, 1);
    let stable: Vec<i64> = (0..3).map(|partition| end(case.broker, &case.pipeline.topic, partition)).collect();
    let producer = transactional(case.broker, "open");
    for record in 0..30 {
        send(&producer, &case.pipeline.topic, record % 3, Some(b"not yet"));
    }
    settle(&producer);
    case.finish();
    assert!(case.positions().into_values().eq(stable));
    case.judge();
    producer.commit_transaction(PATIENCE).unwrap();
    case.finish();
    case.judge();
}

#[test]
fn an_empty_topic() {
    let case = case("empty");
    case.finish();
    assert!(case.positions().into_values().eq([0, 0, 0]));
    send_readings(&case, 1);
    case.finish();
    case.judge();
}

#[test]
fn from_the_latest_record_on() {
    let case = case("latest").with(|pipeline| pipeline.start = "latest");
    send_readings(&case, 1);
    case.finish();
    let starts = case.positions();
    assert!(case.chains().values().all(|chain| chain.len() == 1), "nothing was there to be read");
    send_readings(&case, 2);
    case.finish();
    case.judge_records(&records_from(&case, |record| record.offset >= starts[&record.partition.into()]));
}

#[test]
fn from_a_moment_on() {
    let case = case("moment");
    send_readings(&case, 1);
    let mut times: Vec<i64> =
        committed(case.broker, &[&case.pipeline.topic]).iter().map(|record| record.timestamp).collect();
    times.sort_unstable();
    let moment = times[times.len() / 2];
    let text = format!("@{}.{:03}", moment / 1_000, moment % 1_000);
    let text = Command::new("date").args(["-u", "-d", &text, "+%Y-%m-%dT%H:%M:%S.%3NZ"]).output().unwrap().stdout;
    let start: &'static str = String::from_utf8(text).unwrap().trim().to_owned().leak();
    let case = case.with(|pipeline| pipeline.start = start);
    case.finish();
    let starts: std::collections::BTreeMap<i64, i64> =
        case.chains().into_iter().map(|((_, partition), chain)| (partition, to(&chain[0]))).collect();
    let all = committed(case.broker, &[&case.pipeline.topic]);
    // Where a partition starts is its first record of that moment or later; transactions of two producers mix, so that
    // a later offset may have an earlier time.
    for (partition, start) in &starts {
        let first = all.iter().find(|record| i64::from(record.partition) == *partition && record.timestamp >= moment);
        assert!(*start <= first.unwrap().offset, "partition {partition} starts at {start}, after {first:?}");
        let skipped = all.iter().filter(|record| i64::from(record.partition) == *partition && record.offset < *start);
        assert!(skipped.into_iter().all(|record| record.timestamp < moment));
    }
    case.judge_records(&records_from(&case, |record| record.offset >= starts[&record.partition.into()]));
}

#[test]
fn where_another_group_is() {
    let case = case("takeover").with(|pipeline| {
        pipeline.start = "committed";
        pipeline.source = r#"group = "the-old-consumer""#.into();
    });
    send_readings(&case, 1);
    let refused = case.to_end().wait(PATIENCE).expect_code(3);
    for words in ["start = \"committed\"", "\"the-old-consumer\"", "no committed offset"] {
        assert!(refused.stdout.contains(words), "no {words:?} in:\n{}", refused.stdout);
    }
    assert_eq!(case.entries(), 0, "nothing may be fixed before it is known where to start");
    let old: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", case.broker.address())
        .set("group.id", "the-old-consumer")
        .create()
        .unwrap();
    let mut offsets = TopicPartitionList::new();
    for partition in 0..3 {
        offsets.add_partition_offset(&case.pipeline.topic, partition, Offset::Offset(100)).unwrap();
    }
    old.commit(&offsets, CommitMode::Sync).unwrap();
    case.finish();
    case.judge_records(&records_from(&case, |record| record.offset >= 100));
}

// Several of everything.

#[test]
fn several_topics_in_one_dataset() {
    let case = case("first");
    let second = topic(case.broker, "second", 2);
    let only = format!("topics = [{:?}]", case.pipeline.topic);
    let both = format!("topics = [{:?}, {second:?}]", case.pipeline.topic);
    fs::write(case.workspace.path().join(case.file()), case.pipeline.toml().replace(&only, &both)).unwrap();
    send_readings(&case, 1);
    produce(case.broker, &second, 2, &Load { broken: 10, ..Load::default() });
    case.finish();
    let records = committed(case.broker, &[&case.pipeline.topic, &second]);
    assert!(records.iter().any(|record| record.topic == second));
    case.judge_records(&records);
    assert_eq!(case.chains().len(), 5);
}

#[test]
fn two_consumers_in_one_process() {
    let case = case("consumers").with(|pipeline| {
        pipeline.source = "consumers = 2".into();
        pipeline.roll = r#"age = "200ms""#.into();
    });
    send_readings(&case, 1);
    case.finish();
    case.judge();
    send_readings(&case, 2);
    let run = case.endless();
    let ends: Vec<i64> = (0..3).map(|partition| end(case.broker, &case.pipeline.topic, partition)).collect();
    until("everything is committed", PATIENCE, || case.positions().into_values().eq(ends.iter().copied()));
    run.signal("TERM");
    run.wait(PATIENCE).expect_code(0);
    case.judge();
    assert_eq!(case.committed_offsets(), case.positions());
}

/// Rejects are no failure, but nobody should have to look for them.
#[test]
fn a_run_says_why_records_were_rejected() {
    let case = Case::new(Broker::shared(), "all-rejected", 1);
    let topic = &case.pipeline.topic;
    let producer = transactional(case.broker, topic);
    let reading = |more: &str| format!(r#"{{"station_id":"IT-01","timestamp":"2004-03-10T18:00:00"{more}}}"#);
    let rejected = [
        "{".to_owned(),
        "[".to_owned(),
        reading(r#","co_gt":99"#),
        reading(r#","co_gt":51"#),
        reading(r#","co_gt":77"#),
        reading(r#","co_gt":-5"#),
        reading(r#","t":"hot""#),
        reading(r#","rh":"wet""#),
        reading(r#","ah":[]"#),
    ];
    rejected.iter().for_each(|payload| send(&producer, topic, 0, Some(payload.as_bytes())));
    settle(&producer);
    producer.commit_transaction(PATIENCE).unwrap();
    let text = case.finish().stdout;
    let rejects = case.dataset().canonicalize().unwrap().join("rejects");
    for line in [
        "  rejected                 9\n                           3   co: max\n                           2   the whole record: json\n",
        "                           1   for 1 more reason\n",
        &format!("each with its reason in {}\n", rejects.display()),
        "data/ has no file yet: polars and DuckDB fail on an empty folder",
    ] {
        assert!(text.contains(line), "{line:?} is not in\n{text}");
    }
    fs::remove_dir_all(case.dataset()).unwrap();
    let json = case.workspace.run(["run", &case.file(), "--until-end", "--format", "json"], PATIENCE).expect_code(0);
    let json: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    let by = json["rejected_by"].as_array().unwrap();
    assert_eq!(by[0], serde_json::json!({"column": "co", "rule": "max", "count": 3}));
    assert_eq!(by[1], serde_json::json!({"column": null, "rule": "json", "count": 2}));
    assert_eq!(by.iter().map(|reject| reject["count"].as_u64().unwrap()).sum::<u64>(), 9);
}

#[test]
fn a_file_with_a_byte_order_mark_is_sent_without_it() {
    let case = Case::new(Broker::shared(), "marked", 1);
    fs::write(
        case.workspace.path().join("marked.jsonl"),
        "\u{feff}{\"station_id\":\"IT-01\",\"timestamp\":\"2004-03-10T18:00:00\"}\r\n",
    )
    .unwrap();
    let brokers = case.broker.address();
    let args = ["produce", "--brokers", &brokers, "--topic", &case.pipeline.topic, "--file", "marked.jsonl"];
    let sent = case.workspace.run(args, PATIENCE).expect_code(0);
    assert!(sent.stderr.contains("produced 1 record ("), "{}", sent.stderr);
    let report = case.finish().stdout;
    assert!(report.contains(": 1 record in ") && report.contains("  rejected                 0\n"), "{report}");
    assert_eq!(case.judge().rows, 1);
}

#[test]
fn a_local_broker_is_found_by_its_port_alone() {
    let folder = setup::folder("kafka");
    let kafka = |args: &[&str]| {
        let tool = setup::root().join("deploy/kafka");
        let output = Command::new(tool).args(args).env_remove("KAFKA_DATA").env_remove("KAFKA_PORT").output().unwrap();
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        (output.status.code(), text)
    };
    let port = free_port();
    let data = folder.path().join("a broker");
    let (code, text) = kafka(&["start", "--port", &port, "--data", data.to_str().unwrap()]);
    assert_eq!(code, Some(0), "{text}");
    let elsewhere = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let foreign = elsewhere.local_addr().unwrap().port().to_string();
    let (code, text) = kafka(&["stop", "--port", &foreign]);
    assert_eq!(code, Some(3), "{text}");
    assert!(
        text.contains("but deploy/kafka did not start it") && text.contains(&format!("kafka stop --port {port} ")),
        "{text}"
    );
    assert_eq!(kafka(&["status", "--port", &port]).0, Some(0));
    let (code, text) = kafka(&["stop", "--port", &port]);
    assert!(code == Some(0) && text.starts_with("stopped (process "), "{text}");
}

/// A port that is free, and the one after it.
fn free_port() -> String {
    loop {
        let one = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = one.local_addr().unwrap().port();
        if port < u16::MAX && TcpListener::bind((Ipv4Addr::LOCALHOST, port + 1)).is_ok() {
            return port.to_string();
        }
    }
}

// Files that say where they belong.

/// What `weir inspect` says of a file.
fn inspect(case: &Case, arguments: &[&str], code: i32) -> serde_json::Value {
    let arguments = [&["inspect", "--format", "json"], arguments].concat();
    let said = case.workspace.run(arguments, PATIENCE).expect_code(code);
    serde_json::from_str::<serde_json::Value>(&said.stdout).unwrap()[0].take()
}

#[test]
fn every_file_tells_its_entry_wherever_it_is() {
    let case = filled("inspected");
    let (dataset, outside) = (case.dataset(), case.workspace.path().join("copy.parquet"));
    let mut seen = std::collections::BTreeSet::new();
    for (partition, entries) in case.chains() {
        for (before, entry) in entries.iter().zip(&entries[1..]) {
            for file in entry["files"].as_array().unwrap() {
                let path = dataset.join(file["path"].as_str().unwrap());
                let said = inspect(&case, &[path.to_str().unwrap()], 0);
                assert_eq!(said["ledger"]["differences"], serde_json::json!([]), "{said:#}");
                let receipt = &said["receipt"];
                let offsets = [&receipt["first_offset"], &receipt["last_offset"]].map(|text| text.as_str().unwrap());
                let named = [0, 1].map(|at| file["offsets"][at].to_string());
                assert_eq!((offsets[0], offsets[1]), (&*named[0], &*named[1]));
                assert_eq!(
                    [&receipt["previous"], &receipt["definition"], &receipt["dataset"], &receipt["topic_id"]],
                    [&before["sha256"], &entry["definition"], &entry["dataset"], &entry["topic_id"]]
                );
                assert_eq!(receipt["topic"].as_str().unwrap(), partition.0);
                let ids: Vec<i64> =
                    said["columns"].as_array().unwrap().iter().filter_map(|column| column["id"].as_i64()).collect();
                assert_eq!(ids.len(), said["columns"].as_array().unwrap().len(), "{said:#}");
                if seen.insert(file["side"].as_str().unwrap().to_owned()) {
                    fs::copy(&path, &outside).unwrap();
                }
            }
        }
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["data", "rejects"]);
    let (outside, dataset) = (outside.to_str().unwrap(), dataset.to_str().unwrap());
    assert_eq!(inspect(&case, &[outside], 0)["ledger"], serde_json::Value::Null);
    assert_eq!(inspect(&case, &[outside, "--dataset", dataset], 0)["ledger"]["differences"], serde_json::json!([]));
    let text = case.workspace.run(["inspect", outside, "--dataset", dataset], PATIENCE).expect_code(0).stdout;
    assert!(text.contains("the same as in the ledger of"), "{text}");

    let other = filled("inspected-other");
    let said = inspect(&case, &[outside, "--dataset", other.dataset().to_str().unwrap()], 1);
    assert!(said["ledger"]["differences"][0].as_str().unwrap().contains("is of the dataset with the id"), "{said:#}");
    fs::write(outside, "no file of rows").unwrap();
    let refused = case.workspace.run(["inspect", outside], PATIENCE).expect_code(3).stderr;
    assert!(refused.contains("copy.parquet is not a Parquet file"), "{refused}");
}

/// The way that docs/ledger.md shows.
#[test]
fn an_entry_is_checked_without_weir() {
    let case = filled("sealed");
    let page = fs::read_to_string(setup::root().join("docs/ledger.md")).unwrap();
    let script = page.split("python3 -c '").nth(1).unwrap().split('\'').next().unwrap();
    let check = |path: &Path| {
        let checked = Command::new("python3").args(["-c", script]).arg(path).output().unwrap();
        String::from_utf8(checked.stdout).unwrap()
    };
    let plain = crate::harness::ledger::plain(&case.dataset());
    assert!(plain.len() >= 6 && plain.iter().all(|path| check(path) == "True\n"), "{plain:?}");
    let changed = fs::read_to_string(&plain[1]).unwrap().replace("\"from\":0", "\"from\":1");
    fs::write(&plain[1], changed).unwrap();
    assert_eq!(check(&plain[1]), "False\n");
}
