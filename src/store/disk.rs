//! Durable names on the local filesystem: folders, create-if-absent, and fsync that remembers its failures.
//!
//! - A name is durable only after its folder was fsynced, and a name that another process made is *visible, not durable*:
//!   so [`Disk::make_dir`] fsyncs the parent also of a folder that is already there, once a process.
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

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sha2::{Digest, Sha256};

use super::error::StoreError;
use super::file_system::{FileSystem, SyncFailed};
use crate::base::failpoint;
use crate::model::names;

/// How many files are worth a thread to fsync them.
const FILES_OF_A_THREAD: usize = 8;

/// One dataset's folder.
#[derive(Debug)]
pub(crate) struct Disk {
    pub(crate) root: PathBuf,
    files: Arc<dyn FileSystem>,
    /// Folders whose names this process knows to be durable, all the way up to the root.
    durable: Mutex<HashSet<PathBuf>>,
}

/// The largest file that is read as a whole, and the longest line of a checkpoint. An entry of ten thousand files and a
/// hundred thousand windows has some 30 MB.
pub(crate) const WHOLE_MAX: u64 = 1 << 30;

impl Disk {
    /// `root` must be absolute.
    pub(crate) fn new(files: Arc<dyn FileSystem>, root: PathBuf) -> Disk {
        Disk { root, files, durable: Mutex::default() }
    }

