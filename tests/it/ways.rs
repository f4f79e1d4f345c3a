//! The ways out of what stops a lane, as the messages name them: `weir skip`, `weir backup` and a restore, `weir repair`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::faults::{restless_case, while_producing};
use crate::harness::broker::Broker;
use crate::harness::case::{Case, PATIENCE};
use crate::harness::ledger::{chains, to};
use crate::harness::oracle::{Record, committed};
use crate::harness::produce::{Load, produce};
use crate::harness::service::Service;
use crate::harness::topics::{delete_records, delete_topic, end, make_topic};
use crate::harness::until;
use crate::harness::weir::Finished;

/// Two batches of readings in each partition, the first of them committed by weir.
fn half_read(name: &str) -> Case<'static> {
    let case = Case::new(Broker::shared(), name, 3);
    send_readings(&case, 1);
    case.finish();
    send_readings(&case, 2);
    case
}

fn send_readings(case: &Case, seed: u64) {
    let load = Load { records: 3_000, aborted: 50, broken: 5, tombstones: 2, stations: 2, seed, ..Load::default() };
    produce(case.broker, &case.pipeline.topic, 3, &load);
}

/// `weir skip` of this case's pipeline.
fn skip(case: &Case, partition: i64, arguments: &[&str]) -> Finished {
    let (file, partition) = (case.file(), format!("{}:{partition}", case.pipeline.topic));
    let all = ["skip", &file, &partition].into_iter().chain(arguments.iter().copied());
    case.workspace.run(all, PATIENCE)
}

fn json(finished: &Finished) -> Value {
    serde_json::from_str(&finished.stdout).unwrap_or_else(|error| panic!("{error}: {finished:?}"))
}

/// The command that a message tells to run, in backticks.
fn told(text: &str) -> Vec<String> {
    let command = text.split('`').find(|part| part.starts_with("weir skip")).expect("a command is told");
    command.split(' ').skip(1).map(str::to_owned).collect()
}

fn without(records: Vec<Record>, partition: i32, lost: std::ops::Range<i64>) -> Vec<Record> {
    let kept = |record: &Record| record.partition != partition || !lost.contains(&record.offset);
    let count = records.len();
    let left: Vec<Record> = records.into_iter().filter(kept).collect();
    assert!(left.len() < count, "without lost records this tests nothing");
    left
}

#[test]
fn the_told_command_gets_a_partition_over_what_retention_took() {
    let case = half_read("skip-retention");
    let all = committed(case.broker, &[&case.pipeline.topic]);
    let position = case.positions()[&1];
    delete_records(case.broker, &case.pipeline.topic, 1, position + 7);
    let stopped = case.to_end().wait(PATIENCE).expect_code(3);
    let command = told(&stopped.stdout);
    let done = case.workspace.run(command.iter().map(String::as_str), PATIENCE).expect_code(0);
    assert!(done.stdout.contains("gave up 7 offset(s)"), "{}", done.stdout);
    let again = case.workspace.run(command.iter().map(String::as_str), PATIENCE).expect_code(1);
    assert!(again.stderr.contains("nothing to skip"), "{}", again.stderr);
    let report = case.finish();
    assert!(report.stdout.contains("  lost                     7\n"), "{}", report.stdout);
    assert_eq!(case.verify()["counts"]["lost"], 7);
    let verdict = case.judge_records(&without(all, 1, position..position + 7));
    assert!(verdict.rows > 0);
    // What comes later is read as ever.
    send_readings(&case, 3);
    case.finish();
    assert_eq!(case.positions()[&1], end(case.broker, &case.pipeline.topic, 1));
    assert_eq!(case.verify()["counts"]["lost"], 7);
}

#[test]
fn earliest_is_where_the_log_starts_by_now() {
    let case = half_read("skip-earliest");
    let position = case.positions()[&2];
    delete_records(case.broker, &case.pipeline.topic, 2, position + 20);
    let done = json(&skip(&case, 2, &["--to", "earliest", "--format", "json"]).expect_code(0));
    let part = |key: &str| done[key].as_i64().unwrap();
    assert_eq!(["from", "to", "lost", "readable"].map(part), [position, position + 20, 20, 0]);
    assert_eq!(part("sequence"), case.chains()[&(case.pipeline.topic.clone(), 2)].len() as i64 - 1);
    case.finish();
}

/// Refused, for this reason, and nothing of the dataset is changed by it.
#[track_caller]
fn refused(case: &Case, partition: i64, arguments: &[&str], code: i32, words: &[&str]) {
    let before = case.inventory();
    let finished = skip(case, partition, arguments).expect_code(code);
    for word in words {
        assert!(finished.stderr.contains(word), "no {word:?} in:\n{}", finished.stderr);
    }
    assert_eq!(case.inventory(), before, "a refusal must change nothing");
}

