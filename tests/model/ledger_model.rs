//! Explicit-state model of the ledger protocol (`src/ledger/mod.rs`). One partition, N instances that all believe they
//! own it. BFS over every interleaving, process crash and power loss within the bounds; no dependencies.
//!   rustc --edition 2021 -O ledger_model.rs && ./ledger_model                  the whole table
//!   ./ledger_model FLAG[,FLAG]|- N CRASHES POWER_LOSSES FOLDS COMMITS   one run, with a trace where it fails
//! A pause is an instance that isn't scheduled. A power loss takes every instance down, and each name whose directory
//! was not fsynced since it changed independently keeps any of its values since. An attempt that fails counts as a crash. Listing is by probing names one by one.
//! With every flag off, this is the corrected protocol; a flag turns one misreading or planted bug on.
//! Not modelled: readdir that isn't atomic, torn entries, windows, more than one partition, a disk that lies.
use std::{collections::{hash_map::DefaultHasher, BTreeMap, BTreeSet, HashSet}, hash::{Hash, Hasher}};
use Pc::*;

const END: u8 = 4;                                    // the log is offsets 0..4
const RECORDS: [u8; 3] = [0, 1, 3];                   // 2 is a gap (marker, aborted, compacted)

/// What goes wrong when a flag is on. The first group: ways to read the text. The second: planted bugs.
const FLAGS: [(&str, [u8; 5], &str); 24] = [          // name, bounds [N, crashes, power losses, folds, most commits], meaning
    ("staging-dir",   [1, 0, 1, 0, 2], "fsync staged files and *new* directories only, not staging/ itself"),
    ("fence-no-pub",  [2, 1, 0, 0, 2], "a fenced lane goes on from the chain's end without publishing the last entry"),
    ("adopt-no-sync", [2, 1, 1, 0, 2], "recovery acts on an entry another made without fsyncing the ledger directory"),
    ("there-no-sync", [2, 0, 1, 0, 2], "a file already there is done: no fsync of its directory before going on"),
    ("sweep-no-sync", [2, 0, 1, 0, 2], "the sweep takes a visible final name for a durable one"),
    ("no-reread",     [2, 0, 0, 1, 2], "a reader does not look for a newer checkpoint after reading the entries"),
    ("assert-early",  [3, 0, 0, 1, 2], "from == previous.to is asserted while reading, before the checkpoint is read again"),
    ("fold-last",     [2, 0, 0, 1, 2], "a fold may cover the newest entry (it may be unpublished)"),
    ("cp-rename",     [2, 0, 0, 2, 2], "one checkpoint file, replaced by rename"),
    ("cp-no-files",   [1, 0, 0, 1, 2], "a checkpoint keeps the last state, not every covered file's name"),
    ("cp-there",      [2, 0, 1, 2, 2], "checkpoint already there: its entries are deleted without fsyncing it"),
    ("fold-no-reread",[3, 0, 0, 2, 2], "a fold does not look for a newer checkpoint between reading entries and linking its own"),
    ("process-name",  [2, 1, 0, 0, 2], "staged names carry the process, nothing new for each attempt"),
    ("sweep-entry",   [2, 0, 0, 1, 2], "the sweep asks the entry even where a checkpoint covers its number"),
    ("offset-after",  [2, 1, 0, 0, 2], "Kafka's committed offset is read after the chain"),
    ("discard-tried", [1, 1, 0, 0, 2], "an attempt that fails takes its staged files along, its link tried or not"),
    ("discard-there", [1, 1, 0, 0, 2], "one that doesn't know whether its link was made takes any entry there for another's"),
    ("P:no-fsync",    [1, 0, 1, 0, 2], "PLANTED no fsync of staged files before link"),
    ("P:pub-first",   [1, 0, 0, 0, 2], "PLANTED publish before the entry's link"),
    ("P:sweep-any",   [2, 0, 0, 0, 2], "PLANTED sweep without the rule: what no entry names goes"),
    ("P:next-early",  [1, 1, 0, 0, 2], "PLANTED next entry before publication"),
    ("P:rename-over", [2, 0, 0, 0, 2], "PLANTED entry renamed over its name instead of linked"),
    ("P:no-check",    [2, 0, 0, 1, 2], "PLANTED no look for a checkpoint between creating an entry and publishing"),
    ("P:drop-guard",  [1, 1, 0, 0, 2], "PLANTED a dropped lane deletes its staged files, committed or not"),
];
fn flag(name: &str) -> u32 { 1 << FLAGS.iter().position(|f| f.0 == name).expect(name) }

