//! What happens to a run in a certain order: raced, stopped, fenced, its broker gone. Whatever happens, the dataset is in the
//! end exactly what the topic's committed records must become. `plug/` does more, by chance.

use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};

use crate::harness::broker::Broker;
use crate::harness::case::{Case, PATIENCE};
use crate::harness::ledger::{chains, to};
use crate::harness::oracle::{Record, committed};
use crate::harness::pipeline::Pipeline;
use crate::harness::produce::{Load, produce};
use crate::harness::shim::{Shim, Switch};
use crate::harness::topics::end;
use crate::harness::until;
use crate::harness::weir::{Finished, Run};

/// A member that says nothing for so long is out of the group.
const SESSION: Duration = Duration::from_secs(6);

/// Produces small transactions, some of them aborted, until `body` has ended. The seed tells loads of one topic apart.
pub(crate) fn while_producing<T>(case: &Case, seed: u64, body: impl FnOnce() -> T) -> T {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0.. {
                if over.load(Ordering::Relaxed) {
                    break;
                }
                let seed = seed * 1_000_000 + round;
                let load =
                    Load { records: 2_000, transaction: 40, aborted: 50, broken: 5, tombstones: 2, stations: 3, seed };
                produce(case.broker, &case.pipeline.topic, 3, &load);
            }
        });
        let _over = Over(&over);
        body()
    })
}

/// Sets the flag however the test ends, so that a failing one ends at all.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Commits all the time, with several files each, and a group that notices a dead member soon.
fn restless(pipeline: &mut Pipeline, session: Duration) {
    pipeline.rows_per_window = 20;
    pipeline.roll = r#"windows = 5, age = "200ms""#.into();
    pipeline.source = format!(
        "[source.client]\n\"session.timeout.ms\" = {}\n\"heartbeat.interval.ms\" = {}",
        session.as_millis(),
        session.as_millis() / 6
    );
}

pub(crate) fn restless_case<'a>(broker: &'a Broker, name: &str) -> Case<'a> {
    Case::new(broker, name, 3).with(|pipeline| restless(pipeline, SESSION))
}

/// Waits until this run has committed records of `partitions` partitions since `before`.
fn until_committing(case: &Case, run: &Run, partitions: usize, before: &BTreeMap<i64, i64>) {
    let what = format!("{} has committed records of {partitions} partitions", run.pid());
    until(&what, PATIENCE, || case.written_by(run.pid(), before).len() >= partitions);
}

/// A last run, a judgement, and one more run that sweeps what the last one was in no place to.
#[track_caller]
fn close(case: &Case) {
    case.finish();
    println!("{:?}", case.judge());
    case.assert_complete();
    case.assert_swept();
}

#[test]
fn a_stop_of_one_that_was_replaced() {
    let said = "lane did not commit what it had, because another one did";
    // It may notice a moment before it is to stop: then it starts again.
    let met = (0..8).any(|round| {
        let case = restless_case(Broker::shared(), "replaced");
        let point = [("WEIR_FAILPOINT", "commit.before_link:5:stop")];
        let sleeper = case.workspace.spawn_with(["run", &case.file()], &point);
        // Lanes share commits: how many there are of so many records, nobody knows.
        while_producing(&case, round, || sleeper.until_stopped(PATIENCE));
        // Joins no group, so that the one that sleeps keeps its partitions.
        case.finish();
        // It wakes up, is fenced, and is to stop, all at once: another one has done its work.
        sleeper.signals(&["TERM", "CONT"]);
        let finished = sleeper.wait(PATIENCE).expect_code(0);
        close(&case);
        finished.stderr.contains(said)
    });
    assert!(met, "no lane was fenced while its process stopped");
}

