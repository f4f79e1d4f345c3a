//! The faults that weir must survive: each is done to a [`World`], and is over when its function returns.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::thread::sleep;
use std::time::Duration;

use weir::base::failpoint;

use super::dice::Dice;
use super::world::{SESSION, World, tail};
use crate::harness::case::PATIENCE;
use crate::harness::cgroup::Cgroup;
use crate::harness::feed::CODECS;
use crate::harness::proxy::Mode;
use crate::harness::shim::Switch;
use crate::harness::stranger::Stranger;
use crate::harness::topics::add_partitions;
use crate::harness::until;
use crate::harness::weir::{Finished, Run};

const SIGABRT: i32 = 6;

pub(super) fn killed(world: &mut World, _: usize, dice: &mut Dice) {
    // Most moments are among commits.
    if dice.one_in(4) {
        world.take().kill();
        world.restart();
    } else {
        world.one_more_entry();
    }
    sleep(dice.within(0..400));
    world.take().kill();
    world.assert_kafka_is_behind();
    world.restart();
}

/// Crashes at the named point of this number, and starts again.
pub(super) fn crashed(world: &mut World, variant: usize, dice: &mut Dice) {
    let name = failpoint::NAMES[variant % failpoint::NAMES.len()];
    reach(world, name, dice);
    world.restart();
}

/// Crashes in a commit, and then where recovery goes.
pub(super) fn crashed_in_recovery(world: &mut World, variant: usize, dice: &mut Dice) {
    let commit = ["commit.after_link", "publish.before_link", "publish.after_link", "publish.before_unlink"];
    crash_at(world, &format!("{}:{}", dice.of(&commit), dice.range(1..4)));
    let recover: Vec<&str> = failpoint::NAMES.iter().copied().filter(|name| name.starts_with("recover.")).collect();
    let point = format!("{}:{}", recover[variant % recover.len()], dice.range(1..3));
    crash_at(world, &point);
    world.restart();
}

/// Ends the process in order and starts one that crashes at a point; it must get there.
fn reach(world: &mut World, name: &str, dice: &mut Dice) {
    match name.split('.').next() {
        // Made once a definition.
        Some("dataset") => world.define(),
        // There must be an attempt that another one replaced. One that a crash leaves may be swept before, where a lane
        // starts again meanwhile.
        Some("sweep") => {
            crash_at(world, "commit.before_link:1");
            world.restart();
            world.progress();
            world.take().kill();
            world.plant_staged(dice.next());
        }
        _ => {}
    }
    let times = if name.starts_with("commit") || name.starts_with("publish") { dice.range(1..5) } else { 1 };
    crash_at(world, &format!("{name}:{times}"));
}

fn crash_at(world: &mut World, point: &str) {
    if world.has_weir() {
        world.weir().signal("TERM");
        world.ended().expect_code(0);
    }
    let finished = world.another(&[("WEIR_FAILPOINT", point)]).wait(PATIENCE);
    let Finished { status, stderr, .. } = &finished;
    assert_eq!(status.signal(), Some(SIGABRT), "{point}: {status}\n{}", tail(stderr));
}

pub(super) fn stopped(world: &mut World, _: usize, dice: &mut Dice) {
    sleep(dice.within(0..300));
    world.weir().signal("TERM");
    world.ended().expect_code(0);
    world.assert_kafka_is_behind();
    world.restart();
}

pub(super) fn stopped_twice(world: &mut World, _: usize, dice: &mut Dice) {
    sleep(dice.within(0..300));
    // Two different ones: the kernel would make one of two equal ones.
    world.weir().signals(&["INT", "TERM"]);
    let finished = world.ended();
    // It may have done everything that the first one asks for before the second one comes.
    assert!(matches!(finished.status.code(), Some(0 | 130)), "{}\n{}", finished.status, tail(&finished.stderr));
    world.restart();
}

pub(super) fn broker_killed(world: &mut World, _: usize, dice: &mut Dice) {
    let broker = dice.of(&world.cluster.brokers);
    broker.kill();
    sleep(dice.within(0..1_500));
    broker.start();
    world.cluster.settle();
}

