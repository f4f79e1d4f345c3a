//! A disk in memory, whose power fails where the scheduler wants it to.
//!
//! What a power failure may take, as POSIX allows and journaling file systems may do:
//! - the content of a file that was not fsynced: all of it, its end, or what it should have been instead of zeros;
//! - each name that was made or removed since its folder's last fsync, every one for itself: it keeps any of the values it
//!   had since. A folder that isn't there any more has taken along what was in it.
//!
//! A listing shows one part of the names, lets others go first, and then shows the rest: no snapshot. Errors come when the
//! scheduler asks for one: no space, a failed read or link, and a failed fsync. Of a file, that one drops the data, and the
//! next fsync says that all is well; of a folder, the file system refuses everything until the machine is started again,
//! as ext4 and xfs do when their journal fails.
//!
//! Every call first lets others go, but for those that make and write Parquet files: the process-wide limit on encoders is held
//! there. What a crash between two of these leaves is what one after them leaves: files in `staging/` that no entry names.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Cursor, Read, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::oracle::Event;
use super::random::{Random, hash};
use super::{instance, tasks, trace};
use crate::store::{FailedSyncs, FileSystem, ReadAt, SyncFailed};

/// What goes wrong at the next call that it can go wrong at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// The disk is full.
    NoSpace,
    /// Something can't be read, linked or removed.
    Io,
    /// An fsync fails.
    Sync,
    /// A link is made, and an error is told all the same.
    Answer,
}

/// What a power failure takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Loss {
    /// Everything that it may.
    All,
    /// This and that.
    Some(u64),
}

/// The disk as one process sees it.
#[derive(Debug, Clone)]
pub(super) struct SimulatedDisk {
    state: Arc<Mutex<State>>,
    /// What an fsync of this process failed for.
    failed: Arc<FailedSyncs>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    inodes: Vec<Inode>,
    /// By path, without a `/` at the end.
    folders: BTreeMap<String, Folder>,
    pub(super) steps: u64,
    pub(super) fault: Option<Fault>,
    /// Whether any fault was met: from then on errors are no surprise.
    pub(super) injured: bool,
    /// How many lanes were fenced.
    pub(super) fenced: u64,
    /// It refuses everything.
    down: bool,
    /// What the oracle has not seen yet.
    pub(super) events: Vec<Event>,
    pub(super) trace: Option<Vec<String>>,
}

#[derive(Debug, Default)]
struct Inode {
    content: Arc<Vec<u8>>,
    durable: bool,
    /// An fsync has failed: the kernel has dropped what it had, and says so only once.
    dropped: bool,
    /// A power failure took some of it.
    damaged: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Node {
    File(usize),
    Folder,
}

/// A name: what it is now, and what else a power failure may leave there.
#[derive(Debug, Default)]
struct Cell {
    now: Option<Node>,
    before: Vec<Option<Node>>,
}

#[derive(Debug, Default)]
struct Folder {
    names: BTreeMap<String, Cell>,
    /// Those that changed since the last fsync.
    changed: BTreeSet<String>,
}

impl Folder {
    fn set(&mut self, name: &str, node: Option<Node>) {
        let cell = self.names.entry(name.to_owned()).or_default();
        let before = std::mem::replace(&mut cell.now, node);
        cell.before.push(before);
        self.changed.insert(name.to_owned());
    }

    fn sync(&mut self) {
        for name in std::mem::take(&mut self.changed) {
            let cell = self.names.get_mut(&name).expect("it has changed");
            cell.before.clear();
            if cell.now.is_none() {
                self.names.remove(&name);
            }
        }
    }
}

fn error(number: i32) -> io::Error {
    io::Error::from_raw_os_error(number)
}

pub(super) const EIO: i32 = 5;
pub(super) const ENOSPC: i32 = 28;
const EEXIST: i32 = 17;
const ENOENT: i32 = 2;

impl State {
    fn split(path: &Path) -> (&str, &str) {
        let path = path.to_str().expect("the ledger's paths are text");
        let (folder, name) = path.rsplit_once('/').expect("they are absolute");
        (folder, name)
    }

    fn node(&self, path: &Path) -> Option<Node> {
        let (folder, name) = State::split(path);
        if name.is_empty() {
            return Some(Node::Folder);
        }
        self.folders.get(folder)?.names.get(name)?.now
    }