/// The client pauses what a member keeps while its group is rebalanced, and goes on from where it takes itself to be.
#[test]
fn what_a_member_keeps_is_read_on_from_its_end() {
    let case = restless_case(Broker::shared(), "kept");
    let mut seed = 0;
    let mut send = || {
        seed += 1;
        produce(case.broker, &case.pipeline.topic, 3, &Load { records: 60, seed, ..Load::default() });
        // A marker may come after its transaction is known to be committed.
        let ends = || (0..3).map(|partition| end(case.broker, &case.pipeline.topic, partition)).sum::<i64>();
        until("everything is committed", PATIENCE, || case.positions().values().sum::<i64>() == ends());
    };
    let one = case.endless();
    send();
    // Whoever comes and goes does so while there is nothing to read.
    for _ in 0..3 {
        let other = case.endless();
        let before = case.positions();
        while case.written_by(other.pid(), &before).is_empty() {
            send();
        }
        other.signal("TERM");
        other.wait(PATIENCE).expect_code(0);
        send();
    }
    one.signal("TERM");
    one.wait(PATIENCE).expect_code(0);
    close(&case);
}

/// What must be in a dataset that starts where its ledger says: the committed records from there on.
fn from_the_start_on(case: &Case) -> Vec<Record> {
    let starts: BTreeMap<i32, i64> =
        case.chains().into_iter().map(|((_, partition), chain)| (partition as i32, to(&chain[0]))).collect();
    assert_eq!(starts.len(), 3);
    let all = committed(case.broker, &[&case.pipeline.topic]);
    let left_out = all.iter().filter(|record| record.offset < starts[&record.partition]).count();
    println!("{left_out} of {} records came before the start", all.len());
    assert!(left_out > 0, "a start at the latest position has records before it");
    all.into_iter().filter(|record| record.offset >= starts[&record.partition]).collect()
}

fn latest(case: Case) -> Case {
    produce(case.broker, &case.pipeline.topic, 3, &Load { seed: 99, ..Load::default() });
    case.with(|pipeline| pipeline.start = "latest")
}

#[test]
fn two_of_a_group_race_on_an_empty_ledger() {
    for round in 0..3 {
        let case = latest(restless_case(Broker::shared(), "race"));
        while_producing(&case, 4 + round, || {
            let (one, two) = (case.endless(), case.endless());
            until_committing(&case, &one, 1, &BTreeMap::new());
            until_committing(&case, &two, 1, &BTreeMap::new());
            for run in [one, two] {
                run.signal("TERM");
                run.wait(PATIENCE).expect_code(0);
            }
        });
        case.finish();
        println!("{:?}", case.judge_records(&from_the_start_on(&case)));
    }
}

#[test]
fn two_runs_to_the_end_race_on_an_empty_ledger() {
    let case = latest(restless_case(Broker::shared(), "race-to-end"));
    while_producing(&case, 10, || {
        for round in 0..4 {
            let before: i64 = case.positions().values().sum();
            for run in [case.to_end(), case.to_end()] {
                // Whoever loses a chain again and again gives it up, and says so.
                let finished = run.wait(PATIENCE);
                println!("{}: {}", finished.status, finished.stderr);
                assert!(matches!(finished.status.code(), Some(0 | 3)), "{}", finished.stderr);
            }
            assert!(case.positions().values().sum::<i64>() > before);
            // What the next two fight for.
            let load = Load { records: 6_000, stations: 2, seed: 100 + round, ..Load::default() };
            produce(case.broker, &case.pipeline.topic, 3, &load);
        }
    });
    case.finish();
    println!("{:?}", case.judge_records(&from_the_start_on(&case)));
}

#[test]
fn the_broker_goes_and_comes_back() {
    let broker = Broker::own();
    let Case { pipeline, workspace, .. } = restless_case(&broker, "restarted");
    let dataset = workspace.dataset(&pipeline);
    let send = |broker: &Broker, seed| {
        let load = Load { records: 6_000, aborted: 50, broken: 5, seed, ..Load::default() };
        produce(broker, &pipeline.topic, 3, &load);
    };
    let until_all_is_committed = |broker: &Broker| {
        let ends: i64 = (0..3).map(|partition| end(broker, &pipeline.topic, partition)).sum();
        let committed = || chains(&dataset).values().map(|chain| to(chain.last().unwrap())).sum::<i64>();
        until("everything is committed", PATIENCE, || committed() == ends);
    };
    send(&broker, 1);
    let mut run = workspace.spawn(["run", &format!("{}.toml", pipeline.name)]);
    until_all_is_committed(&broker);
    broker.stop();
    // Nothing but time tells that weir keeps quiet.
    thread::sleep(Duration::from_secs(8));
    assert!(run.is_running(), "{}", run.stderr());
    broker.start();
    send(&broker, 2);
    until_all_is_committed(&broker);
    assert!(run.is_running(), "{}", run.stderr());
    run.signal("TERM");
    let finished = run.wait(PATIENCE).expect_code(0);
    println!("{}", finished.stderr);
    let loud = |line: &&str| [" WARN ", " ERROR "].iter().any(|level| line.contains(level));
    let loud = finished.stderr.lines().filter(loud).count();
    assert!((1..=10).contains(&loud), "{loud} lines of warnings and errors:\n{}", finished.stderr);
    close(&Case { broker: &broker, pipeline, workspace });
}

