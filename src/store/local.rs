//! A store in a folder: durable names by links, and fsync that remembers its failures.
//!
//! A file is staged by writing it, durable by its fsync, and published by a link to a name that must be free. Nothing above
//! this knows of links, inodes, folders or fsync.
//!
//! - A name is durable only after its folder was fsynced, and a name that another process made is *visible, not durable*:
//!   so [`Local::make_dir`] fsyncs the parent also of a folder that is already there, once a process.
//! - After a failed fsync the kernel forgets the data, and a second one reports success. So nothing whose fsync failed is
//!   fsynced again in this process, by whichever dataset ([`StoreError::NotDurable`]). A file is written again under a
//!   new name; a folder stays failed until a person has looked at the disk and weir is started again.
//! - A symbolic link below the dataset's folder is refused ([`StoreError::Strange`]): it leads out of what is verified,
//!   backed up and repaired, and what it leads to may be another one a moment later.
//! - The sink closes a file before its fsync here. Linux keeps a writeback error for the next fsync as long as the inode
//!   is in memory; one that is evicted between the two would lose it.
//!
//! fsync of many files goes through as many threads as the file system can use: what waits at the same time shares its
//! commits. Few files don't gain enough for a thread's start.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::error::StoreError;
use super::file_system::{FileSystem, Machine, SyncFailed};
use super::parts::Parts;
use super::{Claim, New, Outcomes, Store};
use crate::model::names;

/// How many files are worth a thread to fsync them.
const FILES_OF_A_THREAD: usize = 8;

/// A dataset's folder.
#[derive(Debug)]
pub struct Local {
    root: PathBuf,
    files: Arc<dyn FileSystem>,
    /// Folders whose names this process knows to be durable, all the way up to the root.
    durable: Mutex<HashSet<PathBuf>>,
}

impl Local {
    /// The store in a folder, which need not be there.
    ///
    /// # Errors
    /// When a relative path leads nowhere, because the working folder is gone.
    pub fn new(folder: &Path) -> Result<Local, StoreError> {
        let root = std::path::absolute(folder).map_err(StoreError::io("find", folder))?;
        Ok(Local::on(Arc::new(Machine), root))
    }

    /// The same on a file system; `root` must be absolute.
    pub(crate) fn on(files: Arc<dyn FileSystem>, root: PathBuf) -> Local {
        Local { root, files, durable: Mutex::default() }
    }

    /// Whether neither store's folder is in the other's, by whichever links they are reached.
    pub(crate) fn is_apart_from(&self, other: &Local) -> bool {
        // What isn't there yet has no real path, but a folder above it has.
        let real = |path: &Path| {
            let there =
                path.ancestors().find_map(|above| Some((above.canonicalize().ok()?, path.strip_prefix(above).ok()?)));
            there.map_or_else(|| path.to_owned(), |(real, rest)| real.join(rest))
        };
        let (ours, theirs) = (real(&self.root), real(&other.root));
        !ours.starts_with(&theirs) && !theirs.starts_with(&ours)
    }

    /// The path of a name that uses `/`; the root's for none.
    fn path(&self, name: &str) -> PathBuf {
        if name.is_empty() { self.root.clone() } else { self.root.join(name) }
    }

    /// The folder that a name is in.
    fn folder(&self, name: &str) -> PathBuf {
        parent(&self.path(name)).to_owned()
    }

    /// Makes the root and what is missing above it, durably.
    fn make_root(&self) -> Result<(), StoreError> {
        let mut ancestors: Vec<&Path> = self.root.ancestors().collect();
        ancestors.reverse();
        for pair in ancestors.windows(2) {
            let made = self.create_dir(pair[1])?;
            let synced = self.sync(pair[0]);
            // A folder above that was there before may be unreadable, and is none of our business.
            if made || pair[1] == self.root {
                synced?;
            }
        }
        Ok(())
    }