    fn file(&self, path: &Path) -> io::Result<usize> {
        match self.node(path) {
            Some(Node::File(inode)) => Ok(inode),
            _ => Err(error(ENOENT)),
        }
    }

    /// A folder, where `name` is not taken.
    fn free(&mut self, path: &Path) -> io::Result<(&mut Folder, String)> {
        if self.node(path).is_some() {
            return Err(error(EEXIST));
        }
        let (folder, name) = State::split(path);
        Ok((self.folders.get_mut(folder).ok_or_else(|| error(ENOENT))?, name.to_owned()))
    }

    /// The content behind a path, if there is a file.
    pub(super) fn content(&self, path: &str) -> Option<&[u8]> {
        let inode = self.file(Path::new(path)).ok()?;
        Some(&self.inodes[inode].content)
    }

    /// Whether there is a file, whole.
    pub(super) fn is_whole(&self, path: &str) -> bool {
        self.file(Path::new(path)).is_ok_and(|inode| !self.inodes[inode].damaged)
    }

    /// Whether no power failure can take a file, or its name.
    pub(super) fn is_durable(&self, path: &str) -> bool {
        let Ok(inode) = self.file(Path::new(path)) else { return false };
        let mut path = path;
        while let Some((folder, name)) = path.rsplit_once('/').filter(|(_, name)| !name.is_empty()) {
            if self.folders.get(folder).is_none_or(|folder| folder.changed.contains(name)) {
                return false;
            }
            path = folder;
        }
        self.inodes[inode].durable
    }

    /// Every file below a folder.
    pub(super) fn files_below<'a>(&'a self, folder: &'a str) -> impl Iterator<Item = String> + 'a {
        let inside =
            move |path: &str| path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        self.folders.iter().filter(move |(path, _)| inside(path)).flat_map(|(path, folder)| {
            let files = folder.names.iter().filter(|(_, cell)| matches!(cell.now, Some(Node::File(_))));
            files.map(move |(name, _)| format!("{path}/{name}"))
        })
    }

    /// Whether it refuses everything until the machine is started again.
    pub(super) fn is_down(&self) -> bool {
        self.down
    }

    /// A line of the trace, if there is one and this is news: what finds its work done or nothing there is not.
    fn tell<T>(&mut self, result: &io::Result<T>, text: impl FnOnce() -> Option<String>) {
        let Some(trace) = &mut self.trace else { return };
        let number = result.as_ref().err().and_then(io::Error::raw_os_error);
        let is_start = tasks::current().1.name == instance::MAIN && result.is_ok();
        if let Some(text) = text().filter(|_| !is_start && ![EEXIST, ENOENT].map(Some).contains(&number)) {
            let why = result.as_ref().err().map_or(String::new(), |error| format!(": {}", error.kind()));
            trace.push(format!("{}{text}{why}", trace::who()));
        }
    }

    /// The power fails, and the machine is started again.
    pub(super) fn power_fails(&mut self, loss: Loss) {
        let choose = |what: &str, of: u64| match loss {
            Loss::All => 0,
            Loss::Some(seed) => Random::of(&[seed, hash(what)]).below(of),
        };
        let mut taken = Vec::new();
        for (path, folder) in &mut self.folders {
            for name in std::mem::take(&mut folder.changed) {
                let cell = folder.names.get_mut(&name).expect("it has changed");
                let (before, was) = (std::mem::take(&mut cell.before), cell.now);
                let full = format!("{path}/{name}");
                let left = choose(&full, before.len() as u64 + 1);
                if let Some(left) = before.get(usize::try_from(left).unwrap_or_default()) {
                    cell.now = *left;
                }
                if cell.now != was {
                    let what = if cell.now.is_some() { "brings back" } else { "takes the name" };
                    taken.push(format!("    {what} {}", trace::short(Path::new(&full))));
                }
                if cell.now.is_none() {
                    folder.names.remove(&name);
                }
            }
        }
        let orphans: Vec<String> = self.folders.keys().filter(|path| !self.is_reachable(path)).cloned().collect();
        for path in orphans {
            self.folders.remove(&path);
        }
        let mut damaged = BTreeSet::new();
        for (number, inode) in self.inodes.iter_mut().enumerate().filter(|(_, inode)| !inode.durable) {
            let length = inode.content.len();
            let mut content = inode.content.as_ref().clone();
            match choose(&number.to_string(), 4) {
                0 => content.clear(),
                1 => content.truncate(length / 2),
                2 => content[length / 2..].fill(0),
                _ => {}
            }
            if content != *inode.content {
                inode.damaged = true;
                damaged.insert(number);
            }
            *inode = Inode { content: Arc::new(content), durable: true, dropped: false, damaged: inode.damaged };
        }
        (self.down, self.fault) = (false, None);
        if let Some(trace) = &mut self.trace {
            trace.append(&mut taken);
            for (path, folder) in &self.folders {
                for (name, cell) in &folder.names {
                    if matches!(cell.now, Some(Node::File(inode)) if damaged.contains(&inode)) {
                        let path = format!("{path}/{name}");
                        trace.push(format!("    takes some of what is in {}", trace::short(Path::new(&path))));
                    }
                }
            }
        }
    }