    /// The path of a name that uses `/`.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Makes the root and what is missing above it, durably.
    pub(crate) fn make_root(&self) -> Result<(), StoreError> {
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
    pub(crate) fn make_dir(&self, dir: &Path) -> Result<(), StoreError> {
        self.make_dirs(BTreeSet::from([dir.to_owned()])).all([dir.to_owned()])
    }

    /// Makes folders below the root, and those between, durably, and says how each went. Folders of one parent share its
    /// fsync.
    pub(crate) fn make_dirs(&self, dirs: BTreeSet<PathBuf>) -> Synced {
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
    pub(crate) fn sync(&self, path: &Path) -> Result<(), StoreError> {
        let synced = if self.is_below_root(path) { self.files.sync(path) } else { self.files.sync_followed(path) };
        synced.map_err(StoreError::io("open", path))?.map_err(|failed| match failed {
            SyncFailed::Now(source) => StoreError::io("fsync", path)(source),
            SyncFailed::Earlier => StoreError::NotDurable { path: path.to_owned() },
        })
    }

    /// fsyncs each of them once, and says how it went.
    pub(crate) fn sync_many(&self, paths: BTreeSet<PathBuf>) -> Synced {
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
    pub(crate) fn write(&self, path: &Path, content: &[u8]) -> Result<(), StoreError> {
        let mut file = self.create(path)?;
        file.write_all(content).and_then(|()| file.flush()).map_err(StoreError::io("write", path))
    }

    /// The same, of a file that only its owner may read and write, from before it has content.
    pub(crate) fn write_private(&self, path: &Path, content: &[u8]) -> Result<(), StoreError> {
        let mut file = self.create(path)?;
        self.make_private(path).map_err(StoreError::io("chmod", path))?;
        file.write_all(content).and_then(|()| file.flush()).map_err(StoreError::io("write", path))
    }

    /// Lets only a file's owner read and write it.
    pub(crate) fn make_private(&self, path: &Path) -> io::Result<()> {
        self.files.make_private(path)
    }

    /// A new file, to be written. It is not durable.
    pub(crate) fn create(&self, path: &Path) -> Result<Box<dyn Write + Send>, StoreError> {
        self.create_file(path).map_err(StoreError::io("create", path))
    }

    /// The same, for who has errors of their own.
    pub(crate) fn create_file(&self, path: &Path) -> io::Result<Box<dyn Write + Send>> {
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
    pub(crate) fn create_if_absent(&self, temporary: &Path, path: &Path, content: &[u8]) -> Result<(), StoreError> {
        self.create_if_absent_by(Self::write, temporary, path, content)
    }

    fn create_if_absent_by(
        &self,
        write: fn(&Self, &Path, &[u8]) -> Result<(), StoreError>,
        temporary: &Path,
        path: &Path,
        content: &[u8],
    ) -> Result<(), StoreError> {
        if !self.exists(path)? {
            write(self, temporary, content)?;
            self.sync(temporary)?;
            failpoint::hit("dataset.before_link");
            let linked = self.link(temporary, path);
            failpoint::hit("dataset.after_link");
            self.unlink(temporary)?;
            match linked {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(StoreError::io("link", path)(error));
                }
                _ => {}
            }
        }
        self.sync(path.parent().expect("a file has a folder"))
    }

    /// The same, of a file that only its owner may read and write.
    pub(crate) fn create_private_if_absent(
        &self,
        temporary: &Path,
        path: &Path,
        content: &[u8],
    ) -> Result<(), StoreError> {
        self.create_if_absent_by(Self::write_private, temporary, path, content)
    }

    /// A second name for a file, which must be free.
    pub(crate) fn link(&self, file: &Path, name: &Path) -> io::Result<()> {
        self.files.link(file, name)
    }

    /// Puts a file in the place of another one, which has a second name by now: at no instant is nothing there.
    pub(crate) fn replace(&self, file: &Path, name: &Path) -> Result<(), StoreError> {
        self.files.rename(file, name).map_err(StoreError::io("put in place", name))
    }

    /// A new file with the content of another one, on whatever file system. It is not durable.
    pub(crate) fn copy(&self, from: &Path, to: &Path) -> Result<(), StoreError> {
        let (mut source, mut copy) = (self.open(from)?, self.create(to)?);
        io::copy(&mut source, &mut copy).and_then(|_| copy.flush()).map_err(StoreError::io("copy to", to))
    }

    /// Removes a name; one that is already gone is fine.
    pub(crate) fn unlink(&self, path: &Path) -> Result<(), StoreError> {
        match self.files.unlink(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StoreError::io("unlink", path)(error)),
            _ => Ok(()),
        }
    }

    /// The names in a folder, in no order; none if there is no such folder. Not a snapshot of a moment.
    pub(crate) fn list(&self, dir: &Path) -> Result<Vec<String>, StoreError> {
        self.no_link_on_the_way(dir)?;
        match self.files.list(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            names => names.map_err(StoreError::io("list", dir)),
        }
    }

    /// No part of a path below the root may be a link.
    pub(crate) fn no_link_on_the_way(&self, path: &Path) -> Result<(), StoreError> {
        let found = self.files.link_on_the_way(&self.root, path).map_err(StoreError::io("look at", path))?;
        found.map_or(Ok(()), |path| Err(StoreError::link(path)))
    }

    /// None of a folder's names may be a link, nor of the folders in it, down to so many levels.
    pub(crate) fn no_link_in(&self, dir: &Path, levels: usize) -> Result<(), StoreError> {
        self.no_link_on_the_way(dir)?;
        let found = self.files.link_in(dir, levels).map_err(StoreError::io("list", dir))?;
        found.map_or(Ok(()), |path| Err(StoreError::link(path)))
    }

    /// Whether there is anything of that name. A disk that can't tell is an error: "not there" would let a fenced writer on.
    pub(crate) fn exists(&self, path: &Path) -> Result<bool, StoreError> {
        self.files.exists(path).map_err(StoreError::io("look for", path))
    }

    pub(crate) fn is_dir(&self, path: &Path) -> bool {
        self.files.is_dir(path)
    }

    /// A file's content, as a stream.
    pub(crate) fn open(&self, path: &Path) -> Result<Box<dyn Read + Send>, StoreError> {
        self.no_link_on_the_way(path)?;
        self.files.open(path).map_err(StoreError::io("read", path))
    }

    /// A file's content.
    pub(crate) fn read(&self, path: &Path) -> Result<Vec<u8>, StoreError> {
        let mut content = Vec::new();
        let read = self.open(path)?.take(WHOLE_MAX + 1).read_to_end(&mut content);
        match read.map_err(StoreError::io("read", path))? as u64 {
            0..=WHOLE_MAX => Ok(content),
            _ => Err(too_large(path)),
        }
    }

    /// A file's size.
    pub(crate) fn size(&self, path: &Path) -> Result<u64, StoreError> {
        self.files.size(path).map_err(StoreError::io("look at", path))
    }

    /// SHA-256 of a file's content, hex.
    pub(crate) fn sha256(&self, path: &Path) -> Result<String, StoreError> {
        let mut file = self.open(path)?;
        let (mut hash, mut buffer) = (Sha256::new(), vec![0; 1 << 18]);
        loop {
            match file.read(&mut buffer).map_err(StoreError::io("read", path))? {
                0 => return Ok(names::hex(&hash.finalize())),
                read => hash.update(&buffer[..read]),
            }
        }
    }

    /// Whether both are names of one file.
    pub(crate) fn same(&self, one: &Path, other: &Path) -> bool {
        let inode = |path| self.files.inode(path).ok();
        inode(one).is_some_and(|one| Some(one) == inode(other))
    }

    fn is_below_root(&self, path: &Path) -> bool {
        path != self.root && path.starts_with(&self.root)
    }

    /// Whether it made the folder, or found it there.
    fn create_dir(&self, dir: &Path) -> Result<bool, StoreError> {
        match self.files.make_dir(dir) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let is_dir = if self.is_below_root(dir) { self.is_dir(dir) } else { self.files.leads_to_dir(dir) };
                self.no_link_on_the_way(dir)?;
                if is_dir { Ok(false) } else { Err(StoreError::io("make the folder", dir)(error)) }
            }
            Err(error) => Err(StoreError::io("make the folder", dir)(error)),
        }
    }
}

/// How the fsync of each of many paths went.
pub(crate) struct Synced(HashMap<PathBuf, Result<(), StoreError>>);

impl Synced {
    /// The first failure among these paths, all of which were asked for.
    pub(crate) fn all(&self, paths: impl IntoIterator<Item = PathBuf>) -> Result<(), StoreError> {
        paths.into_iter().try_for_each(|path| self.0[&path].clone())
    }
}

/// No weir writes such a file.
pub(crate) fn too_large(path: &Path) -> StoreError {
    StoreError::TooLarge { path: path.to_owned() }
}

fn parent(dir: &Path) -> &Path {
    dir.parent().expect("a folder below the root has a parent")
}

/// A panic elsewhere does not make these sets wrong.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