/// An entry, and the identity of its two files (n = 0 data, n = 1 rejects). att: random part; 0 for entry 0, no files. prev: the
/// att of the entry that it was written after, as a hash of that one would be.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)] struct E { k: u8, from: u8, to: u8, att: u8, prev: u8 }
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)] enum N { Entry(u8), Cp(u8), Staged(u8, u8, u8), Final(E, u8) }        // Staged(sequence, who, n)
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)] enum V { Entry(E), Cp(Vec<E>), File(E) }
/// One name: what processes see, and what else a power loss may leave there (durable when that is nothing).
#[derive(Clone, PartialEq, Eq, Hash)] struct Cell { vis: Option<V>, old: Vec<Option<V>> }
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)] enum Pc { ReadOffset, ReadCp, Probe, Reread, Adopt, Idle, Write, SyncFiles, SyncStaging, Link, SyncEntry, CheckCp,
          Publish0, Publish1, SyncFinal, Unlink, CommitOffset, Doubt, Discard0, Discard1, FoldRead, FoldCheck, FoldLink, FoldSync, FoldDelete, SweepSync, SweepUnlink }
#[derive(Clone, PartialEq, Eq, Hash)] struct Inst { pc: Pc, seq: i8, to: u8, last: u8, cp: i8, hand: Option<E>, defer: Option<E>, kc: u8, fenced: bool, linked: u8,
              fold: Vec<E>, upto: u8, sweep: Option<N> }
#[derive(Clone, PartialEq, Eq, Hash)] struct S { fs: BTreeMap<N, Cell>, dirty: BTreeSet<N>, torn: BTreeSet<N>,  // contents not fsynced, lost (by final name)
           kc: u8, inst: Vec<Inst>, crashes: u8, powers: u8, folds: u8, commits: u8, bad: Option<&'static str> }