    fn is_reachable(&self, path: &str) -> bool {
        let Some((folder, name)) = path.rsplit_once('/') else { return true };
        let here = self.folders.get(folder).and_then(|folder| folder.names.get(name));
        here.is_some_and(|cell| cell.now == Some(Node::Folder)) && self.is_reachable(folder)
    }
}

impl SimulatedDisk {
    /// An empty one.
    pub(super) fn new() -> SimulatedDisk {
        let folders = BTreeMap::from([(String::new(), Folder::default())]);
        let state = Arc::new(Mutex::new(State { folders, ..State::default() }));
        SimulatedDisk { state, failed: Arc::default() }
    }

    /// The same disk for a process that starts.
    pub(super) fn for_a_process(&self) -> SimulatedDisk {
        SimulatedDisk { failed: Arc::default(), ..self.clone() }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call: others go first, then it is done at once.
    fn call<T>(
        &self,
        faults: &[Fault],
        text: impl FnOnce() -> Option<String>,
        act: impl FnOnce(&mut State) -> io::Result<T>,
    ) -> io::Result<T> {
        tasks::step();
        self.now(faults, text, act)
    }

    /// A call that nobody gets before.
    fn now<T>(
        &self,
        faults: &[Fault],
        text: impl FnOnce() -> Option<String>,
        act: impl FnOnce(&mut State) -> io::Result<T>,
    ) -> io::Result<T> {
        if tasks::is_dying() {
            return Err(error(EIO));
        }
        let mut state = self.state();
        state.steps += 1;
        let fault = state.fault.take_if(|fault| faults.contains(fault));
        state.injured |= fault.is_some();
        let result = match fault {
            _ if state.down => Err(error(EIO)),
            Some(Fault::NoSpace) => Err(error(ENOSPC)),
            Some(Fault::Io) => Err(error(EIO)),
            Some(Fault::Sync | Fault::Answer) | None => act(&mut state),
        };
        state.tell(&result, text);
        result
    }
}

/// A file that is being written.
struct Writing {
    disk: SimulatedDisk,
    inode: usize,
    parquet: bool,
}

impl Write for Writing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let inode = self.inode;
        let act = |state: &mut State| {
            let inode = &mut state.inodes[inode];
            Arc::make_mut(&mut inode.content).extend_from_slice(bytes);
            inode.durable = false;
            Ok(bytes.len())
        };
        if !self.parquet {
            tasks::step();
        }
        self.disk.now(&[Fault::NoSpace], || None, act)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn is_parquet(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "parquet")
}

impl FileSystem for SimulatedDisk {
    /// It has one user.
    fn make_private(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn Write + Send>> {
        let act = |state: &mut State| {
            let inode = state.inodes.len();
            let (folder, name) = state.free(path)?;
            folder.set(&name, Some(Node::File(inode)));
            state.inodes.push(Inode::default());
            Ok(Box::new(Writing { disk: self.clone(), inode, parquet: is_parquet(path) }) as Box<dyn Write + Send>)
        };
        if !is_parquet(path) {
            tasks::step();
        }
        self.now(&[Fault::NoSpace], || Some(format!("writes {}", trace::short(path))), act)
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn Read + Send>> {
        struct Reading(Arc<Vec<u8>>);
        impl AsRef<[u8]> for Reading {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }
        let act = |state: &mut State| {
            let content = state.inodes[state.file(path)?].content.clone();
            Ok(Box::new(Cursor::new(Reading(content))) as Box<dyn Read + Send>)
        };
        self.call(&[Fault::Io], || None, act)
    }

    fn open_parts(&self, _: &Path) -> io::Result<Box<dyn ReadAt>> {
        unreachable!("only verify and HTTP read files so, and neither is simulated")
    }

    fn size(&self, path: &Path) -> io::Result<u64> {
        let act = |state: &mut State| Ok(state.inodes[state.file(path)?].content.len() as u64);
        self.call(&[Fault::Io], || None, act)
    }

    fn inode(&self, path: &Path) -> io::Result<(u64, u64)> {
        self.call(&[], || None, |state| Ok((0, state.file(path)? as u64)))
    }

    fn link(&self, file: &Path, name: &Path) -> io::Result<()> {
        let act = |state: &mut State| {
            let inode = state.file(file)?;
            let (folder, last) = state.free(name)?;
            folder.set(&last, Some(Node::File(inode)));
            let name = name.to_str().expect("the ledger's paths are text").to_owned();
            state.events.push(Event::Linked(name));
            if state.fault.take_if(|fault| *fault == Fault::Answer).is_some() {
                state.injured = true;
                return Err(error(EIO));
            }
            Ok(())
        };
        self.call(&[Fault::NoSpace, Fault::Io], || Some(format!("links {}", trace::short(name))), act)
    }

    fn rename(&self, _file: &Path, _name: &Path) -> io::Result<()> {
        unreachable!("only a repair renames, and none is simulated")
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        let act = |state: &mut State| {
            state.file(path)?;
            let (folder, name) = State::split(path);
            state.folders.get_mut(folder).expect("a file's folder is there").set(name, None);
            state.events.push(Event::Unlinked(format!("{folder}/{name}")));
            Ok(())
        };
        self.call(&[Fault::Io], || Some(format!("unlinks {}", trace::short(path))), act)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let dir_path = dir.to_str().expect("the ledger's paths are text");
        let salt = hash(dir_path) & 1;
        let part = |state: &mut State, part: u64| -> io::Result<Vec<String>> {
            let folder = state.folders.get(dir_path).ok_or_else(|| error(ENOENT))?;
            let there = folder.names.iter().filter(|(name, cell)| cell.now.is_some() && hash(name) & 1 == part);
            Ok(there.map(|(name, _)| name.clone()).collect())
        };
        let mut names = self.call(&[Fault::Io], || None, |state| part(state, salt))?;
        names.extend(self.call(&[Fault::Io], || None, |state| part(state, 1 - salt))?);
        Ok(names)
    }

    fn make_dir(&self, dir: &Path) -> io::Result<()> {
        let act = |state: &mut State| {
            let (folder, name) = state.free(dir)?;
            folder.set(&name, Some(Node::Folder));
            let path = dir.to_str().expect("the ledger's paths are text").to_owned();
            state.folders.insert(path, Folder::default());
            Ok(())
        };
        self.call(&[Fault::NoSpace], || Some(format!("makes {}", trace::short(dir))), act)
    }

    fn sync(&self, path: &Path) -> io::Result<Result<(), SyncFailed>> {
        let act = |state: &mut State| {
            let node = state.node(path).ok_or_else(|| error(ENOENT))?;
            let folder = path.to_str().expect("the ledger's paths are text").trim_end_matches('/');
            let inode = match node {
                Node::File(inode) => (1, inode as u64, None),
                Node::Folder => (2, hash(folder), None),
            };
            Ok(self.failed.sync(inode, || {
                let fails = state.fault.take_if(|fault| *fault == Fault::Sync).is_some();
                state.injured |= fails;
                match node {
                    Node::File(inode) => {
                        let inode = &mut state.inodes[inode];
                        inode.dropped |= fails;
                        inode.durable |= !inode.dropped;
                    }
                    Node::Folder if fails => state.down = true,
                    Node::Folder => state.folders.get_mut(folder).ok_or_else(|| error(ENOENT))?.sync(),
                }
                if fails { Err(error(EIO)) } else { Ok(()) }
            }))
        };
        self.call(&[], || Some(format!("fsyncs {}", trace::short(path))), act)
    }

    fn syncs_at_once(&self) -> usize {
        // A task is on one thread, whatever it does.
        1
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.call(&[], || None, |state| Ok(state.node(path).is_some()))
    }

    fn is_folder(&self, path: &Path) -> io::Result<bool> {
        let act = |state: &mut State| Ok(state.node(path).ok_or_else(|| error(ENOENT))? == Node::Folder);
        self.call(&[], || None, act)
    }
}
