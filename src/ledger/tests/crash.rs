//! Crashes at every failpoint, in a process that really dies, and interleavings of two writers in one that doesn't.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::process::Command;
use std::rc::Rc;

use proptest::prelude::*;

use super::*;
use crate::base::failpoint;

/// A writer that starts, commits what there is up to offset 50, and folds, and starts again. In its own process it is killed there.
#[test]
fn writer() {
    let own = TempDir::new().unwrap();
    let folder = std::env::var("WEIR_TEST_DATASET").map_or(own.path().join("test"), Into::into);
    let chain = open_folding(&folder, 2).chain("t", "id", 0);
    chain.dataset.topic("t", "id", 1).unwrap();
    let mut tip = chain.recover().unwrap().unwrap_or_else(|| chain.start(0, WINDOW).unwrap());
    while tip.to < 50 {
        // As an attempt that crashed leaves it: work for the sweep, once the sequence is taken.
        stage(&chain, tip.sequence + 1, Side::Data, 9, &[0]);
        commit_to(&chain, &tip, tip.to + 10);
        tip = chain.recover().unwrap().unwrap();
    }
    assert_whole(&folder, 50);
}

fn run_writer(folder: &Path, failpoint: Option<&str>) -> std::process::Output {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "ledger::tests::crash::writer"]).env("WEIR_TEST_DATASET", folder);
    if let Some(failpoint) = failpoint {
        command.env("WEIR_FAILPOINT", failpoint);
    }
    command.output().unwrap()
}

#[test]
fn a_process_killed_at_any_failpoint_goes_on() {
    for name in failpoint::NAMES {
        for count in 1..=3 {
            let dir = TempDir::new().unwrap();
            let folder = dir.path().join("test");
            let killed = run_writer(&folder, Some(&format!("{name}:{count}")));
            assert!(
                String::from_utf8_lossy(&killed.stderr).contains(&format!("failpoint {name}: aborting")),
                "{name}:{count} is not reached"
            );
            if folder.join("ledger/dataset.json").exists() {
                assert_eq!(verify(&folder).unwrap().findings, [], "{name}:{count}");
            }
            let next = run_writer(&folder, None);
            assert!(next.status.success(), "after {name}:{count}: {}", String::from_utf8_lossy(&next.stdout));
            assert_whole(&folder, 50);
        }
    }
}

/// What one instance does at a time.
#[derive(Debug, Clone)]
enum Act {
    Recover,
    /// Stages the next so many offsets, or commits what it has staged.
    Go(i64),
}

/// What happens meanwhile, at the n-th failpoint that it reaches.
#[derive(Debug, Clone)]
enum Meanwhile {
    Nothing,
    Crash(usize),
    Other(usize, Vec<Act>),
}

/// An instance: what it holds in memory.
struct Instance {
    chain: Chain,
    tip: Option<Tip>,
    staged: Option<Entry>,
}

type Instances = Rc<[RefCell<Instance>; 2]>;

fn act(instance: &RefCell<Instance>, act: &Act) {
    let (chain, tip, staged) = {
        let mut own = instance.borrow_mut();
        (own.chain.clone(), own.tip.take(), own.staged.take())
    };
    let (tip, staged) = match (act, tip, staged) {
        (Act::Recover, _, _) | (Act::Go(_), None, _) => {
            let tip = chain.recover().unwrap();
            (Some(tip.unwrap_or_else(|| chain.start(0, WINDOW).unwrap())), None)
        }
        (Act::Go(_), Some(_), Some(entry)) => match commit_one(&chain, entry) {
            Ok(tip) => (Some(tip), None),
            Err(LedgerError::Fenced { .. }) => (None, None),
            Err(other) => panic!("only fencing is expected: {other:?}"),
        },
        (Act::Go(offsets), Some(tip), None) => {
            let entry = entry_to(&chain, &tip, tip.to + offsets);
            (Some(tip), Some(entry))
        }
    };
    let mut own = instance.borrow_mut();
    (own.tip, own.staged) = (tip, staged);
}

struct Crash;

fn run(store: &Arc<dyn Store>, instances: &Instances, (who, what, meanwhile): &(usize, Act, Meanwhile)) {
    let (who, store) = (*who, store.clone());
    let (others, meanwhile, mut reached) = (instances.clone(), meanwhile.clone(), 0);
    failpoint::hook::set(move |name| {
        let found = verify_dataset(Dataset::existing_in(store.clone()).unwrap()).unwrap().findings;
        assert_eq!(found, [], "at {name}");
        reached += 1;
        match &meanwhile {
            Meanwhile::Crash(at) if *at == reached => resume_unwind(Box::new(Crash)),
            Meanwhile::Other(at, acts) if *at == reached => acts.iter().for_each(|other| act(&others[1 - who], other)),
            _ => {}
        }
    });
    let result = catch_unwind(AssertUnwindSafe(|| act(&instances[who], what)));
    failpoint::hook::clear();
    // A crash leaves nothing in memory: `act` has taken it.
    if let Err(panic) = result
        && !panic.is::<Crash>()
    {
        resume_unwind(panic);
    }
}

fn acts() -> impl Strategy<Value = Act> {
    prop_oneof![1 => Just(Act::Recover), 4 => (0..7i64).prop_map(Act::Go)]
}

fn meanwhiles() -> impl Strategy<Value = Meanwhile> {
    let other = (1..14usize, prop::collection::vec(acts(), 1..6)).prop_map(|(at, acts)| Meanwhile::Other(at, acts));
    prop_oneof![Just(Meanwhile::Nothing), (1..14usize).prop_map(Meanwhile::Crash), other]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn two_writers_lose_and_double_nothing(plan in prop::collection::vec((0..2usize, acts(), meanwhiles()), 1..16)) {
        for kind in stores::Kind::all() {
            let instance = || RefCell::new(Instance { chain: kind.chain(3), tip: None, staged: None });
            let instances: Instances = Rc::new([instance(), instance()]);
            for step in &plan {
                run(&kind.store(), &instances, step);
            }
            act(&instances[0], &Act::Recover);
            let tip = instances[0].borrow().tip.clone().unwrap();
            assert_whole_in(kind.store(), tip.to);
            let report = verify_dataset(Dataset::existing_in(kind.store()).unwrap()).unwrap();
            prop_assert_eq!(tip.sequence + 1, report.entries);
        }
    }
}