/// Stops weir when its broker is gone. With `roll`, what is read is committed before that, or not at all.
#[track_caller]
fn stopped_without_a_broker(name: &str, roll: &str, code: i32) {
    let broker = Broker::own();
    let Case { pipeline, workspace, .. } = Case::new(&broker, name, 3).with(|pipeline| pipeline.roll = roll.into());
    produce(&broker, &pipeline.topic, 3, &Load { records: 6_000, ..Load::default() });
    let ends: i64 = (0..3).map(|partition| end(&broker, &pipeline.topic, partition)).sum();
    let dataset = workspace.dataset(&pipeline);
    let committed = || chains(&dataset).values().map(|chain| to(chain.last().unwrap())).sum::<i64>();
    let run = workspace.spawn(["run", &format!("{}.toml", pipeline.name)]);
    until("everything is read", PATIENCE, || {
        if code == 0 { committed() == ends } else { run.stderr().contains("6,000 records read") }
    });
    broker.stop();
    run.signal("TERM");
    let asked = Instant::now();
    let finished = run.wait(Duration::from_secs(60)).expect_code(code);
    println!("{:?} {}\n{}\n{}", asked.elapsed(), finished.status, finished.stdout, finished.stderr);
    if code != 0 {
        assert_eq!(committed(), 0, "nothing is committed that Kafka didn't confirm");
        assert_not_committed(&finished, &pipeline.topic);
    }
    broker.start();
    close(&Case { broker: &broker, pipeline, workspace });
}

/// A run or a service says once of each partition that nothing of it was committed: at ERROR, from where to where.
#[track_caller]
fn assert_not_committed(finished: &Finished, topic: &str) {
    let text = &finished.stderr;
    for partition in 0..3 {
        let plain = [format!("partition={partition} "), "position=0 ".to_owned(), "read_to=".to_owned()];
        let json = [format!("\"partition\":{partition},"), "\"position\":0,".to_owned(), "\"read_to\":".to_owned()];
        let says = |line: &&str| {
            let words = [topic, "records were read but not committed", "ERROR"];
            let has = |of: &[String]| of.iter().all(|word| line.contains(&**word));
            words.iter().all(|word| line.contains(word)) && (has(&plain) || has(&json))
        };
        assert_eq!(text.lines().filter(says).count(), 1, "{topic}:{partition}:\n{text}\n{}", finished.stdout);
    }
}