    /// Makes a folder below the root, and those between, durably.
    fn make_dir(&self, dir: &Path) -> Result<(), StoreError> {
        self.make_dirs(BTreeSet::from([dir.to_owned()])).all([dir.to_owned()])
    }

    /// Makes folders below the root, and those between, durably, and says how each went. Folders of one parent share its
    /// fsync.
    fn make_dirs(&self, dirs: BTreeSet<PathBuf>) -> Synced {
        // Parents before what is in them.
        let mut missing: BTreeMap<usize, BTreeSet<PathBuf>> = BTreeMap::new();
        let mut looked_at: HashSet<&Path> = HashSet::new();
        for mut dir in dirs.iter().map(PathBuf::as_path) {
            // Each of them, because any may have become a link since.
            while dir != self.root && looked_at.insert(dir) {
                if !(lock(&self.durable).contains(dir) && self.files.is_dir(dir)) {
                    missing.entry(dir.components().count()).or_default().insert(dir.to_owned());
                }
                dir = parent(dir);
            }
        }
        let mut failed: HashMap<PathBuf, StoreError> = HashMap::new();
        for level in missing.into_values() {
            let above =
                |dir: &Path, failed: &HashMap<_, StoreError>| failed.get(parent(dir)).cloned().map_or(Ok(()), Err);
            let made = |dir: PathBuf| {
                let result = above(&dir, &failed).and_then(|()| self.create_dir(&dir).map(drop));
                (dir, result)
            };
            let made: Vec<(PathBuf, Result<(), StoreError>)> = level.into_iter().map(made).collect();
            let parents = made.iter().filter(|(_, result)| result.is_ok()).map(|(dir, _)| parent(dir).to_owned());
            let synced = self.sync_many(parents.collect());
            for (dir, result) in made {
                match result.and_then(|()| synced.all([parent(&dir).to_owned()])) {
                    Ok(()) => drop(lock(&self.durable).insert(dir)),
                    Err(error) => drop(failed.insert(dir, error)),
                }
            }
        }
        let result = |dir: PathBuf| {
            let result = failed.get(&dir).cloned().map_or(Ok(()), Err);
            (dir, result)
        };
        Synced(dirs.into_iter().map(result).collect())
    }

    /// fsyncs a file or a folder.
    fn sync(&self, path: &Path) -> Result<(), StoreError> {
        let synced = if self.is_below_root(path) { self.files.sync(path) } else { self.files.sync_followed(path) };
        synced.map_err(StoreError::io("open", path))?.map_err(|failed| match failed {
            SyncFailed::Now(source) => StoreError::io("fsync", path)(source),
            SyncFailed::Earlier => StoreError::NotDurable { path: path.to_owned() },
        })
    }

    /// fsyncs each of them once, and says how it went.
    fn sync_many(&self, paths: BTreeSet<PathBuf>) -> Synced {
        let paths: Vec<PathBuf> = paths.into_iter().collect();
        let part = paths.len().div_ceil(self.files.syncs_at_once()).max(FILES_OF_A_THREAD);
        let sync_part = |part: &[PathBuf]| part.iter().map(|path| self.sync(path)).collect::<Vec<_>>();
        let mut parts = paths.chunks(part);
        let first = parts.next().unwrap_or_default();
        let results = std::thread::scope(|scope| {
            let others: Vec<_> = parts.map(|part| scope.spawn(move || sync_part(part))).collect();
            let mut results = sync_part(first);
            for other in others {
                results.extend(other.join().expect("fsyncing does not panic"));
            }
            results
        });
        Synced(paths.into_iter().zip(results).collect())
    }

    /// A new file, to be written. It is not durable.
    fn create_file(&self, path: &Path) -> io::Result<Box<dyn Write + Send>> {
        match self.files.create(path) {
            // Somebody took `staging/` away for rubbish: it is made again, as a start does.
            Err(error) if error.kind() == io::ErrorKind::NotFound && parent(path) == self.path(names::STAGING) => {
                self.make_dir(parent(path)).map_err(io::Error::other)?;
                self.files.create(path)
            }
            created => created,
        }
    }

