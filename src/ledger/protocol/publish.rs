//! Publishing: a committed entry's files get their names in the dataset. The committer does it, and
//! recovery does it again.
//!
//! It may be killed anywhere and raced by another instance: a file that is already there is done if
//! it is the right one, and nothing is ever put in its place. Its name is settled even then,
//! because whoever published it may not have got that far.

use std::path::PathBuf;

use super::dataset::Dataset;
use super::entry::{Entry, FileEntry};
use super::error::LedgerError;
use crate::base::failpoint;
use crate::store::{Claim, Store};

/// Whether the file of a name is the one that an entry names.
type Check = fn(&dyn Store, &Entry, &FileEntry, &str) -> Result<(), LedgerError>;

/// Publishes the files of entries that were committed just now, and says how each entry went. One
/// entry's failure leaves the others alone.
pub(in crate::ledger) fn publish(dataset: &Dataset, entries: &[&Entry]) -> Vec<Result<(), LedgerError>> {
    publish_checked(dataset, entries, check_size)
}

/// Publishes what an attempt left of an entry's files. It may have been long ago: they are read
/// from end to end.
pub(in crate::ledger) fn publish_left(dataset: &Dataset, entry: &Entry) -> Result<(), LedgerError> {
    publish_checked(dataset, &[entry], check_whole).pop().expect("one entry, one result")
}

fn publish_checked(dataset: &Dataset, entries: &[&Entry], check: Check) -> Vec<Result<(), LedgerError>> {
    let store = dataset.store();
    let made = store.make_room(entries.iter().flat_map(|entry| published(entry)).collect());
    let publish_all = |entry: &&Entry| {
        made.of_all(published(entry))?;
        let skipped = usize::from(failpoint::planted("publish.skipped"));
        entry.files.iter().skip(skipped).try_for_each(|file| publish_file(store, entry, file, check))
    };
    let linked: Vec<Result<(), LedgerError>> = entries.iter().map(publish_all).collect();
    failpoint::hit("publish.before_sync");
    let done = entries.iter().zip(&linked).filter(|(_, result)| result.is_ok());
    let settled = store.settle(done.flat_map(|(entry, _)| published(entry)).collect());
    failpoint::hit("publish.before_unlink");
    let finish = |(entry, linked): (&&Entry, Result<(), LedgerError>)| {
        linked?;
        settled.of_all(published(entry))?;
        entry.files.iter().try_for_each(|file| {
            store.discard(&file.staged)?;
            failpoint::hit("publish.after_unlink");
            Ok(())
        })
    };
    entries.iter().zip(linked).map(finish).collect()
}

/// Gives a file its name in the dataset.
fn publish_file(store: &dyn Store, entry: &Entry, file: &FileEntry, check: Check) -> Result<(), LedgerError> {
    match check(store, entry, file, &file.staged) {
        // A copy that is no good does no harm where the good one is published.
        Err(error) if !error.is_not_found() => match store.exists(&file.path)? {
            true => return check_whole(store, entry, file, &file.path),
            false => return Err(error),
        },
        _ => {} // Gone is for the next step to find out: another instance may remove the staged name at any time.
    }
    failpoint::hit("publish.before_link");
    let claimed = store.publish(&file.staged, &file.path);
    failpoint::hit("publish.after_link");
    match claimed {
        Ok(Claim::Won) => Ok(()),
        Ok(Claim::Taken) => check_content(store, entry, file),
        // Another instance may have published it and removed the staged name since.
        Err(error) if error.is_not_found() && !store.exists(&file.staged)? => match store.exists(&file.path)? {
            true => check_content(store, entry, file),
            false => Err(LedgerError::FileLost {
                chain: chain(entry),
                sequence: entry.sequence,
                path: store.place(&file.path),
                staged: store.place(&file.staged),
            }),
        },
        Err(error) => Err(error.into()),
    }
}

/// Whether the file of a name has the size that the entry says.
pub(in crate::ledger) fn check_size(
    store: &dyn Store,
    entry: &Entry,
    file: &FileEntry,
    name: &str,
) -> Result<(), LedgerError> {
    let bytes = store.size(name)?;
    let path = || store.place(name);
    compare(entry, path, format!("{} bytes", file.bytes), format!("{bytes} bytes"))
}

/// Whether the published file is the one that the entry names: the staged one itself, or one of the
/// same content.
pub(in crate::ledger) fn check_content(store: &dyn Store, entry: &Entry, file: &FileEntry) -> Result<(), LedgerError> {
    check_size(store, entry, file, &file.path)?;
    if store.are_same(&file.staged, &file.path) {
        return Ok(());
    }
    check_whole(store, entry, file, &file.path)
}

/// Whether the file of a name has the size and the content that the entry says.
pub(in crate::ledger) fn check_whole(
    store: &dyn Store,
    entry: &Entry,
    file: &FileEntry,
    name: &str,
) -> Result<(), LedgerError> {
    check_size(store, entry, file, name)?;
    let found = store.sha256(name)?;
    let path = || store.place(name);
    compare(entry, path, format!("SHA-256 {}", file.sha256), format!("SHA-256 {found}"))
}

fn compare(entry: &Entry, path: impl FnOnce() -> PathBuf, expected: String, found: String) -> Result<(), LedgerError> {
    if expected == found {
        return Ok(());
    }
    Err(LedgerError::FileDiffers { chain: chain(entry), sequence: entry.sequence, path: path(), expected, found })
}

/// The names that an entry's files are published under.
pub(in crate::ledger) fn published(entry: &Entry) -> impl Iterator<Item = String> {
    entry.files.iter().map(|file| file.path.clone())
}

fn chain(entry: &Entry) -> String {
    format!("{}:{}", entry.topic, entry.partition)
}
