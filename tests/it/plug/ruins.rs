//! The faults after which weir must refuse: it says what is wrong, where, and what to do, and changes nothing. With the
//! damage undone it goes on, and the dataset is right in the end.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::dice::Dice;
use super::world::case;
use crate::harness::case::{Case, PATIENCE};
use crate::harness::cluster::Cluster;
use crate::harness::dataset::files;
use crate::harness::ledger;
use crate::harness::produce::{Load, produce};
use crate::harness::topics::{delete_records, delete_topic, end, make_topic};
use crate::harness::until;
use crate::harness::weir::Finished;

/// A dataset that holds everything its topic has, to be ruined.
pub(super) struct Ruin<'a> {
    case: Case<'a>,
    seed: u64,
}

/// What puts things right again.
type Undo = Box<dyn FnOnce()>;

impl<'a> Ruin<'a> {
    pub(super) fn new(cluster: &'a Cluster, topic: &str, seed: u64) -> Ruin<'a> {
        make_topic(&cluster.brokers[0], topic, 3, &[]);
        let ruin = Ruin { case: case(cluster, topic), seed };
        // Several entries a partition, more or less of them.
        for part in 0..2 + seed % 2 {
            ruin.send(part, 600);
            ruin.case.finish();
        }
        ruin
    }

    fn send(&self, part: u64, records: u64) {
        let seed = self.seed.wrapping_add(part);
        let load = Load { records, transaction: 40, aborted: 150, broken: 10, tombstones: 5, stations: 2, seed };
        produce(self.case.broker, &self.case.pipeline.topic, 3, &load);
    }

    /// A run refuses with these words, and no file changes.
    fn refused(&self, words: &[&str]) {
        let before = self.case.inventory();
        let finished = self.case.to_end().wait(PATIENCE).expect_code(3);
        contains(&finished, words);
        assert_eq!(self.case.inventory(), before, "a refused run must change nothing");
    }

    /// `weir verify` finds something, and says these words.
    fn found(&self, words: &[&str]) {
        let finished = self.case.workspace.run(["verify", &self.case.file()], PATIENCE).expect_code(1);
        contains(&finished, words);
    }

    /// Goes on to the end; says how long the first entry took.
    fn goes_on(&self) -> Duration {
        self.send(90, 600);
        let (before, since) = (self.case.newest(), Instant::now());
        let mut run = self.case.to_end();
        until("an entry", PATIENCE, || self.case.newest() != before || !run.is_running());
        let took = since.elapsed();
        run.wait(PATIENCE).expect_code(0);
        self.case.judge();
        took
    }

    fn dataset(&self) -> PathBuf {
        self.case.dataset()
    }

    /// An entry that is neither its chain's first nor its last, or the last.
    fn entry(&self, dice: &mut Dice, newest: bool) -> PathBuf {
        let all = ledger::plain(&self.dataset());
        let number = |path: &Path| path.file_stem().unwrap().to_str().unwrap().parse::<u64>().unwrap();
        let last =
            |path: &Path| !all.iter().any(|other| other.parent() == path.parent() && number(other) > number(path));
        let fit: Vec<&PathBuf> = all.iter().filter(|path| number(path) > 0 && last(path) == newest).collect();
        (*dice.of(&fit)).clone()
    }
}

fn contains(finished: &Finished, words: &[&str]) {
    let said = format!("{}{}", finished.stdout, finished.stderr);
    for word in words {
        assert!(said.contains(word), "no {word:?} in:\n{said}");
    }
}

/// Replaces a file's content as a disk would that has gone bad; undone, it is the very same file.
fn replace(path: &Path, change: impl FnOnce(&mut Vec<u8>)) -> Undo {
    let (path, right) = (path.to_owned(), fs::read(path).unwrap());
    let mut wrong = right.clone();
    change(&mut wrong);
    assert!(right != wrong, "{} isn't changed", path.display());
    fs::write(&path, wrong).unwrap();
    Box::new(move || fs::write(path, right).unwrap())
}

fn remove(path: &Path) -> Undo {
    let (path, away) = (path.to_owned(), path.with_extension("away"));
    let away = std::env::temp_dir().join(format!("{}-{}", std::process::id(), away.file_name().unwrap().display()));
    fs::copy(&path, &away).unwrap();
    fs::remove_file(&path).unwrap();
    Box::new(move || {
        fs::copy(&away, &path).unwrap();
        fs::remove_file(away).unwrap();
    })
}

fn name(path: &Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}

fn flip(bytes: &mut [u8], dice: &mut Dice) {
    let at = dice.range(0..bytes.len() as u64 * 8);
    bytes[(at / 8) as usize] ^= 1 << (at % 8);
}

pub(super) fn made_again_shorter(ruin: &Ruin, _: &mut Dice) -> Duration {
    made_again(ruin, 90)
}

pub(super) fn made_again_longer(ruin: &Ruin, _: &mut Dice) -> Duration {
    made_again(ruin, 4_000)
}

/// The way out that the message names is another dataset.
fn made_again(ruin: &Ruin, records: u64) -> Duration {
    let topic = &ruin.case.pipeline.topic;
    delete_topic(ruin.case.broker, topic);
    make_topic(ruin.case.broker, topic, 3, &[]);
    ruin.send(50, records);
    ruin.refused(&["deleted and made again", topic, "another name", &ruin.dataset().display().to_string()]);
    ruin.case.verify();
    fs::rename(ruin.dataset(), ruin.dataset().with_extension("old")).unwrap();
    ruin.goes_on()
}

/// The other partitions go on, so only one chain stays as it is. The way out is another dataset, from what is left on.
pub(super) fn records_deleted(ruin: &Ruin, dice: &mut Dice) -> Duration {
    ruin.send(50, 900);
    let (topic, partition) = (&ruin.case.pipeline.topic, dice.range(0..3) as i32);
    let position = ruin.case.positions()[&i64::from(partition)];
    let start = position + dice.range(1..(end(ruin.case.broker, topic, partition) - position) as u64) as i64;
    delete_records(ruin.case.broker, topic, partition, start);
    let finished = ruin.case.to_end().wait(PATIENCE).expect_code(3);
    let words = [format!("{topic}:{partition}"), format!("position {position}"), format!("starts at {start}")];
    contains(&finished, &words.each_ref().map(String::as_str));
    contains(&finished, &["retention", "another `name`"]);
    assert_eq!(ruin.case.positions()[&i64::from(partition)], position, "nothing is skipped");
    ruin.case.verify();
    fs::rename(ruin.dataset(), ruin.dataset().with_extension("old")).unwrap();
    ruin.goes_on()
}

pub(super) fn older_ledger(ruin: &Ruin, _: &mut Dice) -> Duration {
    let [backup, newer] = ["backup", "newer"].map(|name| ruin.case.workspace.path().join(name));
    copy(&ruin.dataset(), &backup);
    ruin.send(50, 600);
    ruin.case.finish();
    fs::rename(ruin.dataset(), &newer).unwrap();
    copy(&backup, &ruin.dataset());
    ruin.refused(&["restored backup", "source.group", &format!("weir-{}", ruin.case.pipeline.name)]);
    fs::remove_dir_all(ruin.dataset()).unwrap();
    fs::rename(&newer, ruin.dataset()).unwrap();
    ruin.goes_on()
}

fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-r").args([from, to]).status().unwrap().success());
}