pub(super) fn broker_stopped(world: &mut World, _: usize, dice: &mut Dice) {
    let broker = dice.of(&world.cluster.brokers);
    broker.stop();
    sleep(dice.within(0..1_500));
    broker.start();
    world.cluster.settle();
}

/// One of three is away for long enough that leaders move, and weir goes on without it.
pub(super) fn one_of_three_killed(world: &mut World, _: usize, dice: &mut Dice) {
    let broker = dice.of(&world.cluster.brokers);
    broker.kill();
    world.progress();
    broker.start();
    world.cluster.settle();
}

/// One of three hands its leaders over and gets them back.
pub(super) fn leaders_moved(world: &mut World, _: usize, dice: &mut Dice) {
    let broker = dice.of(&world.cluster.brokers);
    broker.stop();
    world.progress();
    broker.start();
    world.cluster.settle();
    // Brokers give leaders back within two seconds.
    sleep(Duration::from_millis(2_500));
}

/// The network, or a part of it, does so for a while.
pub(super) fn network(world: &mut World, dice: &mut Dice, mode: Mode) {
    match dice.one_in(2) {
        true => world.cluster.network(mode),
        false => dice.of(&world.cluster.proxies).set(mode),
    }
    sleep(dice.within(300..4_000));
    world.cluster.network(Mode::Pass);
}

/// Others join and leave all the time, one way or the other.
pub(super) fn storm(world: &mut World, _: usize, dice: &mut Dice) {
    let mut others: Vec<Run> = Vec::new();
    for _ in 0..dice.range(4..8) {
        if others.len() < 2 || dice.one_in(2) {
            others.push(world.another(&[]));
        } else {
            leave(others.swap_remove(dice.range(0..others.len() as u64) as usize), dice);
        }
        sleep(dice.within(300..1_500));
    }
    others.into_iter().for_each(|other| leave(other, dice));
}

fn leave(run: Run, dice: &mut Dice) {
    if dice.one_in(3) {
        run.kill();
    } else {
        run.signal("TERM");
        let finished = run.wait(PATIENCE);
        // One that is stopped before it began to listen for signals ends by the signal.
        let early = finished.status.signal() == Some(15);
        assert!(early || finished.status.code() == Some(0), "{}\n{}", finished.status, tail(&finished.stderr));
    }
}

pub(super) fn frozen(world: &mut World, _: usize, dice: &mut Dice) {
    sleep(dice.within(0..400));
    world.weir().signal("STOP");
    let sleeper = world.take();
    taken_over(world, sleeper, dice);
}

/// Frozen at the named point of this number.
pub(super) fn frozen_at_a_point(world: &mut World, variant: usize, dice: &mut Dice) {
    // A recovery that is frozen in its place keeps the group waiting for an answer, as the others do.
    let points: Vec<&str> = failpoint::NAMES.iter().copied().filter(|name| !is_rare(name)).collect();
    let name = points[variant % points.len()];
    let times = if name.starts_with("recover") { 1 } else { dice.range(1..5) };
    world.weir().signal("TERM");
    world.ended().expect_code(0);
    let sleeper = world.another(&[("WEIR_FAILPOINT", &format!("{name}:{times}:stop"))]);
    sleeper.until_stopped(PATIENCE);
    taken_over(world, sleeper, dice);
}

fn is_rare(name: &str) -> bool {
    name.starts_with("dataset") || name.starts_with("sweep")
}

/// Somebody else gets the partitions of one that sleeps; then it wakes up, and one of the two leaves.
fn taken_over(world: &mut World, sleeper: Run, dice: &mut Dice) {
    sleep(SESSION);
    world.restart();
    world.progress();
    sleeper.signal("CONT");
    if dice.one_in(2) {
        // The one that slept stays.
        world.weir().signal("TERM");
        world.ended().expect_code(0);
        world.adopt(sleeper);
    } else {
        sleep(dice.within(0..1_000));
        sleeper.signal("TERM");
        sleeper.wait(PATIENCE).expect_code(0);
    }
}

