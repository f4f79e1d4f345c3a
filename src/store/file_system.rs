//! What the store asks of a file system, and nothing else does: so that another one can stand in its place, whose power
//! fails where a test wants it to.
//!
//! No call here follows a symbolic link in the last part of a path, or opens anything but files and folders: a link leads
//! out of the dataset, and a FIFO is waited for. [`FileSystem::link_on_the_way`] finds the links before the last part.

use std::collections::HashMap;
use std::error::Error;
use std::fmt::{self, Debug, Display};
use std::fs::{self, File, FileType, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Condvar, LazyLock, Mutex, PoisonError};
use std::time::SystemTime;

use rustix::fs::OFlags;

use super::parts::ReadAt;

/// All that a file's group and all others may do.
const OF_OTHERS: u32 = 0o077;

/// What waits for the disk at the same time shares the file system's commits.
///
/// Measured on a virtual disk with ext4 and 2 cores, 2,000 files of 8 kB: on one thread 3.6 ms and 0.11 ms of processor time a
/// file, on four 0.29 and 0.04, on sixteen 0.09 and 0.03.
const SYNCS_AT_ONCE: usize = 16;

/// A file system with hard links. Errors are those of the calls by the same names in `std::fs`.
pub(crate) trait FileSystem: Debug + Send + Sync {
    /// A new file. Closed is not durable.
    fn create(&self, path: &Path) -> io::Result<Box<dyn Write + Send>>;
    /// Lets only a file's owner read and write it.
    fn make_private(&self, path: &Path) -> io::Result<()>;
    /// A file's content.
    fn open(&self, path: &Path) -> io::Result<Box<dyn Read + Send>>;
    /// The same, to be read at any place.
    fn open_parts(&self, path: &Path) -> io::Result<Box<dyn ReadAt>>;
    /// A file's size.
    fn size(&self, path: &Path) -> io::Result<u64>;
    /// Device and inode.
    fn inode(&self, path: &Path) -> io::Result<(u64, u64)>;
    /// A second name for a file, unless that is taken.
    fn link(&self, file: &Path, name: &Path) -> io::Result<()>;
    /// Gives a file another name, at once, and takes that name from whatever had it.
    fn rename(&self, file: &Path, name: &Path) -> io::Result<()>;
    /// Removes a file's name.
    fn unlink(&self, path: &Path) -> io::Result<()>;
    /// The names in a folder, in no order. What is made or removed meanwhile may be among them or not.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;
    /// Whether a folder has no names.
    fn is_empty(&self, dir: &Path) -> io::Result<bool> {
        Ok(self.list(dir)?.is_empty())
    }
    /// A new folder.
    fn make_dir(&self, dir: &Path) -> io::Result<()>;
    /// Makes a file's content durable, or the names in a folder. The inner result is that of fsync itself: after a failure
    /// nobody knows what the disk holds.
    fn sync(&self, path: &Path) -> io::Result<Result<(), SyncFailed>>;
    /// The same of a folder that a link may lead to: the dataset's own, and those above it.
    fn sync_followed(&self, dir: &Path) -> io::Result<Result<(), SyncFailed>> {
        self.sync(dir)
    }
    /// How many calls of [`sync`](FileSystem::sync) at the same time are of use.
    fn syncs_at_once(&self) -> usize;
    /// Whether there is anything of that name.
    fn exists(&self, path: &Path) -> io::Result<bool>;
    /// Whether it is a folder.
    fn is_folder(&self, path: &Path) -> io::Result<bool>;
    /// Whether there is a folder of that name.
    fn is_dir(&self, path: &Path) -> bool {
        self.is_folder(path).unwrap_or(false)
    }
    /// The same where a link may lead to it: the dataset's own folder, and those above it.
    fn leads_to_dir(&self, path: &Path) -> bool {
        self.is_dir(path)
    }
    /// The first symbolic link among the parts of `path` below `root`.
    fn link_on_the_way(&self, _root: &Path, _path: &Path) -> io::Result<Option<PathBuf>> {
        Ok(None)
    }
    /// A symbolic link in a folder, or in folders in it down to so many `levels`.
    fn link_in(&self, _dir: &Path, _levels: usize) -> io::Result<Option<PathBuf>> {
        Ok(None)
    }
}