/// A bit of the newest entry: either it isn't readable any more, or a value differs, and `verify` tells; a run may only
/// refuse or change nothing.
pub(super) fn flipped_entry(ruin: &Ruin, dice: &mut Dice) -> Duration {
    let entry = ruin.entry(dice, true);
    // A bit that makes it unreadable: what a disk does to a value only a checksum of entries could tell.
    let undo = replace(&entry, |bytes| bytes[0] ^= 1 << dice.range(0..7));
    ruin.refused(&[name(&entry), "not readable", "backup"]);
    ruin.found(&[name(&entry)]);
    undo();
    ruin.goes_on()
}

pub(super) fn cut_entry(ruin: &Ruin, dice: &mut Dice) -> Duration {
    let entry = ruin.entry(dice, true);
    let undo = replace(&entry, |bytes| bytes.truncate(dice.range(0..bytes.len() as u64 - 2) as usize));
    ruin.refused(&[name(&entry), "not readable", "backup"]);
    ruin.found(&[name(&entry)]);
    undo();
    ruin.goes_on()
}

pub(super) fn missing_entry(ruin: &Ruin, dice: &mut Dice) -> Duration {
    let entry = ruin.entry(dice, false);
    let undo = remove(&entry);
    ruin.refused(&["has a hole", name(&entry), "backup"]);
    ruin.found(&[name(&entry)]);
    undo();
    ruin.goes_on()
}