    /// The names in a folder, in no order; none if there is no such folder. Not a snapshot of a moment.
    fn list_dir(&self, dir: &Path) -> Result<Vec<String>, StoreError> {
        self.no_link_on_the_way(dir)?;
        match self.files.list(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            names => names.map_err(StoreError::io("list", dir)),
        }
    }

    /// No part of a path below the root may be a link.
    fn no_link_on_the_way(&self, path: &Path) -> Result<(), StoreError> {
        let found = self.files.link_on_the_way(&self.root, path).map_err(StoreError::io("look at", path))?;
        found.map_or(Ok(()), |path| Err(StoreError::link(path)))
    }

    /// Files below a prefix; also what is neither file nor folder.
    fn walk(&self, prefix: &str, found: &mut HashSet<String>) -> Result<(), StoreError> {
        for name in self.list(prefix)? {
            let name = format!("{prefix}/{name}");
            let path = self.path(&name);
            match self.files.is_folder(&path) {
                Ok(true) => self.walk(&name, found)?,
                Ok(false) => _ = found.insert(name),
                // Its name is no text, so it can't be found under what is shown of it.
                Err(_) if name.contains(char::REPLACEMENT_CHARACTER) => _ = found.insert(name),
                Err(error) => return Err(StoreError::io("look at", path)(error)),
            }
        }
        Ok(())
    }

    fn is_below_root(&self, path: &Path) -> bool {
        path != self.root && path.starts_with(&self.root)
    }

    /// Whether it made the folder, or found it there.
    fn create_dir(&self, dir: &Path) -> Result<bool, StoreError> {
        match self.files.make_dir(dir) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let is_dir =
                    if self.is_below_root(dir) { self.files.is_dir(dir) } else { self.files.leads_to_dir(dir) };
                self.no_link_on_the_way(dir)?;
                if is_dir { Ok(false) } else { Err(StoreError::io("make the folder", dir)(error)) }
            }
            Err(error) => Err(StoreError::io("make the folder", dir)(error)),
        }
    }
}

impl Store for Local {
    fn place(&self, name: &str) -> PathBuf {
        self.path(name)
    }

    fn make_ready(&self, prefixes: &[&str]) -> Result<(), StoreError> {
        self.make_root()?;
        prefixes.iter().try_for_each(|prefix| self.make_dir(&self.path(prefix)))
    }

    /// A symbolic link is refused.
    fn check_inside(&self, prefix: &str, levels: usize) -> Result<(), StoreError> {
        let path = self.path(prefix);
        self.no_link_on_the_way(&path)?;
        if levels == 0 {
            return Ok(());
        }
        let found = self.files.link_in(&path, levels).map_err(StoreError::io("list", &path))?;
        found.map_or(Ok(()), |path| Err(StoreError::link(path)))
    }

    fn stage(&self, name: &str) -> io::Result<Box<dyn Write + Send>> {
        self.create_file(&self.path(name))
    }

    fn keep_private(&self, name: &str) -> io::Result<()> {
        self.files.make_private(&self.path(name))
    }

    fn prepare(&self, new: &New<'_>) -> Result<(), StoreError> {
        self.write(new.temporary, &(new.content)(), new.readers)
    }

    fn make_durable(&self, staged: BTreeSet<String>, prepared: BTreeSet<String>) -> Outcomes {
        let names: BTreeSet<String> = staged.into_iter().chain(prepared).collect();
        self.sync_many(names.iter().map(|name| self.path(name)).collect()).of_names(names, |name| self.path(name))
    }

    fn make_room(&self, names: BTreeSet<String>) -> Outcomes {
        self.make_dirs(names.iter().map(|name| self.folder(name)).collect()).of_names(names, |name| self.folder(name))
    }