type Label = (u8, &'static str, Option<E>);

fn down() -> Inst { Inst { pc: ReadOffset, seq: -1, to: 0, last: 0, cp: -1, hand: None, defer: None, kc: 0, fenced: false, linked: 0, fold: vec![], upto: 0, sweep: None } }
fn dir(n: &N) -> u8 { match n { N::Entry(_) | N::Cp(_) => 0, N::Staged(..) => 1, N::Final(_, n) => 2 + n } }

impl S {
    fn get(&self, n: N) -> Option<&V> { self.fs.get(&n).and_then(|c| c.vis.as_ref()) }
    fn entry(&self, k: u8) -> Option<E> { match self.get(N::Entry(k)) { Some(V::Entry(e)) => Some(*e), _ => None } }
    fn set(&mut self, n: N, v: Option<V>) {
        let c = self.fs.entry(n).or_insert(Cell { vis: None, old: vec![] });
        if c.vis != v { let was = std::mem::replace(&mut c.vis, v); c.old.push(was); c.old.sort(); c.old.dedup(); let vis = &c.vis; c.old.retain(|o| o != vis) }
        if self.powers == 0 { self.sync(dir(&n)) }           // no power loss to come: everything is as good as durable
    }
    fn unlink(&mut self, n: N) { if self.get(n).is_some() { self.set(n, None) } }
    fn sync(&mut self, d: u8) {
        for (_, c) in self.fs.iter_mut().filter(|(n, _)| dir(n) == d) { c.old = vec![] }
        self.fs.retain(|_, c| c.vis.is_some() || !c.old.is_empty());
    }
    /// The newest checkpoint's entries; its number is their count less one.
    fn cp(&self) -> &[E] {
        self.fs.values().filter_map(|c| match &c.vis { Some(V::Cp(v)) => Some(&v[..]), _ => None }).max_by_key(|v| v.len()).unwrap_or(&[])
    }
    fn cpn(&self) -> i8 { self.cp().len() as i8 - 1 }
    fn chain(&self) -> Vec<E> {
        let mut t = self.cp().to_vec(); while let Some(e) = self.entry(t.len() as u8) { t.push(e) } t
    }
    /// A random part that no name, value or memory carries for this sequence number.
    fn fresh(&self, i: u8, k: u8) -> u8 {
        let m: Vec<E> = self.fs.iter().flat_map(|(n, c)| {
            let mut m = match n { N::Final(e, _) => vec![*e], N::Staged(k, a, _) => vec![E { k: *k, from: 0, to: 0, att: *a, prev: 0 }], _ => vec![] };
            for v in c.old.iter().chain([&c.vis]).flatten() { match v { V::Entry(e) | V::File(e) => m.push(*e), V::Cp(v) => m.extend(v) } }
            m }).chain(self.inst.iter().flat_map(|p| p.hand.into_iter().chain(p.defer).chain(p.fold.iter().copied())
                .chain(match p.sweep { Some(N::Staged(k, a, _)) => Some(E { k, from: 0, to: 0, att: a, prev: 0 }), _ => None }))).collect();
        (0..).map(|r| 8 * i + r + 1).find(|a| !m.iter().any(|e| e.k == k && e.att == *a)).unwrap()
    }
}

/// Invariants of every reachable state.
fn check(s: &S, bugs: u32) -> Option<&'static str> {
    if s.bad.is_some() { return s.bad }
    let t = s.chain(); let (cp, last) = (s.cpn(), t.len() as i8 - 1);
    if s.fs.iter().any(|(n, c)| matches!(n, N::Entry(k) if *k as i8 > last + 1) && c.vis.is_some()) { return Some("hole in the chain") }
    if t.windows(2).any(|w| w[0].to != w[1].from) { return Some("ranges not contiguous") }
    if t.windows(2).any(|w| w[0].att != w[1].prev) { return Some("entry written after another one than stands before it") }
    let finals: Vec<(E, u8)> = s.fs.iter().filter_map(|(n, c)| match n { N::Final(e, n) if c.vis.is_some() => Some((*e, *n)), _ => None }).collect();
    for (i, &(e, n)) in finals.iter().enumerate() {
        if s.get(N::Final(e, n)) != Some(&V::File(e)) { return Some("published file has another's content") }
        if s.torn.contains(&N::Final(e, n)) { return Some("published file incomplete") }
        if finals[..i].iter().any(|(f, m)| *m == n && RECORDS.iter().any(|r| e.from.max(f.from) <= *r && *r < e.to.min(f.to))) { return Some("record published twice") }
        if t.get(e.k as usize) != Some(&e) || bugs & flag("cp-no-files") > 0 && (e.k as i8) < cp { return Some("file in data/ that the ledger doesn't name") }
    }
    for e in t.iter().filter(|e| e.att > 0) { for n in 0..2 {
        if finals.contains(&(*e, n)) { continue }
        if (e.k as i8) < last || e.k as i8 <= cp { return Some("entry below the newest, or folded, with an unpublished file") }
        if s.get(N::Staged(e.k, who(*e, bugs), n)) != Some(&V::File(*e)) || s.torn.contains(&N::Final(*e, n)) { return Some("committed file lost") }
    } }
    None
}
fn who(e: E, bugs: u32) -> u8 { if bugs & flag("process-name") > 0 { 99 } else { e.att } } // 99: pid 1 in every container

/// May this staged name go? The sweep's rule.
fn may_sweep(s: &S, n: N, bugs: u32) -> bool {
    let N::Staged(k, w, m) = n else { return false };
    match s.entry(k) {
        e if k as i8 <= s.cpn() && (bugs & flag("sweep-entry") == 0 || e.is_none()) => true,
        Some(e) => who(e, bugs) != w || s.get(N::Final(e, m)).is_some(),
        None => bugs & flag("P:sweep-any") > 0,
    }
}