#[test]
fn what_must_not_be_given_up() {
    let case = half_read("skip-refused");
    let (position, last) = (case.positions()[&0], end(case.broker, &case.pipeline.topic, 0));
    let at = |position: i64| position.to_string();
    refused(&case, 0, &["--to", &at(position)], 1, &["nothing to skip", &at(position)]);
    refused(&case, 0, &["--to", "0"], 1, &["nothing to skip"]);
    refused(&case, 0, &["--to", &at(last + 1), "--readable"], 1, &["after the log's end", &at(last)]);
    // Readable, all of it or a part.
    refused(&case, 0, &["--to", &at(position + 5)], 1, &["the 5 offset(s)", "still has 5", "--readable"]);
    delete_records(case.broker, &case.pipeline.topic, 0, position + 3);
    let to_start = format!("--to {}`", position + 3);
    refused(&case, 0, &["--to", &at(position + 5)], 1, &["the 5 offset(s)", "still has 2", &to_start]);
    refused(&case, 7, &["--to", "9"], 1, &["does not exist", "3 partition(s)"]);
    refused(&case, 0, &["--to", "soon"], 2, &["write an offset"]);
    let other = case.workspace.run(["skip", &case.file(), "another:0", "--to", "9"], PATIENCE).expect_code(1);
    assert!(other.stderr.contains(&format!("reads {}", case.pipeline.topic)), "{}", other.stderr);
    delete_topic(case.broker, &case.pipeline.topic);
    make_topic(case.broker, &case.pipeline.topic, 3, &[]);
    send_readings(&case, 3);
    refused(&case, 0, &["--to", &at(position + 5), "--readable"], 3, &["deleted and made again"]);
}

#[test]
fn where_nothing_was_read_nothing_is_given_up() {
    let case = Case::new(Broker::shared(), "skip-empty", 3);
    send_readings(&case, 1);
    let nothing = skip(&case, 0, &["--to", "5", "--readable"]).expect_code(3);
    assert!(nothing.stderr.contains("is not a dataset"), "{}", nothing.stderr);
    assert!(!case.dataset().exists());
    // A dataset without a chain: its start is refused.
    let case = case.with(|pipeline| pipeline.start = "committed");
    case.to_end().wait(PATIENCE).expect_code(3);
    refused(&case, 0, &["--to", "5", "--readable"], 1, &["has nothing of", "source.start"]);
}

/// A lane that runs has read what is given up, and more; it finds itself fenced and goes on after it.
#[test]
fn beside_a_lane_that_runs() {
    let case = Case::new(Broker::shared(), "skip-beside", 3).with(|pipeline| {
        pipeline.roll = r#"windows = 20, age = "1h""#.into();
    });
    send_readings(&case, 1);
    let run = case.endless();
    until("every lane has started", PATIENCE, || case.positions().len() == 3);
    // Nobody has committed: a file takes 2,000 rows.
    let give_up = end(case.broker, &case.pipeline.topic, 1) - 50;
    let done = json(&skip(&case, 1, &["--to", &give_up.to_string(), "--readable", "--format", "json"]).expect_code(0));
    assert_eq!((done["from"].as_i64(), done["lost"].as_i64()), (Some(0), Some(give_up)));
    (2..6).for_each(|seed| send_readings(&case, seed));
    until("the lane has gone on after it", PATIENCE, || case.positions()[&1] > give_up);
    run.signal("TERM");
    let finished = run.wait(PATIENCE).expect_code(0);
    for words in ["this one is fenced", "offsets that a person gave up"] {
        assert!(finished.stderr.contains(words), "no {words:?} in:\n{}", finished.stderr);
    }
    assert!(finished.stdout.contains("  lost "), "{}", finished.stdout);
    case.finish();
    case.judge_records(&without(committed(case.broker, &[&case.pipeline.topic]), 1, 0..give_up));
    assert_eq!(case.verify()["counts"]["lost"], give_up);
}

/// A parked lane of a service goes on when its pipeline is stopped and started; the metrics show what was given up.
#[test]
fn in_a_service() {
    let case = half_read("skip-service");
    let all = committed(case.broker, &[&case.pipeline.topic]);
    let position = case.positions()[&1];
    delete_records(case.broker, &case.pipeline.topic, 1, position + 7);
    let folder = case.workspace.path().join("pipelines");
    fs::create_dir(&folder).unwrap();
    fs::copy(case.workspace.path().join(case.file()), folder.join(case.file())).unwrap();
    let (service, name) = (Service::start(&case.workspace, &[]), case.pipeline.name.as_str());
    service.until("the lane is parked", name, |pipeline| pipeline["run"]["parked"] == 1);
    skip(&case, 1, &["--to", "earliest"]).expect_code(0);
    service.order(name, "stop");
    service.order(name, "start");
    service.until("the gap is known", name, |pipeline| pipeline["run"]["records"]["lost"] == 7);
    let lost = format!("weir_records_total{{pipeline={name:?},class=\"lost\"}} 7");
    let (_, metrics) = service.text("/metrics");
    assert!(metrics.contains(&lost), "no {lost:?} in:\n{metrics}");
    service.stop();
    case.finish();
    case.judge_records(&without(all, 1, position..position + 7));
}