/// The disk does so until weir has said it, and a while longer.
pub(super) fn switched(world: &mut World, switch: Switch, words: &str, dice: &mut Dice) {
    let said = world.weir().stderr().matches(words).count();
    world.shim.set(switch, 1);
    until("weir says what is wrong", PATIENCE, || world.weir().stderr().matches(words).count() > said);
    sleep(dice.within(0..2_000));
    world.shim.set(switch, 0);
}

/// What failed to be made durable is never trusted again: a folder stays failed until weir is started again, as it says.
pub(super) fn syncs_fail(world: &mut World, _: usize, dice: &mut Dice) {
    world.shim.set(Switch::SyncsFail, dice.range(1..4) as i64);
    until("every failure was given", PATIENCE, || world.shim.get(Switch::SyncsFail) == 0);
    if world.progress_within(Duration::from_secs(3)).is_none() {
        let said = world.weir().stderr();
        assert!(said.contains("then start weir again"), "no progress, and no word of it:\n{}", tail(&said));
        world.take().kill();
        world.restart();
    }
}

pub(super) fn slow_disk(world: &mut World, _: usize, dice: &mut Dice) {
    world.shim.set(Switch::SyncMs, dice.range(50..300) as i64);
    sleep(dice.within(500..2_500));
    world.shim.set(Switch::SyncMs, 0);
}

/// Nothing behind an open transaction is read; what weir says of it is a metric.
pub(super) fn hanging_transaction(world: &mut World, _: usize, dice: &mut Dice) {
    let values = (0..30).map(|_| b"never".to_vec());
    let open = world.feed.open(&format!("{}-hanging", world.case.pipeline.topic), "lz4", values);
    world.assert_stuck_is_told();
    // Up to there and no further, for as long as it hangs.
    let stuck = |world: &World| world.partitions().map(|partition| world.end(partition)).collect::<Vec<_>>();
    until("everything before it is read", PATIENCE, || world.case.positions().into_values().eq(stuck(world)));
    let held = stuck(world);
    sleep(dice.within(500..3_000));
    assert!(world.case.positions().into_values().eq(held), "records behind an open transaction were read");
    open.abort();
}

/// Aborted records that don't fit into one fetch, with every codec.
pub(super) fn large_abort(world: &mut World, variant: usize, dice: &mut Dice) {
    let codec = CODECS[variant % CODECS.len()];
    // Nothing that a codec could make small.
    let noise = |n: u64| (0..150).flat_map(move |k| crate::harness::produce::random(n, "noise", k).to_le_bytes());
    let first = dice.next();
    let values = (0..6_000).map(|n| noise(first.wrapping_add(n)).collect());
    world.feed.open(&format!("{}-large", world.case.pipeline.topic), codec, values).abort();
}

pub(super) fn more_partitions(world: &mut World, _: usize, _: &mut Dice) {
    assert_eq!(world.feed.partitions(), 3, "a topic grows once");
    add_partitions(world.case.broker, &world.case.pipeline.topic, 12);
    world.feed.widen(12);
}

/// Forward by up to a day, or back by a moment. Kafka's client waits by the wall clock: a step back makes waits longer by as
/// much, so that one of hours would stop it for hours.
pub(super) fn clock_stepped(world: &mut World, _: usize, dice: &mut Dice) {
    let step = if dice.one_in(2) { dice.range(60..86_400) as i64 } else { -(dice.range(1..3) as i64) };
    world.shim.set(Switch::ClockS, world.shim.get(Switch::ClockS) + step);
}

/// Committed records that break decoders.
pub(super) fn poison(world: &mut World, _: usize, dice: &mut Dice) {
    let mut values: Vec<Vec<u8>> = vec![
        b"[".repeat(40_000),
        br#"{"a":"#.repeat(20_000),
        vec![0xff, 0xfe, 0x00, 0xc3, 0x28],
        Vec::new(),
        vec![b' '; 100_000],
        b"{\"station_id\":\"IT-01\",\"timestamp\":\"2004-03-10T18:00:00\"}{\"station_id\":\"IT-01\"}".to_vec(),
        b"{\"station_id\":\"IT-01\",\"timestamp\":\"2004-03-10T18:00:00\",\"t\":1e999}".to_vec(),
        b"{\"station_id\":\"../../etc\",\"timestamp\":\"2004-03-10T18:00:00\"}".to_vec(),
        format!("{{\"station_id\":\"{}\"}}", "x".repeat(400_000)).into_bytes(),
    ];
    values.extend(
        (0..60).map(|n| {
            (0..40).map(|k| crate::harness::produce::random(dice.seed(), "bytes", n * 40 + k) as u8).collect()
        }),
    );
    world.feed.open(&format!("{}-poison", world.case.pipeline.topic), "zstd", values).commit();
}

