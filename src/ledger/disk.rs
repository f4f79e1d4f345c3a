//! Durable names on the local filesystem: folders, create-if-absent, and fsync that remembers its failures.
//!
//! - A name is durable only after its folder was fsynced, and a name that another process made is *visible, not durable*:
//!   so [`Disk::make_dir`] fsyncs the parent also of a folder that is already there, once a process.
//! - After a failed fsync the kernel forgets the data, and a second one reports success. So nothing whose fsync failed is
//!   fsynced again in this process, by whichever dataset ([`LedgerError::NotDurable`]). A file is written again under a
//!   new name; a folder stays failed until a person has looked at the disk and weir is started again.
//! - A symbolic link below the dataset's folder is refused ([`LedgerError::Strange`]): it leads out of what is verified,
//!   backed up and repaired, and what it leads to may be another one a moment later.
//! - The sink closes a file before its fsync here. Linux keeps a writeback error for the next fsync as long as the inode
//!   is in memory; one that is evicted between the two would lose it.
//!
//! fsync of many files goes through as many threads as the file system can use: what waits at the same time shares its
//! commits. Few files don't gain enough for a thread's start.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sha2::{Digest, Sha256};

use super::error::LedgerError;
use super::file_system::{FileSystem, SyncFailed};
use crate::base::failpoint;
use crate::model::names;

/// How many files are worth a thread to fsync them.
const FILES_OF_A_THREAD: usize = 8;

/// One dataset's folder.
#[derive(Debug)]
pub(super) struct Disk {
    pub(super) root: PathBuf,
    files: Arc<dyn FileSystem>,
    /// Folders whose names this process knows to be durable, all the way up to the root.
    durable: Mutex<HashSet<PathBuf>>,
}

/// The largest file that is read as a whole, and the longest line of a checkpoint. An entry of ten thousand files and a
/// hundred thousand windows has some 30 MB.
pub(super) const WHOLE_MAX: u64 = 1 << 30;

impl Disk {
    /// `root` must be absolute.
    pub(super) fn new(files: Arc<dyn FileSystem>, root: PathBuf) -> Disk {
        Disk { root, files, durable: Mutex::default() }
    }