/// A damaged batch in the middle of a partition's log; gives its first offset and the one after its last.
fn damage_a_batch(broker: &mut Broker, topic: &str, partition: i32) -> (i64, i64) {
    broker.stop();
    let log = broker.log(topic, partition);
    let mut bytes = fs::read(&log).unwrap();
    let number = |at: usize| i64::from(i32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()));
    let length = |at: usize| 12 + number(at + 8) as usize;
    let batches = std::iter::successors(Some(0), |at| Some(at + length(*at)).filter(|next| *next < bytes.len()));
    // A transaction's marker is shorter.
    let hit = batches.clone().find(|at| *at > bytes.len() / 2 && length(*at) > 500).unwrap();
    let first = i64::from_be_bytes(bytes[hit..hit + 8].try_into().unwrap());
    let after = first + number(hit + 23) + 1;
    let last_byte = hit + length(hit) - 1;
    bytes[last_byte] ^= 0x55;
    fs::write(&log, &bytes).unwrap();
    broker.start();
    (first, after)
}

#[test]
fn a_batch_that_cannot_be_read() {
    let mut broker = Broker::own();
    let Case { pipeline, workspace, .. } = Case::new(&broker, "skip-damaged", 3);
    let load = Load { records: 6_000, aborted: 50, broken: 5, ..Load::default() };
    produce(&broker, &pipeline.topic, 3, &load);
    let all = committed(&broker, &[&pipeline.topic]);
    let (first, after) = damage_a_batch(&mut broker, &pipeline.topic, 1);
    let case = Case { broker: &broker, pipeline, workspace };
    let stopped = case.to_end_with(&[("WEIR__RESTART__BACKOFF_MAX", "1s")]).wait(PATIENCE).expect_code(3);
    let words = format!("`weir skip {} {}:1 --to readable`", case.file(), case.pipeline.topic);
    assert!(stopped.stdout.contains(&words), "no {words:?} in:\n{}", stopped.stdout);
    let ends: BTreeMap<_, _> = chains(&case.dataset())
        .into_iter()
        .map(|((_, partition), chain)| (partition, to(chain.last().unwrap())))
        .collect();
    // A marker may stand between the two.
    assert!((first - 3..=first).contains(&ends[&1]), "what comes before the batch is committed: {} {first}", ends[&1]);
    let skipped = json(&skip(&case, 1, &["--to", "readable", "--format", "json"]).expect_code(0));
    assert_eq!((skipped["from"].as_i64(), skipped["to"].as_i64()), (Some(ends[&1]), Some(after)), "that batch alone");
    skip(&case, 1, &["--to", "readable"]).expect_code(1);
    case.finish();
    case.judge_records(&without(all, 1, first..after));
    assert_eq!(case.verify()["counts"]["lost"], after - ends[&1]);
}

/// Windows of time tell which of them may lack rows.
#[test]
fn windows_tell_what_was_given_up() {
    let case = Case::new(Broker::shared(), "skip-windows", 1).with(|pipeline| {
        pipeline.window =
            Some("type = \"tumbling\"\nsize = \"1d\"\ntime = \"measured_at\"\ntime_zone = \"+01:00\"".into());
        pipeline.partition_by = &["window"];
    });
    let load = |seed| Load { records: 600, seed, ..Load::default() };
    produce(case.broker, &case.pipeline.topic, 1, &load(1));
    case.finish();
    produce(case.broker, &case.pipeline.topic, 1, &load(2));
    let position = case.positions()[&0];
    delete_records(case.broker, &case.pipeline.topic, 0, position + 9);
    skip(&case, 0, &["--to", "earliest"]).expect_code(0);
    let told = case.workspace.run(["windows", &case.file(), "--format", "json"], PATIENCE).expect_code(0);
    let lost = &json(&told)["lost"][0];
    assert_eq!((lost["from"].as_i64(), lost["to"].as_i64()), (Some(position), Some(position + 9)));
    assert!(lost["windows_after"].is_string(), "{lost}");
    let table = case.workspace.run(["windows", &case.file()], PATIENCE).expect_code(0).stdout;
    assert!(table.contains("were given up (weir skip); windows that end after"), "{table}");
    case.finish();
}

/// `weir backup` of this case's pipeline into a new folder, which must be a dataset without a fault.
#[track_caller]
fn back_up(case: &Case, name: &str) -> PathBuf {
    let folder = case.workspace.path().join(name);
    case.workspace.run(["backup", &case.file(), name], PATIENCE).expect_code(0);
    case.workspace.run(["verify", "--dataset", name], PATIENCE).expect_code(0);
    folder
}

