//! Publishing: a committed entry's files get their names in the dataset. The committer does it, and recovery does it again.
//!
//! It may be killed anywhere and raced by another instance: a file that is already there is done if it is the right one,
//! and nothing is ever renamed over. Its folder is fsynced even then, because whoever linked it may not have got that far.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use super::dataset::Dataset;
use super::entry::{Entry, FileEntry};
use super::error::LedgerError;
use crate::base::failpoint;
use crate::store::{Disk, StoreError};

/// Whether the file at a path is the one that an entry names.
type Check = fn(&Disk, &Entry, &FileEntry, &Path) -> Result<(), LedgerError>;

/// Publishes the files of entries that were committed just now, and says how each entry went. One entry's failure leaves the
/// others alone.
pub(in crate::ledger) fn publish(dataset: &Dataset, entries: &[&Entry]) -> Vec<Result<(), LedgerError>> {
    publish_checked(dataset, entries, check_size)
}

/// Publishes what an attempt left of an entry's files. It may have been long ago: they are read from end to end.
pub(in crate::ledger) fn publish_left(dataset: &Dataset, entry: &Entry) -> Result<(), LedgerError> {
    publish_checked(dataset, &[entry], check_whole).pop().expect("one entry, one result")
}

fn publish_checked(dataset: &Dataset, entries: &[&Entry], check: Check) -> Vec<Result<(), LedgerError>> {
    let disk = dataset.disk();
    let made = disk.make_dirs(entries.iter().flat_map(|entry| folders(dataset, entry)).collect());
    let link_all = |entry: &&Entry| {
        made.all(folders(dataset, entry))?;
        let skipped = usize::from(failpoint::planted("publish.skipped"));
        entry.files.iter().skip(skipped).try_for_each(|file| link(dataset, entry, file, check))
    };
    let linked: Vec<Result<(), LedgerError>> = entries.iter().map(link_all).collect();
    failpoint::hit("publish.before_sync");
    let done = entries.iter().zip(&linked).filter(|(_, result)| result.is_ok());
    let touched: BTreeSet<PathBuf> = done.flat_map(|(entry, _)| folders(dataset, entry)).collect();
    let synced = disk.sync_many(touched);
    failpoint::hit("publish.before_unlink");
    let finish = |(entry, linked): (&&Entry, Result<(), LedgerError>)| {
        linked?;
        synced.all(folders(dataset, entry))?;
        entry.files.iter().try_for_each(|file| {
            disk.unlink(&disk.path(&file.staged))?;
            failpoint::hit("publish.after_unlink");
            Ok(())
        })
    };
    entries.iter().zip(linked).map(finish).collect()
}

/// Links a file to its name in the dataset.
fn link(dataset: &Dataset, entry: &Entry, file: &FileEntry, check: Check) -> Result<(), LedgerError> {
    let disk = dataset.disk();
    let (path, staged) = (disk.path(&file.path), disk.path(&file.staged));
    match check(disk, entry, file, &staged) {
        // A copy that is no good does no harm where the good one is published.
        Err(error) if !error.is_not_found() => match disk.exists(&path)? {
            true => return check_whole(disk, entry, file, &path),
            false => return Err(error),
        },
        _ => {} // Gone is for the link to find out: another instance may remove the staged name at any time.
    }
    failpoint::hit("publish.before_link");
    let linked = disk.link(&staged, &path);
    failpoint::hit("publish.after_link");
    match linked {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => check_content(disk, entry, file, &staged, &path),
        // Another instance may have published it and removed the staged name since.
        Err(error) if error.kind() == io::ErrorKind::NotFound && !disk.exists(&staged)? => match disk.exists(&path)? {
            true => check_content(disk, entry, file, &staged, &path),
            false => Err(LedgerError::FileLost { chain: chain(entry), sequence: entry.sequence, path, staged }),
        },
        Err(error) => Err(StoreError::io("link", path)(error).into()),
    }
}

/// Whether the file at `path` has the size that the entry says.
pub(in crate::ledger) fn check_size(
    disk: &Disk,
    entry: &Entry,
    file: &FileEntry,
    path: &Path,
) -> Result<(), LedgerError> {
    let bytes = disk.size(path)?;
    compare(entry, path, format!("{} bytes", file.bytes), format!("{bytes} bytes"))
}

/// Whether the published file is the one that the entry names: the staged one itself, or one of the same content.
pub(in crate::ledger) fn check_content(
    disk: &Disk,
    entry: &Entry,
    file: &FileEntry,
    staged: &Path,
    path: &Path,
) -> Result<(), LedgerError> {
    check_size(disk, entry, file, path)?;
    if disk.same(staged, path) {
        return Ok(());
    }
    check_whole(disk, entry, file, path)
}

/// Whether the file at `path` has the size and the content that the entry says.
pub(in crate::ledger) fn check_whole(
    disk: &Disk,
    entry: &Entry,
    file: &FileEntry,
    path: &Path,
) -> Result<(), LedgerError> {
    check_size(disk, entry, file, path)?;
    let found = disk.sha256(path)?;
    compare(entry, path, format!("SHA-256 {}", file.sha256), format!("SHA-256 {found}"))
}

fn compare(entry: &Entry, path: &Path, expected: String, found: String) -> Result<(), LedgerError> {
    if expected == found {
        return Ok(());
    }
    Err(LedgerError::FileDiffers {
        chain: chain(entry),
        sequence: entry.sequence,
        path: path.to_owned(),
        expected,
        found,
    })
}

/// The folders that an entry's files are published in.
pub(in crate::ledger) fn folders(dataset: &Dataset, entry: &Entry) -> BTreeSet<PathBuf> {
    entry.files.iter().map(|file| folder(&dataset.disk().path(&file.path)).to_owned()).collect()
}

pub(in crate::ledger) fn folder(path: &Path) -> &Path {
    path.parent().expect("a file's path has a folder")
}

fn chain(entry: &Entry) -> String {
    format!("{}:{}", entry.topic, entry.partition)
}