/// Somebody else is in the group who shares partitions out in another way: weir says so, is not ready, and reads on when the
/// other one is gone.
pub(super) fn group_refused(world: &mut World, _: usize, dice: &mut Dice) {
    world.weir().signal("TERM");
    world.ended().expect_code(0);
    let stranger = Stranger::join(&world.case);
    world.restart();
    let said = |world: &mut World| world.weir().stderr().contains("the group refuses this consumer");
    until("weir says that the group refuses it", PATIENCE, || said(world));
    world.assert_not_ready();
    sleep(dice.within(0..2_000));
    drop(stranger);
}

/// weir has little memory, and what comes compresses to nearly nothing: 300 MB of it, a third of it in one partition.
pub(super) fn little_memory(world: &mut World, _: usize, dice: &mut Dice) {
    world.weir().signal("TERM");
    world.ended().expect_code(0);
    let id = format!("{}-compressible", world.case.pipeline.topic);
    world.feed.compressible(&id, dice.range(70..80));
    let group = Cgroup::new(&world.case.pipeline.topic, 128 << 20);
    let weir = world.another(&[("WEIR__LIMITS__MEMORY", "64MiB")]);
    group.take_in(weir.pid());
    world.adopt(weir);
    // They came before what comes now.
    world.progress();
    let ends: Vec<i64> = world.partitions().map(|partition| world.end(partition)).collect();
    until("everything is read with little memory", PATIENCE, || {
        assert!(world.is_alive(), "weir ended by itself: it may have had too little memory");
        world.case.positions().into_values().zip(&ends).all(|(position, end)| position >= *end)
    });
    world.weir().signal("TERM");
    world.ended().expect_code(0);
    world.restart();
}

/// Somebody removes `staging/`, at a moment when it has nothing that an entry names.
pub(super) fn staging_removed(world: &mut World, _: usize, dice: &mut Dice) {
    until("staging/ can be removed", PATIENCE, || {
        sleep(dice.within(0..400));
        world.weir().signal("STOP");
        world.weir().until_stopped(PATIENCE);
        let published = world.case.is_published();
        if published {
            fs::remove_dir_all(world.case.dataset().join("staging")).unwrap();
        }
        world.weir().signal("CONT");
        published
    });
}

/// What is read can't be committed, and isn't waited for: weir says so by its exit code.
pub(super) fn stopped_on_a_full_disk(world: &mut World, _: usize, dice: &mut Dice) {
    // Of a file of rows: an entry of nothing but markers leaves no record behind.
    let is_of_rows = |line: &&str| line.contains("No space left on device") && line.contains(".parquet");
    let failures = |said: String| said.lines().filter(is_of_rows).count();
    // What the group took away is not weir's to commit. The fault before may have cost it its partitions.
    let owns = |said: &str| said.rfind("partitions assigned") > said.rfind("partitions lost, their lanes are dropped");
    until("weir has its partitions", PATIENCE, || owns(&world.weir().stderr()));
    world.progress();
    let before = failures(world.weir().stderr());
    world.shim.set(Switch::Full, 1);
    until("weir says what is wrong", PATIENCE, || failures(world.weir().stderr()) > before);
    sleep(dice.within(0..500));
    world.weir().signal("TERM");
    let ended = world.ended();
    // On a busy machine the session may run out meanwhile.
    if owns(&ended.stderr) {
        ended.expect_code(3);
    }
    world.shim.set(Switch::Full, 0);
    world.restart();
}

/// What an instance that is no more left in `staging/`: attempts at entries that are there, and at such that will be.
pub(super) fn foreign_staging(world: &mut World, _: usize, dice: &mut Dice) {
    world.plant_staged(dice.next());
    world.take().kill();
    world.restart();
}