/// The folder is put back as it was then, and nothing else is there.
fn restore(case: &Case, backup: &Path) {
    fs::remove_dir_all(case.dataset()).unwrap();
    fs::rename(backup, case.dataset()).unwrap();
    case.verify();
}

/// The way out that the refusal of a restored backup names.
fn with_another_group(case: Case) -> Case {
    let refused = case.to_end().wait(PATIENCE).expect_code(3);
    for words in ["looks like a restored backup", "another `source.group`"] {
        assert!(refused.stdout.contains(words), "no {words:?} in:\n{}", refused.stdout);
    }
    case.with(|pipeline| pipeline.source = r#"group = "another""#.into())
}

#[test]
fn a_backup_that_is_taken_while_weir_writes_is_restored() {
    let case = restless_case(Broker::shared(), "backed-up");
    let mut backups = Vec::new();
    while_producing(&case, 2, || {
        let run = case.endless();
        until("every lane commits", PATIENCE, || case.written_by(run.pid(), &BTreeMap::new()).len() == 3);
        for number in 0..5 {
            backups.push(back_up(&case, &format!("backup-{number}")));
            // What the backup saw, or more.
            let before = case.positions();
            until("it has gone on", PATIENCE, || case.positions().iter().all(|(of, to)| *to > before[of]));
        }
        run.signal("TERM");
        run.wait(PATIENCE).expect_code(0);
    });
    let ends = |folder: &Path| chains(folder).into_values().map(|chain| to(chain.last().unwrap())).sum::<i64>();
    let ends: Vec<i64> = backups.iter().map(|backup| ends(backup)).chain([ends(&case.dataset())]).collect();
    assert!(ends.is_sorted_by(|before, after| before < after), "each holds more than the one before: {ends:?}");
    restore(&case, &backups[2]);
    let case = with_another_group(case);
    case.finish();
    println!("{:?}", case.judge());
    // It goes on like any other.
    send_readings(&case, 3);
    case.finish();
    case.judge();
    case.assert_swept();
}

#[test]
fn a_restored_backup_whose_next_records_are_gone() {
    let case = Case::new(Broker::shared(), "backed-up-late", 3);
    send_readings(&case, 1);
    case.finish();
    let backup = back_up(&case, "backup");
    let position = case.positions()[&1];
    send_readings(&case, 2);
    case.finish();
    let all = committed(case.broker, &[&case.pipeline.topic]);
    delete_records(case.broker, &case.pipeline.topic, 1, position + 7);
    restore(&case, &backup);
    let case = with_another_group(case);
    let stopped = case.to_end().wait(PATIENCE).expect_code(3);
    case.workspace.run(told(&stopped.stdout).iter().map(String::as_str), PATIENCE).expect_code(0);
    case.finish();
    case.judge_records(&without(all, 1, position..position + 7));
    assert_eq!(case.verify()["counts"]["lost"], 7);
}

#[test]
fn damage_is_found_refused_and_repaired() {
    let case = Case::new(Broker::shared(), "repaired", 3);
    send_readings(&case, 1);
    case.finish();
    back_up(&case, "backup");
    let file = crate::harness::dataset::files(&case.dataset().join("data")).remove(0);
    let entry = case.dataset().join("ledger").join(&case.pipeline.topic);
    let entry =
        crate::harness::dataset::files(&entry).into_iter().find(|path| path.ends_with("00000000000000000001.json"));
    // A link would be damaged with it.
    fs::remove_file(&file).unwrap();
    fs::write(&file, "damaged").unwrap();
    fs::write(entry.unwrap(), "{").unwrap();
    let verified = case.workspace.run(["verify", &case.file()], PATIENCE).expect_code(1);
    assert!(verified.stdout.contains("`weir repair FILE --from BACKUP`"), "{}", verified.stdout);
    let stopped = case.to_end().wait(PATIENCE).expect_code(3);
    assert!(stopped.stdout.contains("`weir repair FILE --from BACKUP`"), "{}", stopped.stdout);
    case.workspace.run(["repair", &case.file()], PATIENCE).expect_code(1);
    let before = case.inventory();
    let planned = case.workspace.run(["repair", &case.file(), "--from", "backup", "--dry-run"], PATIENCE);
    assert!(planned.stdout.contains("would put the entry back"), "{}", planned.stdout);
    assert_eq!(case.inventory(), before);
    let done = case.workspace.run(["repair", &case.file(), "--from", "backup", "--format", "json"], PATIENCE);
    let done = json(&done.expect_code(0));
    assert_eq!(done["left"], serde_json::json!([]), "{done}");
    case.verify();
    send_readings(&case, 2);
    case.finish();
    case.judge();
}