/// A pipeline whose records are read while the disk is full; the lanes have failed, and wait for their next start.
fn on_a_full_disk(name: &str, shim: &Shim, environment: &[(&str, &str)]) -> (Case<'static>, Run) {
    let case = Case::new(Broker::shared(), name, 3).with(|pipeline| pipeline.roll = r#"age = "100ms""#.into());
    let files = case.workspace.path().join("pipelines");
    fs::create_dir_all(&files).unwrap();
    fs::write(files.join(case.file()), case.pipeline.toml()).unwrap();
    let shimmed = shim.environment();
    let all: Vec<(&str, &str)> =
        shimmed.iter().map(|(name, value)| (*name, &**value)).chain(environment.iter().copied()).collect();
    let command = if environment.is_empty() { vec!["run", "p.toml"] } else { vec!["serve"] };
    fs::copy(files.join(case.file()), case.workspace.path().join("p.toml")).unwrap();
    let run = case.workspace.spawn_with(command, &all);
    until("the lanes run", PATIENCE, || run.stderr().matches("lane starts").count() == 3);
    shim.set(Switch::Full, 1);
    produce(case.broker, &case.pipeline.topic, 3, &Load { records: 3_000, ..Load::default() });
    let failed = |partition: usize| {
        let text = run.stderr();
        let of = [format!("partition={partition} "), format!("\"partition\":{partition},")];
        text.lines().any(|line| line.contains("starts again from its ledger") && of.iter().any(|of| line.contains(of)))
    };
    until("all lanes have failed", PATIENCE, || (0..3).all(failed));
    (case, run)
}

#[test]
fn a_stop_on_a_full_disk_says_what_was_not_committed() {
    let shim = Shim::new();
    let (case, run) = on_a_full_disk("full", &shim, &[]);
    run.signal("TERM");
    let finished = run.wait(Duration::from_secs(60)).expect_code(3);
    assert_not_committed(&finished, &case.pipeline.topic);
    for partition in 0..3 {
        let failed = format!("{}:{partition} is parked: it read positions 0 to ", case.pipeline.topic);
        assert!(finished.stdout.contains(&failed), "{failed}\n{}", finished.stdout);
    }
    assert!(finished.stdout.contains("No space left on device"), "{}", finished.stdout);
    shim.set(Switch::Full, 0);
    close(&case);
}

#[test]
fn a_service_that_stops_on_a_full_disk_says_what_was_not_committed() {
    let shim = Shim::new();
    let environment = [("WEIR__HTTP__LISTEN", "127.0.0.1:0")];
    let (case, run) = on_a_full_disk("full-service", &shim, &environment);
    run.signal("TERM");
    let finished = run.wait(Duration::from_secs(60)).expect_code(3);
    assert_not_committed(&finished, &case.pipeline.topic);
    shim.set(Switch::Full, 0);
    close(&case);
}

/// What was read again and committed since is no failure.
#[test]
fn a_stop_after_a_full_disk_is_none() {
    let shim = Shim::new();
    let (case, run) = on_a_full_disk("full-again", &shim, &[]);
    let ends: i64 = (0..3).map(|partition| end(case.broker, &case.pipeline.topic, partition)).sum();
    shim.set(Switch::Full, 0);
    let dataset = case.dataset();
    let committed = || chains(&dataset).values().map(|chain| to(chain.last().unwrap())).sum::<i64>();
    until("all is committed", PATIENCE, || committed() == ends);
    run.signal("TERM");
    let finished = run.wait(Duration::from_secs(60)).expect_code(0);
    assert!(!finished.stderr.contains("ERROR"), "{}", finished.stderr);
    close(&case);
}

#[test]
fn a_stop_while_the_broker_is_gone() {
    stopped_without_a_broker("orphaned", r#"age = "200ms""#, 0);
}

#[test]
fn a_stop_while_the_broker_is_gone_and_records_wait() {
    stopped_without_a_broker("unconfirmed", r#"windows = 1000000, age = "1h""#, 3);
}

#[test]
fn a_batch_that_cannot_be_read_is_no_gap() {
    let broker = Broker::own();
    let Case { pipeline, workspace, .. } = restless_case(&broker, "corrupt");
    produce(&broker, &pipeline.topic, 3, &Load { records: 6_000, ..Load::default() });
    let ends: Vec<i64> = (0..3).map(|partition| end(&broker, &pipeline.topic, partition)).collect();
    broker.stop();
    // One byte in the middle of a partition, a batch's last one: brokers hand out what is on their disk, and clients check it.
    let log = broker.log(&pipeline.topic, 1);
    let mut bytes = fs::read(&log).unwrap();
    let length = |at: usize| 12 + i32::from_be_bytes(bytes[at + 8..at + 12].try_into().unwrap()) as usize;
    let batches = std::iter::successors(Some(0), |at| Some(at + length(*at)).filter(|next| *next < bytes.len()));
    // A transaction's marker is shorter.
    let hit = batches.clone().find(|at| *at > bytes.len() / 2 && length(*at) > 500).unwrap();
    let middle = hit + length(hit) - 1;
    bytes[middle] ^= 0x55;
    fs::write(&log, &bytes).unwrap();
    broker.start();
    let mut run =
        workspace.spawn_with(["run", &format!("{}.toml", pipeline.name)], &[("WEIR__RESTART__BACKOFF_MAX", "1s")]);
    let positions = || -> Vec<i64> {
        chains(&workspace.dataset(&pipeline)).values().map(|chain| to(chain.last().unwrap())).collect()
    };
    until("the partition is parked and the others are read", PATIENCE, || {
        let read = positions();
        assert!(run.is_running(), "{}", run.stderr());
        run.stderr().contains("lane is parked") && read.len() == 3 && (read[0], read[2]) == (ends[0], ends[2])
    });
    let stuck_at = positions()[1];
    assert!(stuck_at > 0 && stuck_at < ends[1], "{stuck_at} of {}", ends[1]);
    run.signal("TERM");
    let finished = run.wait(PATIENCE).expect_code(3);
    println!("{}", finished.stdout);
    assert!(finished.stdout.contains("can't read a batch of records"), "{}", finished.stdout);
    // With the byte as it was, nothing is missing.
    broker.stop();
    bytes[middle] ^= 0x55;
    fs::write(&log, &bytes).unwrap();
    broker.start();
    close(&Case { broker: &broker, pipeline, workspace });
}

#[test]
fn a_run_to_the_end_that_is_stopped_before_it_began_is_no_success() {
    let case = restless_case(Broker::shared(), "early");
    produce(case.broker, &case.pipeline.topic, 3, &Load { records: 3_000, ..Load::default() });
    for _ in 0..3 {
        // A dataset of its own each time: what is there says nothing then.
        let case = Case::of(case.broker, case.pipeline.clone());
        let run = case.workspace.spawn(["run", &case.file(), "--until-end"]);
        // Signals are taken from the moment on that the dataset is opened.
        until("it begins", PATIENCE, || case.dataset().join("ledger/dataset.json").exists());
        run.signal("TERM");
        let finished = run.wait(PATIENCE);
        let ends: i64 = (0..3).map(|partition| end(case.broker, &case.pipeline.topic, partition)).sum();
        let all = case.positions().values().sum::<i64>() == ends;
        assert_eq!(finished.status.code(), Some(if all { 0 } else { 3 }), "{}\n{}", finished.stdout, finished.stderr);
    }
    close(&case);
}

#[test]
fn a_stop_under_load_commits_what_was_read() {
    let case = restless_case(Broker::shared(), "stopped");
    while_producing(&case, 20, || {
        for signal in ["TERM", "INT"] {
            let run = case.endless();
            until_committing(&case, &run, 3, &case.positions());
            let asked = Instant::now();
            run.signal(signal);
            let finished = run.wait(Duration::from_secs(30)).expect_code(0);
            println!("{signal}: {:?}\n{}", asked.elapsed(), finished.stdout);
            let trouble = finished.stderr.contains(" WARN ") || finished.stdout.contains("restarts");
            assert!(!trouble, "an orderly stop is no trouble:\n{}\n{}", finished.stderr, finished.stdout);
            assert_eq!(case.committed_offsets(), case.positions(), "Kafka was told how far the ledger is");
        }
    });
    close(&case);
}

/// The members of the pipeline's group, as the broker knows them.
fn members(case: &Case) -> usize {
    let client: BaseConsumer = ClientConfig::new().set("bootstrap.servers", case.broker.address()).create().unwrap();
    let group = format!("weir-{}", case.pipeline.name);
    let groups = client.fetch_group_list(Some(&group), PATIENCE).unwrap();
    groups.groups().iter().map(|group| group.members().len()).sum()
}

/// One has the topic's only partition, one has none. Nobody has to wait for the end of a session, which takes 45 seconds. A
/// member that didn't leave also made Kafka's client crash now and then: see `src/kafka/consumer.rs`.
#[test]
fn who_is_stopped_leaves_its_group() {
    let case = Case::new(Broker::shared(), "leaves", 1);
    let first = case.endless();
    until("the first one has the partition", PATIENCE, || case.entries() > 0);
    let second = case.endless();
    until("both are members", PATIENCE, || members(&case) == 2 && second.stderr().contains("partitions assigned"));
    for (run, left) in [(second, 1), (first, 0)] {
        run.signal("TERM");
        run.wait(PATIENCE).expect_code(0);
        assert_eq!(members(&case), left);
    }
}