/// How an fsync failed.
#[derive(Debug)]
pub(crate) enum SyncFailed {
    /// Now, so.
    Now(io::Error),
    /// Earlier in this process. It was not tried again.
    Earlier,
}

/// What an fsync failed for, as long as this process lives. The kernel tells of a failure once, so a second fsync of the
/// same file or folder is not to be believed, whoever asks for it.
#[derive(Debug, Default)]
pub(crate) struct FailedSyncs {
    known: Mutex<HashMap<Inode, State>>,
    ended: Condvar,
}

/// A file or a folder: device, number, and when it was made, where the file system tells. Numbers are given again.
pub(crate) type Inode = (u64, u64, Option<SystemTime>);

#[derive(Debug, PartialEq, Eq)]
enum State {
    /// It is on its way. Who asks for another one waits, because this one may take the kernel's only word of a failure.
    UnderWay,
    Failed,
}

impl FailedSyncs {
    /// Does an fsync of a file or folder, unless one has failed before.
    pub(crate) fn sync(&self, inode: Inode, sync: impl FnOnce() -> io::Result<()>) -> Result<(), SyncFailed> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(state) = known.get(&inode) {
            match state {
                State::Failed => return Err(SyncFailed::Earlier),
                State::UnderWay => known = self.ended.wait(known).unwrap_or_else(PoisonError::into_inner),
            }
        }
        known.insert(inode, State::UnderWay);
        drop(known);
        let result = sync();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        match result {
            Ok(()) => known.remove(&inode),
            Err(_) => known.insert(inode, State::Failed),
        };
        self.ended.notify_all();
        result.map_err(SyncFailed::Now)
    }
}

/// What is there is neither a file nor a folder of weir's: the cause of an [`io::Error`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Strange(pub(crate) &'static str);

impl Display for Strange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "it is {}", self.0)
    }
}

impl Error for Strange {}

impl Strange {
    /// None for a regular file.
    fn unless_file(kind: FileType) -> Option<Strange> {
        if kind.is_file() {
            return None;
        }
        Some(Strange(match kind {
            kind if kind.is_symlink() => "a symbolic link",
            kind if kind.is_dir() => "a folder",
            kind if kind.is_fifo() => "a FIFO",
            kind if kind.is_socket() => "a socket",
            _ => "a device",
        }))
    }

    fn error(self) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidInput, self)
    }
}

/// Opens a file to read it. A link is not followed, and a FIFO not waited for.
fn open_file(path: &Path) -> io::Result<File> {
    let file = Machine::open_plain(path, OFlags::NOFOLLOW)?;
    match Strange::unless_file(file.metadata()?.file_type()) {
        None => Ok(file),
        Some(strange) => Err(strange.error()),
    }
}

/// The machine's own.
#[derive(Debug)]
pub(crate) struct Machine;

/// This process's.
static FAILED_SYNCS: LazyLock<FailedSyncs> = LazyLock::new(FailedSyncs::default);

impl Machine {
    /// A file or folder, to be read or fsynced; never waits for anybody.
    fn open_plain(path: &Path, flags: OFlags) -> io::Result<File> {
        let flags = i32::try_from((flags | OFlags::NONBLOCK).bits()).expect("flags of open are an int of C");
        OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(|error| {
            // A link gives ELOOP, a socket ENXIO: what it is says more.
            let kind = fs::symlink_metadata(path).ok().and_then(|found| Strange::unless_file(found.file_type()));
            kind.filter(|kind| kind.0 != "a folder").map_or(error, Strange::error)
        })
    }

    fn sync_with(path: &Path, flags: OFlags) -> io::Result<Result<(), SyncFailed>> {
        let file = Machine::open_plain(path, flags)?;
        let metadata = file.metadata()?;
        if let Some(strange) = Strange::unless_file(metadata.file_type()).filter(|_| !metadata.is_dir()) {
            return Err(strange.error());
        }
        let inode = (metadata.dev(), metadata.ino(), metadata.created().ok());
        Ok(FAILED_SYNCS.sync(inode, || file.sync_all()))
    }
}

