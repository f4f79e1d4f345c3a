//! What is asked for, and which faults that makes: the same for the same seed.

use std::env;
use std::fs;

use super::dice::Dice;
use super::kinds::{KINDS, Kind, What};
use crate::harness::produce::random;
use crate::harness::setup;

/// Faults that happen to one world, one after another.
const ROUND: usize = 24;

/// The environment's variables, which `tests/pull-the-plug` sets.
#[derive(Debug, Clone)]
pub(super) struct Options {
    seed: u64,
    /// None: the short form.
    faults: Option<usize>,
    /// Only kinds whose names have these words.
    only: Option<String>,
    /// Only this round.
    round: Option<usize>,
    pub(super) save: bool,
}

/// What a round needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    One,
    Three,
    Dataset,
}

/// A world, and what happens to it.
#[derive(Debug)]
pub(super) struct Round {
    pub(super) number: usize,
    pub(super) seed: u64,
    pub(super) place: Place,
    pub(super) faults: Vec<Fault>,
}

/// A fault.
#[derive(Debug)]
pub(super) struct Fault {
    /// Its place among the kinds.
    pub(super) kind: usize,
    pub(super) variant: usize,
    pub(super) seed: u64,
}

impl Options {
    pub(super) fn from_environment() -> Options {
        let get = |name: &str| env::var(format!("WEIR_PLUG_{name}")).ok().filter(|value| !value.is_empty());
        let number = |name: &str| get(name).map(|value| value.parse().unwrap_or_else(|_| panic!("{name}: {value}")));
        Options {
            seed: number("SEED").unwrap_or(1) as u64,
            faults: number("FAULTS"),
            only: get("ONLY"),
            round: number("ROUND"),
            save: get("SAVE").is_some(),
        }
    }

    /// The command that does a round again.
    pub(super) fn again(&self, round: &Round) -> String {
        format!("{} --round {}", self.command(), round.number)
    }

    fn command(&self) -> String {
        let faults = self.faults.map_or("--short".to_owned(), |faults| format!("--faults {faults}"));
        let only = self.only.as_ref().map(|only| format!(" --only '{only}'")).unwrap_or_default();
        format!("tests/pull-the-plug {faults} --seed {}{only}", self.seed)
    }

    /// How the table was made.
    pub(super) fn made(&self) -> String {
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let pom = fs::read_to_string(setup::root().join("deploy/pom.xml")).unwrap();
        let kafka = pom.split_once("kafka_2.13</artifactId>").and_then(|(_, rest)| rest.split(['<', '>']).nth(2));
        format!(
            "`{}` on {cores} cores, Linux {}, Apache Kafka {}:",
            self.command(),
            kernel.trim().splitn(3, '.').take(2).collect::<Vec<_>>().join("."),
            kafka.expect("the pom names Kafka's version")
        )
    }
}

/// The rounds.
pub(super) fn plan(options: &Options) -> Vec<Round> {
    let mut dice = Dice::new(random(options.seed, "plan", 0));
    let kinds: Vec<usize> = (0..KINDS.len()).filter(|kind| wanted(&KINDS[*kind], options)).collect();
    assert!(!kinds.is_empty(), "no kind of fault has {:?} in its name", options.only);
    let mut done = vec![options.seed as usize; KINDS.len()];
    let mut deck = |dice: &mut Dice, times: fn(&Kind) -> usize| {
        let mut faults = Vec::new();
        for &kind in &kinds {
            for _ in 0..times(&KINDS[kind]) {
                done[kind] += 1;
                faults.push(Fault { kind, variant: done[kind] % KINDS[kind].variants, seed: dice.next() });
            }
        }
        dice.shuffle(&mut faults);
        faults
    };
    let faults = match options.faults {
        None => deck(&mut dice, |kind| kind.short),
        Some(count) => {
            let mut faults = Vec::new();
            while faults.len() < count {
                faults.extend(deck(&mut dice, |kind| kind.variants.div_ceil(4)));
            }
            faults.truncate(count);
            faults
        }
    };
    let rounds = rounds(faults, options);
    rounds.into_iter().filter(|round| options.round.is_none_or(|only| only == round.number)).collect()
}

fn wanted(kind: &Kind, options: &Options) -> bool {
    options.only.as_ref().is_none_or(|words| kind.name.contains(words.as_str()))
}

/// Each fault goes to the first round that has what it needs, and room.
fn rounds(faults: Vec<Fault>, options: &Options) -> Vec<Round> {
    let size = if options.faults.is_some() { ROUND } else { usize::MAX };
    let mut rounds: Vec<Round> = Vec::new();
    let once = |kind: usize| matches!(KINDS[kind].what, What::Once(_));
    for fault in faults {
        let place = place(&KINDS[fault.kind]);
        let fits = |round: &Round| {
            let twice = once(fault.kind) && round.faults.iter().any(|other| other.kind == fault.kind);
            round.place == place && round.faults.len() < size && !twice
        };
        match rounds.iter_mut().find(|round| fits(round)) {
            Some(round) => round.faults.push(fault),
            None => {
                let number = rounds.len();
                let seed = random(options.seed, "round", number as u64);
                rounds.push(Round { number, seed, place, faults: vec![fault] });
            }
        }
    }
    rounds
}

fn place(kind: &Kind) -> Place {
    match kind.what {
        What::One(_) | What::Once(_) => Place::One,
        What::Three(_) | What::Unclean(_) => Place::Three,
        What::Refused(_) => Place::Dataset,
    }
}