/// Kafka knows that there was one more.
pub(super) fn missing_newest_entry(ruin: &Ruin, dice: &mut Dice) -> Duration {
    let undo = remove(&ruin.entry(dice, true));
    ruin.refused(&["restored backup", "source.group"]);
    ruin.found(&["no entry names"]);
    undo();
    ruin.goes_on()
}

/// A file that is there already is nothing that a run reads: `verify` tells.
pub(super) fn flipped_data(ruin: &Ruin, dice: &mut Dice) -> Duration {
    let file = dice.of(&files(&ruin.dataset().join("data"))).clone();
    let undo = replace(&file, |bytes| flip(bytes, dice));
    ruin.found(&[name(&file)]);
    undo();
    ruin.goes_on()
}

pub(super) fn cut_data(ruin: &Ruin, dice: &mut Dice) -> Duration {
    let file = dice.of(&files(&ruin.dataset().join("data"))).clone();
    let undo = replace(&file, |bytes| bytes.truncate(dice.range(0..bytes.len() as u64) as usize));
    ruin.found(&[name(&file)]);
    undo();
    ruin.goes_on()
}

/// A folder of the tree leads elsewhere: whoever would write or move there doesn't.
pub(super) fn linked_folder(ruin: &Ruin, dice: &mut Dice) -> Duration {
    ruin.send(50, 600);
    let mut folders: Vec<PathBuf> =
        fs::read_dir(ruin.dataset().join("data")).unwrap().map(|item| item.unwrap().path()).collect();
    folders.sort();
    let folder = dice.of(&folders).clone();
    let elsewhere = ruin.case.workspace.path().join("elsewhere");
    fs::rename(&folder, &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &folder).unwrap();
    let words = [name(&folder), "symbolic link"];
    ruin.refused(&words);
    let (before, file) = (ruin.case.inventory(), ruin.case.file());
    for command in [&["verify", &file][..], &["backup", &file, "copy"], &["repair", &file]] {
        let finished = ruin.case.workspace.run(command.iter().copied(), PATIENCE);
        assert_ne!(finished.status.code(), Some(0), "{command:?}");
        contains(&finished, &words);
    }
    assert_eq!(ruin.case.inventory(), before, "who refuses changes nothing");
    fs::remove_file(&folder).unwrap();
    fs::rename(&elsewhere, &folder).unwrap();
    ruin.goes_on()
}

/// One that the newest entry names is looked for by a run too.
pub(super) fn missing_data(ruin: &Ruin, dice: &mut Dice) -> Duration {
    let chains = ruin.case.chains();
    let newest: Vec<_> = chains.values().filter_map(|chain| chain.last()).collect();
    let named = newest.iter().flat_map(|entry| entry["files"].as_array().unwrap());
    let named: Vec<PathBuf> = named.map(|file| ruin.dataset().join(file["path"].as_str().unwrap())).collect();
    let file = dice.of(&named);
    let undo = remove(file);
    ruin.refused(&[name(file), "neither it nor its staged file", "backup"]);
    ruin.found(&[name(file)]);
    undo();
    ruin.goes_on()
}