/// The next step of instance i: every outcome.
fn step(s: &S, i: usize, bugs: u32) -> Vec<(Label, S)> {
    let on = |f: &str| bugs & flag(f) > 0;
    let (p, mut out) = (&s.inst[i], vec![]);
    let mut emit = |name: &'static str, f: &dyn Fn(&mut S, &mut Inst)| {
        let (mut s2, mut q) = (s.clone(), p.clone());
        f(&mut s2, &mut q); out.push(((i as u8, name, q.hand.or(p.hand)), { s2.inst[i] = q; s2 }));
    };
    // Its entry was not made, and no other names its staged files: it takes them along. Entry 0 has none.
    let fence = |q: &mut Inst| if q.hand.is_some_and(|e| e.att > 0) { q.pc = Discard0 } else { *q = Inst { pc: ReadOffset, fenced: true, ..down() } };
    let idle = |q: &mut Inst| *q = Inst { pc: Idle, seq: q.seq, to: q.to, last: q.last, defer: q.defer, ..down() };
    match p.pc {
        ReadOffset => emit("read Kafka's committed offset", &|s, q| { if !on("offset-after") { q.kc = s.kc } q.pc = ReadCp }),
        ReadCp => emit("read newest checkpoint", &|s, q| {
            q.cp = s.cpn(); q.seq = q.cp; (q.to, q.last) = s.cp().last().map_or((0, 0), |e| (e.to, e.att)); q.hand = None; q.pc = Probe }),
        Probe => emit("probe next entry", &|s, q| match s.entry((q.seq + 1) as u8) {
            Some(e) if q.seq >= 0 && (e.from != q.to || e.prev != q.last) => if on("assert-early") || on("no-reread") { s.bad = Some("reader finds a broken chain") }
                                                    else { q.upto = 1; q.pc = Reread },         // broken, if no newer checkpoint
            Some(e) => { q.seq += 1; (q.to, q.last) = (e.to, e.att); q.hand = Some(e) }
            None => q.pc = Reread }),
        Reread => emit("read newest checkpoint again", &|s, q| {
            if s.cpn() != q.cp && !on("no-reread") { *q = Inst { pc: ReadCp, kc: q.kc, fenced: q.fenced, ..down() } }
            else if q.upto > 0 { s.bad = Some("reader finds a broken chain") }
            else if q.seq >= 0 { q.pc = Adopt }
            else { q.hand = Some(E { k: 0, from: i as u8 % 2, to: i as u8 % 2, att: 0, prev: 0 }); q.pc = Link } }), // `latest`, resolved differently
        Adopt => emit("check offset, fsync ledger directory", &|s, q| {
            if on("offset-after") { q.kc = s.kc }
            if q.kc > q.to { s.bad = Some("refuses to start: chain behind Kafka's offset, yet no backup was restored") }
            if !on("adopt-no-sync") { s.sync(0) } q.kc = 0;
            if q.hand.map_or(true, |e| e.att == 0) || on("fence-no-pub") && q.fenced { idle(q) } else { q.pc = Publish0 } }),
        Idle => {
            let k = (p.seq + 1) as u8;
            for b in (p.to + 1..=END).filter(|b| *b == END || *b == p.to + 1 && k < s.commits) {      // one offset, or all there is
                emit("read", &|s, q| { q.hand = Some(E { k, from: p.to, to: b, att: s.fresh(i as u8, k), prev: p.last }); q.pc = Write }) }
            for (n, _) in s.fs.iter().filter(|(n, c)| c.vis.is_some() && may_sweep(s, **n, bugs)) {
                emit("sweep: decide", &|_, q| { q.sweep = Some(*n); q.pc = SweepSync }) }
            let top = if on("fold-last") { s.chain().len() as i8 - 1 } else { p.seq };   // p.seq: published, by us or found so
            for j in (s.cpn() + 1..=top).filter(|_| s.folds > 0) {
                emit("fold: read checkpoint", &|s, q| {
                    s.folds -= 1; q.cp = s.cpn(); q.fold = s.cp().to_vec(); q.upto = j as u8; q.pc = FoldRead }) }
        }
        Write => emit("write staged files", &|s, q| { let e = q.hand.unwrap(); for n in 0..2 {
            s.set(N::Staged(e.k, who(e, bugs), n), Some(V::File(e))); if s.powers > 0 { s.dirty.insert(N::Final(e, n)); } } q.pc = SyncFiles }),
        SyncFiles => emit("fsync staged files", &|s, q| { let e = q.hand.unwrap(); if !on("P:no-fsync") { s.dirty.retain(|n| !matches!(n, N::Final(f, _) if *f == e)) } q.pc = SyncStaging }),
        SyncStaging => emit("fsync staging/", &|s, q| { if !on("staging-dir") { s.sync(1) } q.pc = if on("P:pub-first") { Publish0 } else { Link } }),
        Link => emit("link entry", &|s, q| { let e = q.hand.unwrap();
            if s.entry(e.k).is_some() && !on("P:rename-over") { fence(q) } else { s.set(N::Entry(e.k), Some(V::Entry(e))); q.pc = SyncEntry } }),
        SyncEntry => emit("fsync ledger directory", &|s, q| { s.sync(0); q.pc = CheckCp }),
        CheckCp => emit("look for a newer checkpoint", &|s, q| { let e = q.hand.unwrap();
            // Its own entry may be in it by now: another one went on from there meanwhile. Then it is committed.
            if s.cpn() >= e.k as i8 && s.cp()[e.k as usize] != e && !on("P:no-check") { return fence(q) }
            q.seq = e.k as i8; (q.to, q.last) = (e.to, e.att);
            if on("P:next-early") && q.defer.is_none() && q.to < END && e.att > 0 { q.defer = q.hand; idle(q) }
            else if e.att == 0 || on("P:pub-first") { idle(q) } else { q.pc = Publish0 } }),
        Publish0 | Publish1 => emit("publish", &|s, q| { let (e, n) = (q.hand.unwrap(), (q.pc == Publish1) as u8);
            if s.get(N::Final(e, n)).is_none() { match s.get(N::Staged(e.k, who(e, bugs), n)).cloned() {
                Some(v) => { s.set(N::Final(e, n), Some(v)); q.linked |= 1 << n }
                None => s.bad = Some("publisher finds neither staged nor final file") } }
            q.pc = if n == 0 { Publish1 } else { SyncFinal } }),
        SyncFinal => emit("fsync data/ and rejects/", &|s, q| {
            for n in 0..2 { if !on("there-no-sync") || q.linked & 1 << n > 0 { s.sync(2 + n) } } (q.linked, q.pc) = (0, Unlink) }),
        Unlink => emit("unlink staged names", &|s, q| { let e = q.hand.unwrap();
            for n in 0..2 { s.unlink(N::Staged(e.k, who(e, bugs), n)) }
            q.pc = if on("P:pub-first") { Link } else { CommitOffset } }),
        CommitOffset => emit("commit offset to Kafka", &|s, q| { s.kc = q.to;
            if q.defer.is_some() { q.hand = q.defer.take(); q.pc = Publish0 } else { idle(q) } }),
        Doubt => emit("look whose entry is there", &|s, q| { let e = q.hand.unwrap();
            let other = s.entry(e.k).is_some_and(|there| there != e || on("discard-there"));
            if s.cpn() >= e.k as i8 || other { fence(q) } else { *q = down() } }),
        Discard0 | Discard1 => emit("remove its own staged file", &|s, q| { let (e, n) = (q.hand.unwrap(), (q.pc == Discard1) as u8);
            s.unlink(N::Staged(e.k, who(e, bugs), n));
            if n == 0 { q.pc = Discard1 } else { *q = Inst { pc: ReadOffset, fenced: true, ..down() } } }),
        FoldRead => emit("fold: read entries", &|s, q| {
            for k in q.fold.len() as u8..=q.upto { match s.entry(k) { Some(e) => q.fold.push(e), None => return idle(q) } }
            q.pc = FoldCheck }),
        FoldCheck => emit("fold: read checkpoint again", &|s, q| {   // else an entry read may be a zombie's, at a freed name
            if s.cpn() != q.cp && !on("fold-no-reread") { idle(q) } else { q.cp = -1; q.pc = FoldLink } }),
        FoldLink => emit("fold: link checkpoint", &|s, q| {
            let n = N::Cp(if on("cp-rename") { 0 } else { q.upto }); let there = s.get(n).is_some();
            if !there || on("cp-rename") { s.set(n, Some(V::Cp(std::mem::take(&mut q.fold)))) }
            q.fold = vec![]; q.pc = if there && on("cp-there") { FoldDelete } else { FoldSync } }),
        FoldSync => emit("fold: fsync ledger directory", &|s, q| { s.sync(0); q.pc = FoldDelete }),
        FoldDelete => match (0..=p.upto).find(|k| s.entry(*k).is_some()) {
            Some(k) => emit("fold: delete an entry", &|s, _| s.set(N::Entry(k), None)),
            None => emit("fold: done", &|_, q| idle(q)) },
        SweepSync => emit("sweep: fsync data/ and rejects/", &|s, q| { if !on("sweep-no-sync") { s.sync(2); s.sync(3) } q.pc = SweepUnlink }),
        SweepUnlink => emit("sweep: unlink", &|s, q| { s.unlink(q.sweep.unwrap()); idle(q) }),
    }
    if s.powers == 0 {      // then steps that only fsync, and writing one's own staged files, need no interleaving of their own
        for (_, t) in &mut out { while matches!(t.inst[i].pc, Write | SyncFiles | SyncStaging | SyncEntry | SyncFinal | FoldSync | SweepSync | Discard0 | Discard1) {
            *t = step(t, i, bugs).pop().unwrap().1 } }
    }
    out
}

