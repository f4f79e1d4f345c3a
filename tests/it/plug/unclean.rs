//! An unclean election: brokers lose records that read_committed had shown, and others take their offsets.
//!
//! Nobody can bring the lost ones back, and what weir read of them stays in the dataset. What it must not do is go on as if
//! nothing had happened: it refuses while the log ends before its position, and when new records have made it longer again.

use std::time::{Duration, Instant};

use super::dice::Dice;
use super::world::{case, tail};
use crate::harness::case::{Case, PATIENCE};
use crate::harness::cluster::Cluster;
use crate::harness::oracle::{Record, committed};
use crate::harness::produce::{Load, produce};
use crate::harness::topics::{make_assigned, try_end};
use crate::harness::until;

/// A topic that is about to lose records.
struct Doomed<'a> {
    cluster: &'a Cluster,
    case: Case<'a>,
    seed: u64,
}

impl<'a> Doomed<'a> {
    /// The replicas are on brokers 1 and 2; broker 3 keeps the cluster's majority.
    fn new(cluster: &'a Cluster, topic: &str, dice: &mut Dice) -> Doomed<'a> {
        let settings = [("unclean.leader.election.enable", "true"), ("min.insync.replicas", "1")];
        make_assigned(&cluster.brokers[2], topic, &[&[1, 2]], &settings);
        Doomed { cluster, case: case(cluster, topic), seed: dice.seed() }
    }

    fn send(&mut self, records: u64) {
        self.seed = self.seed.wrapping_add(1);
        let load = Load { records, transaction: 20, aborted: 100, seed: self.seed, ..Load::default() };
        produce(&self.cluster.brokers[2], &self.case.pipeline.topic, 1, &load);
    }

    fn position(&self) -> i64 {
        self.case.positions()[&0]
    }

    fn end(&self) -> Option<i64> {
        try_end(&self.cluster.brokers[2], &self.case.pipeline.topic, 0, Duration::from_secs(2)).ok()
    }

    /// What broker 2 doesn't have is lost, after both halves were there to be read. Gives what there was, and where the log
    /// ends now.
    fn lose(&mut self, mut read: impl FnMut(&Self)) -> (Vec<Record>, i64) {
        self.send(400);
        read(self);
        self.cluster.brokers[1].kill();
        self.send(400);
        read(self);
        let records = committed(&self.cluster.brokers[2], &[&self.case.pipeline.topic]);
        let end = self.end().expect("broker 1 leads");
        self.cluster.brokers[0].kill();
        self.cluster.brokers[1].start();
        let mut cut_at = end;
        until("broker 2 leads, with less", PATIENCE, || {
            cut_at = self.end().unwrap_or(end);
            cut_at < end
        });
        (records, cut_at)
    }

    /// Broker 1 follows, and the log gets longer than it was.
    fn lengthen(&mut self) {
        self.cluster.brokers[0].start();
        self.cluster.settle();
        self.send(800);
        assert!(self.end().expect("a leader") > self.position(), "new records have taken the places of lost ones");
    }

    /// A run refuses to go on, and says these words.
    fn assert_refused(&self, words: &[&str]) {
        let finished = self.case.to_end().wait(PATIENCE).expect_code(3);
        let said = finished.stdout + &finished.stderr;
        for word in words.iter().chain(&[&*format!("{}:0", self.case.pipeline.topic)]) {
            assert!(said.contains(word), "no {word:?} in:\n{said}");
        }
    }

    /// The way out that the messages name is another dataset. It has what Kafka has.
    fn begin_again(&mut self) -> Duration {
        std::fs::rename(self.case.dataset(), self.case.dataset().with_extension("old")).unwrap();
        self.send(400);
        let since = Instant::now();
        self.case.finish();
        let took = since.elapsed();
        self.case.judge();
        took
    }
}

/// weir isn't there while it happens.
pub(super) fn election(cluster: &Cluster, topic: &str, dice: &mut Dice) -> Duration {
    let mut doomed = Doomed::new(cluster, topic, dice);
    let (read, cut_at) = doomed.lose(|doomed| _ = doomed.case.finish());
    let position = doomed.position();
    doomed.assert_refused(&[&format!("position {position}"), &format!("ends at {cut_at}"), "was cut"]);
    doomed.lengthen();
    doomed.assert_refused(&[&format!("position {position}"), "no longer have that record of leader epoch"]);
    // What weir read is in the dataset, once, what was lost included.
    doomed.case.judge_records(&read);
    doomed.begin_again()
}

/// A run to the end has begun, and hasn't read what is lost.
pub(super) fn election_before_the_end(cluster: &Cluster, topic: &str, dice: &mut Dice) -> Duration {
    let mut doomed = Doomed::new(cluster, topic, dice);
    let (mut runs, mut end) = (Vec::new(), 0);
    let (_, cut_at) = doomed.lose(|doomed| {
        if runs.is_empty() && doomed.case.entries() == 0 {
            doomed.case.finish();
            return;
        }
        let run = doomed.case.to_end_with(&[("WEIR_FAILPOINT", "recover.before_return:1:stop")]);
        run.until_stopped(PATIENCE);
        (end, runs) = (doomed.end().expect("broker 1 leads"), vec![run]);
    });
    let run = runs.pop().expect("one that sleeps");
    run.signal("CONT");
    let finished = run.wait(PATIENCE).expect_code(3);
    let said = finished.stdout + &finished.stderr;
    for word in [format!("up to position {end}"), format!("ends at {cut_at} now")] {
        assert!(said.contains(&word), "no {word:?} in:\n{said}");
    }
    // It has taken nothing for read that wasn't there: the dataset goes on.
    doomed.lengthen();
    let since = Instant::now();
    doomed.case.finish();
    let took = since.elapsed();
    doomed.case.judge();
    took
}

/// weir has read everything, and waits for more.
pub(super) fn election_under_way(cluster: &Cluster, topic: &str, dice: &mut Dice) -> Duration {
    let mut doomed = Doomed::new(cluster, topic, dice);
    let weir = doomed.case.endless();
    let (read, _) = doomed.lose(|doomed| {
        until("everything is committed", PATIENCE, || {
            doomed.end().is_some_and(|end| doomed.case.entries() > 0 && doomed.position() == end)
        });
    });
    let position = doomed.position();
    doomed.lengthen();
    // Whichever it comes to first: the log was too short when it looked, or it was long enough again.
    let told = |log: &str| log.contains("was cut") || log.contains("no longer have that record");
    until("the lane is given up", PATIENCE, || told(&weir.stderr()) && weir.stderr().contains("lane is parked"));
    assert_eq!(doomed.position(), position, "nothing was read on:\n{}", tail(&weir.stderr()));
    weir.signal("TERM");
    weir.wait(PATIENCE).expect_code(3);
    doomed.case.judge_records(&read);
    doomed.begin_again()
}