    /// The path of a name that uses `/`.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Makes the root and what is missing above it, durably.
    pub(super) fn make_root(&self) -> Result<(), LedgerError> {
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
    pub(super) fn make_dir(&self, dir: &Path) -> Result<(), LedgerError> {
        self.make_dirs(BTreeSet::from([dir.to_owned()])).all([dir.to_owned()])
    }

    /// Makes folders below the root, and those between, durably, and says how each went. Folders of one parent share its
    /// fsync.
    pub(super) fn make_dirs(&self, dirs: BTreeSet<PathBuf>) -> Synced {
        // Parents before what is in them.
        let mut missing: BTreeMap<usize, BTreeSet<PathBuf>> = BTreeMap::new();
        let mut looked_at: HashSet<&Path> = HashSet::new();
        for mut dir in dirs.iter().map(PathBuf::as_path) {
            // Each of them, because any may have become a link since.
            while dir != self.root && looked_at.insert(dir) {
                if !(lock(&self.durable).contains(dir) && self.is_dir(dir)) {
                    missing.entry(dir.components().count()).or_default().insert(dir.to_owned());
                }
                dir = parent(dir);
            }
        }
        let mut failed: HashMap<PathBuf, LedgerError> = HashMap::new();
        for level in missing.into_values() {
            let above =
                |dir: &Path, failed: &HashMap<_, LedgerError>| failed.get(parent(dir)).cloned().map_or(Ok(()), Err);
            let made = |dir: PathBuf| {
                let result = above(&dir, &failed).and_then(|()| self.create_dir(&dir).map(drop));
                (dir, result)
            };
            let made: Vec<(PathBuf, Result<(), LedgerError>)> = level.into_iter().map(made).collect();
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
    pub(super) fn sync(&self, path: &Path) -> Result<(), LedgerError> {
        let synced = if self.is_below_root(path) { self.files.sync(path) } else { self.files.sync_followed(path) };
        synced.map_err(LedgerError::io("open", path))?.map_err(|failed| match failed {
            SyncFailed::Now(source) => LedgerError::io("fsync", path)(source),
            SyncFailed::Earlier => LedgerError::NotDurable { path: path.to_owned() },
        })
    }

    /// fsyncs each of them once, and says how it went.
    pub(super) fn sync_many(&self, paths: BTreeSet<PathBuf>) -> Synced {
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

    /// Writes a new file. It is not durable yet.
    pub(super) fn write(&self, path: &Path, content: &[u8]) -> Result<(), LedgerError> {
        let mut file = self.create(path)?;
        file.write_all(content).and_then(|()| file.flush()).map_err(LedgerError::io("write", path))
    }

    /// The same, of a file that only its owner may read and write, from before it has content.
    pub(super) fn write_private(&self, path: &Path, content: &[u8]) -> Result<(), LedgerError> {
        let mut file = self.create(path)?;
        self.make_private(path).map_err(LedgerError::io("chmod", path))?;
        file.write_all(content).and_then(|()| file.flush()).map_err(LedgerError::io("write", path))
    }

    /// Lets only a file's owner read and write it.
    pub(super) fn make_private(&self, path: &Path) -> io::Result<()> {
        self.files.make_private(path)
    }

    /// A new file, to be written. It is not durable.
    pub(super) fn create(&self, path: &Path) -> Result<Box<dyn Write + Send>, LedgerError> {
        self.create_file(path).map_err(LedgerError::io("create", path))
    }

    /// The same, for who has errors of their own.
    pub(super) fn create_file(&self, path: &Path) -> io::Result<Box<dyn Write + Send>> {
        match self.files.create(path) {
            // Somebody took `staging/` away for rubbish: it is made again, as a start does.
            Err(error) if error.kind() == io::ErrorKind::NotFound && parent(path) == self.path(names::STAGING) => {
                self.make_dir(parent(path)).map_err(io::Error::other)?;
                self.files.create(path)
            }
            created => created,
        }
    }

    /// Makes a file with this content, whole or not at all, durably, unless the name is taken. Then the other's is durable
    /// when this returns.
    pub(super) fn create_if_absent(&self, temporary: &Path, path: &Path, content: &[u8]) -> Result<(), LedgerError> {
        self.create_if_absent_by(Self::write, temporary, path, content)
    }

    fn create_if_absent_by(
        &self,
        write: fn(&Self, &Path, &[u8]) -> Result<(), LedgerError>,
        temporary: &Path,
        path: &Path,
        content: &[u8],
    ) -> Result<(), LedgerError> {
        if !self.exists(path)? {
            write(self, temporary, content)?;
            self.sync(temporary)?;
            failpoint::hit("dataset.before_link");
            let linked = self.link(temporary, path);
            failpoint::hit("dataset.after_link");
            self.unlink(temporary)?;
            match linked {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(LedgerError::io("link", path)(error));
                }
                _ => {}
            }
        }
        self.sync(path.parent().expect("a file has a folder"))
    }

    /// The same, of a file that only its owner may read and write.
    pub(super) fn create_private_if_absent(
        &self,
        temporary: &Path,
        path: &Path,
        content: &[u8],
    ) -> Result<(), LedgerError> {
        self.create_if_absent_by(Self::write_private, temporary, path, content)
    }

    /// A second name for a file, which must be free.
    pub(super) fn link(&self, file: &Path, name: &Path) -> io::Result<()> {
        self.files.link(file, name)
    }

    /// Puts a file in the place of another one, which has a second name by now: at no instant is nothing there.
    pub(super) fn replace(&self, file: &Path, name: &Path) -> Result<(), LedgerError> {
        self.files.rename(file, name).map_err(LedgerError::io("put in place", name))
    }

    /// A new file with the content of another one, on whatever file system. It is not durable.
    pub(super) fn copy(&self, from: &Path, to: &Path) -> Result<(), LedgerError> {
        let (mut source, mut copy) = (self.open(from)?, self.create(to)?);
        io::copy(&mut source, &mut copy).and_then(|_| copy.flush()).map_err(LedgerError::io("copy to", to))
    }

    /// Removes a name; one that is already gone is fine.
    pub(super) fn unlink(&self, path: &Path) -> Result<(), LedgerError> {
        match self.files.unlink(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(LedgerError::io("unlink", path)(error)),
            _ => Ok(()),
        }
    }

    /// The names in a folder, in no order; none if there is no such folder. Not a snapshot of a moment.
    pub(super) fn list(&self, dir: &Path) -> Result<Vec<String>, LedgerError> {
        self.no_link_on_the_way(dir)?;
        match self.files.list(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            names => names.map_err(LedgerError::io("list", dir)),
        }
    }

    /// No part of a path below the root may be a link.
    pub(super) fn no_link_on_the_way(&self, path: &Path) -> Result<(), LedgerError> {
        let found = self.files.link_on_the_way(&self.root, path).map_err(LedgerError::io("look at", path))?;
        found.map_or(Ok(()), |path| Err(LedgerError::link(path)))
    }

    /// None of a folder's names may be a link, nor of the folders in it, down to so many levels.
    pub(super) fn no_link_in(&self, dir: &Path, levels: usize) -> Result<(), LedgerError> {
        self.no_link_on_the_way(dir)?;
        let found = self.files.link_in(dir, levels).map_err(LedgerError::io("list", dir))?;
        found.map_or(Ok(()), |path| Err(LedgerError::link(path)))
    }

    /// Whether there is anything of that name. A disk that can't tell is an error: "not there" would let a fenced writer on.
    pub(super) fn exists(&self, path: &Path) -> Result<bool, LedgerError> {
        self.files.exists(path).map_err(LedgerError::io("look for", path))
    }

    pub(super) fn is_dir(&self, path: &Path) -> bool {
        self.files.is_dir(path)
    }

    /// A file's content, as a stream.
    pub(super) fn open(&self, path: &Path) -> Result<Box<dyn Read + Send>, LedgerError> {
        self.no_link_on_the_way(path)?;
        self.files.open(path).map_err(LedgerError::io("read", path))
    }

    /// A file's content.
    pub(super) fn read(&self, path: &Path) -> Result<Vec<u8>, LedgerError> {
        let mut content = Vec::new();
        let read = self.open(path)?.take(WHOLE_MAX + 1).read_to_end(&mut content);
        match read.map_err(LedgerError::io("read", path))? as u64 {
            0..=WHOLE_MAX => Ok(content),
            _ => Err(too_large(path)),
        }
    }

    /// A file's size.
    pub(super) fn size(&self, path: &Path) -> Result<u64, LedgerError> {
        self.files.size(path).map_err(LedgerError::io("look at", path))
    }

    /// SHA-256 of a file's content, hex.
    pub(super) fn sha256(&self, path: &Path) -> Result<String, LedgerError> {
        let mut file = self.open(path)?;
        let (mut hash, mut buffer) = (Sha256::new(), vec![0; 1 << 18]);
        loop {
            match file.read(&mut buffer).map_err(LedgerError::io("read", path))? {
                0 => return Ok(names::hex(&hash.finalize())),
                read => hash.update(&buffer[..read]),
            }
        }
    }

    /// Whether both are names of one file.
    pub(super) fn same(&self, one: &Path, other: &Path) -> bool {
        let inode = |path| self.files.inode(path).ok();
        inode(one).is_some_and(|one| Some(one) == inode(other))
    }

    fn is_below_root(&self, path: &Path) -> bool {
        path != self.root && path.starts_with(&self.root)
    }

    /// Whether it made the folder, or found it there.
    fn create_dir(&self, dir: &Path) -> Result<bool, LedgerError> {
        match self.files.make_dir(dir) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let is_dir = if self.is_below_root(dir) { self.is_dir(dir) } else { self.files.leads_to_dir(dir) };
                self.no_link_on_the_way(dir)?;
                if is_dir { Ok(false) } else { Err(LedgerError::io("make the folder", dir)(error)) }
            }
            Err(error) => Err(LedgerError::io("make the folder", dir)(error)),
        }
    }
}

/// How the fsync of each of many paths went.
pub(super) struct Synced(HashMap<PathBuf, Result<(), LedgerError>>);

impl Synced {
    /// The first failure among these paths, all of which were asked for.
    pub(super) fn all(&self, paths: impl IntoIterator<Item = PathBuf>) -> Result<(), LedgerError> {
        paths.into_iter().try_for_each(|path| self.0[&path].clone())
    }
}

/// No weir writes such a file.
pub(super) fn too_large(path: &Path) -> LedgerError {
    let reason = format!("it has more than {WHOLE_MAX} bytes in one piece");
    LedgerError::Unreadable { path: path.to_owned(), reason }
}

fn parent(dir: &Path) -> &Path {
    dir.parent().expect("a folder below the root has a parent")
}

/// A panic elsewhere does not make these sets wrong.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