fn hash(s: &impl Hash) -> u64 { let mut h = DefaultHasher::new(); s.hash(&mut h); h.finish() }

/// Everything that may happen next: a step of any instance, a process crash, a power loss.
fn next(s: &S, bugs: u32) -> Vec<(Label, S)> {
    let mut out = vec![];
    for i in 0..s.inst.len() {
        out.extend(step(s, i, bugs));
        if s.crashes > 0 && s.inst[i] != down() {
            let mut c = S { crashes: s.crashes - 1, ..s.clone() };
            if let Some(e) = s.inst[i].hand.filter(|_| bugs & flag("P:drop-guard") > 0) { for n in 0..2 { c.unlink(N::Staged(e.k, e.att, n)) } }
            c.inst[i] = down(); out.push(((i as u8, "CRASH", None), c));
        }
        if s.crashes > 0 {
            let (p, mut c) = (&s.inst[i], S { crashes: s.crashes - 1, ..s.clone() });
            match (p.pc, p.hand) {
                // A full disk, say. After its link it is as a crash.
                (SyncFiles | SyncStaging | Link, Some(e)) if e.att > 0 => { c.inst[i].pc = Discard0; out.push(((i as u8, "ATTEMPT FAILS", None), c.clone())) }
                (SyncEntry | CheckCp | Publish0 | Publish1, Some(e)) if e.att > 0 && bugs & flag("discard-tried") > 0 => {
                    c.inst[i].pc = Discard0; out.push(((i as u8, "ATTEMPT FAILS", None), c.clone())) }
                _ => {}
            }
            if let (Link, Some(e)) = (p.pc, p.hand.filter(|e| e.att > 0)) {
                let mut c = S { crashes: s.crashes - 1, ..s.clone() };
                if c.entry(e.k).is_none() { c.set(N::Entry(e.k), Some(V::Entry(e))) }
                c.inst[i].pc = Doubt; out.push(((i as u8, "link entry, the answer is lost", Some(e)), c));
            }
        }
    }
    if s.powers > 0 {
        let mut worlds = vec![S { powers: s.powers - 1, inst: vec![down(); s.inst.len()], fs: BTreeMap::new(), ..s.clone() }];
        for (n, c) in &s.fs {
            worlds = worlds.into_iter().flat_map(|w| c.old.iter().chain([&c.vis]).map(move |v| {
                let mut w = w.clone();
                if v.is_some() { w.fs.insert(*n, Cell { vis: v.clone(), old: vec![] }); } w })).collect();
        }
        for mut w in worlds {
            w.torn = w.fs.iter().filter_map(|(n, c)| match (n, &c.vis) {
                (N::Staged(_, _, n) | N::Final(_, n), Some(V::File(e))) => Some(N::Final(*e, *n)), _ => None,
            }).filter(|n| w.dirty.contains(n) || w.torn.contains(n)).collect();
            w.dirty.clear(); out.push(((3, "POWER LOSS", None), w));
        }
    }
    out
}