#[cfg(test)]
impl Machine {
    /// An fsync of a file or folder that fails.
    pub(crate) fn fail_sync(path: &Path) -> io::Result<Result<(), SyncFailed>> {
        let metadata = fs::metadata(path)?;
        let inode = (metadata.dev(), metadata.ino(), metadata.created().ok());
        Ok(FAILED_SYNCS.sync(inode, || Err(io::Error::from_raw_os_error(5))))
    }
}

impl FileSystem for Machine {
    fn create(&self, path: &Path) -> io::Result<Box<dyn Write + Send>> {
        Ok(Box::new(File::create_new(path)?))
    }

    fn make_private(&self, path: &Path) -> io::Result<()> {
        // What is private already may be somebody else's, or on a disk that can't be written to.
        match fs::metadata(path)?.permissions().mode() & OF_OTHERS {
            0 => Ok(()),
            _ => fs::set_permissions(path, fs::Permissions::from_mode(0o600)),
        }
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(open_file(path)?))
    }

    fn open_parts(&self, path: &Path) -> io::Result<Box<dyn ReadAt>> {
        Ok(Box::new(open_file(path)?))
    }

    fn size(&self, path: &Path) -> io::Result<u64> {
        let metadata = fs::symlink_metadata(path)?;
        match Strange::unless_file(metadata.file_type()) {
            None => Ok(metadata.len()),
            Some(strange) => Err(strange.error()),
        }
    }

    fn inode(&self, path: &Path) -> io::Result<(u64, u64)> {
        let metadata = fs::symlink_metadata(path)?;
        Ok((metadata.dev(), metadata.ino()))
    }

    fn link(&self, file: &Path, name: &Path) -> io::Result<()> {
        fs::hard_link(file, name)
    }

    fn rename(&self, file: &Path, name: &Path) -> io::Result<()> {
        fs::rename(file, name)
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        fs::read_dir(dir)?.map(|item| Ok(item?.file_name().to_string_lossy().into_owned())).collect()
    }

    fn is_empty(&self, dir: &Path) -> io::Result<bool> {
        fs::read_dir(dir)?.next().transpose().map(|first| first.is_none())
    }

    fn make_dir(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir(dir)
    }

    fn sync(&self, path: &Path) -> io::Result<Result<(), SyncFailed>> {
        Machine::sync_with(path, OFlags::NOFOLLOW)
    }

    fn sync_followed(&self, dir: &Path) -> io::Result<Result<(), SyncFailed>> {
        Machine::sync_with(dir, OFlags::empty())
    }

    fn syncs_at_once(&self) -> usize {
        SYNCS_AT_ONCE
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        match fs::symlink_metadata(path) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn is_folder(&self, path: &Path) -> io::Result<bool> {
        Ok(fs::symlink_metadata(path)?.is_dir())
    }

    fn leads_to_dir(&self, path: &Path) -> bool {
        path.is_dir()
    }

    fn link_on_the_way(&self, root: &Path, path: &Path) -> io::Result<Option<PathBuf>> {
        let Ok(below) = path.strip_prefix(root) else { return Ok(None) };
        let mut at = root.to_owned();
        for part in below {
            at.push(part);
            match fs::symlink_metadata(&at) {
                Ok(found) if found.is_symlink() => return Ok(Some(at)),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    fn link_in(&self, dir: &Path, levels: usize) -> io::Result<Option<PathBuf>> {
        let items = match fs::read_dir(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            items => items?,
        };
        for item in items {
            let item = item?;
            // What a running weir removes meanwhile is no link.
            let Ok(kind) = item.file_type() else { continue };
            if kind.is_symlink() {
                return Ok(Some(item.path()));
            }
            if kind.is_dir() && levels > 1 {
                let found = self.link_in(&item.path(), levels - 1)?;
                if found.is_some() {
                    return Ok(found);
                }
            }
        }
        Ok(None)
    }
}