    fn settle(&self, names: BTreeSet<String>) -> Outcomes {
        self.sync_many(names.iter().map(|name| self.folder(name)).collect()).of_names(names, |name| self.folder(name))
    }

    fn create(&self, new: &New<'_>) -> Result<Claim, StoreError> {
        self.publish(new.temporary, new.name)
    }

    fn publish(&self, staged: &str, name: &str) -> Result<Claim, StoreError> {
        let path = self.path(name);
        match self.files.link(&self.path(staged), &path) {
            Ok(()) => Ok(Claim::Won),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(Claim::Taken),
            Err(error) => Err(StoreError::io("link", path)(error)),
        }
    }

    fn replace(&self, staged: &str, name: &str) -> Result<(), StoreError> {
        let path = self.path(name);
        self.files.rename(&self.path(staged), &path).map_err(StoreError::io("put in place", path))
    }

    fn discard(&self, name: &str) -> Result<(), StoreError> {
        let path = self.path(name);
        match self.files.unlink(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StoreError::io("unlink", path)(error)),
            _ => Ok(()),
        }
    }

    fn share(&self, other: &dyn Store, from: &str, to: &str) -> io::Result<()> {
        match (other as &dyn Any).downcast_ref::<Local>() {
            Some(other) => self.files.link(&other.path(from), &self.path(to)),
            None => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    fn exists(&self, name: &str) -> Result<bool, StoreError> {
        let path = self.path(name);
        self.files.exists(&path).map_err(StoreError::io("look for", path))
    }

    fn size(&self, name: &str) -> Result<u64, StoreError> {
        let path = self.path(name);
        self.files.size(&path).map_err(StoreError::io("look at", path))
    }

    fn open(&self, name: &str) -> Result<Box<dyn Read + Send>, StoreError> {
        let path = self.path(name);
        self.no_link_on_the_way(&path)?;
        self.files.open(&path).map_err(StoreError::io("read", path))
    }

    fn open_parts(&self, name: &str) -> io::Result<Parts> {
        Ok(Parts::of(self.files.open_parts(&self.path(name))?))
    }

    /// They are where they have one inode.
    fn are_same(&self, one: &str, other: &str) -> bool {
        let inode = |name| self.files.inode(&self.path(name)).ok();
        inode(one).is_some_and(|one| Some(one) == inode(other))
    }

    fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        self.list_dir(&self.path(prefix))
    }

    /// An empty folder counts for something.
    fn is_empty(&self, prefix: &str) -> Result<bool, StoreError> {
        let dir = self.path(prefix);
        self.no_link_on_the_way(&dir)?;
        match self.files.is_empty(&dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
            empty => empty.map_err(StoreError::io("list", dir)),
        }
    }

    fn is_prefix(&self, name: &str) -> bool {
        self.files.is_dir(&self.path(name))
    }

    fn all_below(&self, prefix: &str) -> Result<HashSet<String>, StoreError> {
        let mut found = HashSet::new();
        self.walk(prefix, &mut found)?;
        Ok(found)
    }
}

/// How it went with each of many paths.
struct Synced(HashMap<PathBuf, Result<(), StoreError>>);

impl Synced {
    /// The first failure among these paths, all of which were asked for.
    fn all(&self, paths: impl IntoIterator<Item = PathBuf>) -> Result<(), StoreError> {
        paths.into_iter().try_for_each(|path| self.0[&path].clone())
    }

    /// The same by names, each of which has one of these paths.
    fn of_names(&self, names: BTreeSet<String>, path: impl Fn(&str) -> PathBuf) -> Outcomes {
        let outcome = |name: String| {
            let result = self.0[&path(&name)].clone();
            (name, result)
        };
        Outcomes::from_iter(names.into_iter().map(outcome))
    }
}

fn parent(dir: &Path) -> &Path {
    dir.parent().expect("a folder below the root has a parent")
}

/// A panic elsewhere does not make these sets wrong.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