/// From this disk, may one instance that starts alone always drain the log, and is then everything there, once, and
/// nothing left that the sweep's rule can never remove? (Run for every distinct disk reached: also crash everywhere.)
fn drain(s: &S, bugs: u32) -> Option<&'static str> {
    let mut s = S { inst: vec![down()], crashes: 0, powers: 0, folds: 0, ..s.clone() };
    for _ in 0..400 {
        if let Some(b) = check(&s, bugs) { return Some(b) }
        match step(&s, 0, bugs).into_iter().next() { Some((_, n)) => s = n, None => break }
    }
    let t = s.chain();
    if s.inst[0].pc != Idle || t.last().map(|e| e.to) != Some(END) { return Some("drain: no progress") }
    if t.iter().any(|e| e.att > 0 && (0..2).any(|n| s.get(N::Final(*e, n)).is_none())) { return Some("drain: a committed file is not published") }
    if s.fs.iter().any(|(n, c)| c.vis.is_some() && matches!(n, N::Staged(k, ..) if (*k as usize) < t.len())) { return Some("drain: a staged file can never be removed") }
    None
}

struct Report { states: usize, disks: usize, depth: usize, bad: Option<&'static str>, trace: Vec<(Label, S)>, full: bool }

fn explore(bugs: u32, [n, crashes, powers, folds, commits]: [u8; 5], limit: usize) -> Report {
    let init = S { fs: BTreeMap::new(), dirty: BTreeSet::new(), torn: BTreeSet::new(), kc: 0, inst: vec![down(); n as usize], crashes, powers, folds, commits, bad: None };
    let (mut seen, mut disks) = (HashSet::from([hash(&init)]), HashSet::new());
    let mut from: Vec<(u32, u16)> = vec![(0, 0)];               // how each state was first reached, for the trace
    let (mut level, mut depth, mut bad) = (vec![(0u32, init.clone())], 0, None);
    'bfs: while !level.is_empty() && seen.len() < limit {
        let mut after = vec![];
        for (id, s) in &level { for (choice, (_, t)) in next(s, bugs).into_iter().enumerate() {
                if !seen.insert(hash(&t)) { continue }
                from.push((*id, choice as u16));
                bad = check(&t, bugs);
                if bad.is_none() && disks.insert(hash(&(&t.fs, &t.dirty, &t.torn, t.kc))) { bad = drain(&t, bugs) }
                if bad.is_some() { break 'bfs }
                after.push((from.len() as u32 - 1, t));
            } }
        (level, depth) = (after, depth + 1);
    }
    let (mut path, mut at, mut trace) = (vec![], from.len() - 1, vec![]);
    while bad.is_some() && at > 0 { path.push(from[at].1); at = from[at].0 as usize }
    let mut s = init; for c in path.into_iter().rev() { let x = next(&s, bugs).swap_remove(c as usize); s = x.1.clone(); trace.push(x) }
    Report { states: from.len(), disks: disks.len(), depth, bad, trace, full: level.is_empty() }
}

fn show(name: &str, b: [u8; 5], r: &Report) {
    println!("{name:15} N={} crashes={} power={} folds={} commits={}  {:>9} states {:>7} disks depth {:>3}  {}", b[0], b[1], b[2], b[3], b[4], r.states, r.disks, r.depth,
        match r.bad { Some(x) => format!("VIOLATION: {x}"), None if r.full => "ok, exhausted".into(), None => "ok so far, limit reached".into() });
}

fn main() {
    let a: Vec<String> = std::env::args().skip(1).collect();
    let limit = std::env::var("LIMIT").map_or(30_000_000, |l| l.parse().unwrap());
    if let [flags, bounds @ ..] = &a[..] {
        let b: [u8; 5] = bounds.iter().map(|x| x.parse().unwrap()).collect::<Vec<_>>().try_into().expect("five bounds");
        let r = explore(flags.split(',').filter(|f| *f != "-").map(flag).sum(), b, limit);
        show(flags, b, &r); for ((i, what, e), _) in &r.trace {
            println!("  {} {what}{}", ["A", "B", "C", "-"][*i as usize], e.map_or(String::new(), |e| format!("  [{e:?}]")));
        }
        return
    }
    for (name, b, what) in FLAGS { println!("# {what}"); show(name, b, &explore(flag(name), b, limit)); }
    for b in [[1, 2, 1, 1, 2], [2, 1, 0, 0, 2], [2, 0, 0, 2, 2], [2, 0, 1, 0, 2]] { show("fixed", b, &explore(0, b, limit)); }
}
