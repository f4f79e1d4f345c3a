//! Where a dataset is kept, in the words of the ledger's protocol. What its files mean is the ledger's to know.
//!
//! A name is text with `/` between its parts, relative to the dataset; what ends before a `/` is a prefix. A file is staged,
//! made durable, and published under a name that must be free; or it is created whole, which is how a commit is decided.
//!
//! | step | method |
//! |---|---|
//! | write a file | [`stage`](Store::stage) |
//! | write an entry, not yet under its name | [`prepare`](Store::prepare) |
//! | make both durable | [`make_durable`](Store::make_durable), [`settle`](Store::settle) |
//! | **commit point**: the entry | [`create`](Store::create), [`settle`](Store::settle) |
//! | publish | [`make_room`](Store::make_room), [`publish`](Store::publish), [`settle`](Store::settle) |
//! | discard | [`discard`](Store::discard) |
//! | dataset, topic, definition | [`create_if_absent`](Store::create_if_absent) |
//!
//! Steps take many names where a store gains by that: a disk's files share its commits.

mod error;
mod file_system;
mod local;
#[cfg(test)]
mod memory;
mod parts;

use std::any::Any;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt::Debug;
use std::io::{self, Read, Write};
use std::path::PathBuf;

use sha2::{Digest, Sha256};

pub use error::StoreError;
#[cfg(test)]
pub(crate) use file_system::{FailedSyncs, FileSystem, Machine, SyncFailed};
pub use local::Local;
#[cfg(test)]
pub(crate) use memory::Bucket;
pub use parts::Parts;
#[cfg(test)]
pub(crate) use parts::ReadAt;

use crate::base::failpoint;
use crate::model::names;

/// The largest file that is read as a whole, and the longest line of a checkpoint. An entry of ten thousand files and a
/// hundred thousand windows has some 30 MB.
pub(crate) const WHOLE_MAX: u64 = 1 << 30;

/// Keeps one dataset. All of it blocks.
///
/// A step that was not answered may have been done all the same. Only a name that is not there is "not found": a store that
/// can't tell gives an error.
pub trait Store: Any + Debug + Send + Sync {
    /// Where a name is, for people; where the dataset is, for an empty one.
    fn place(&self, name: &str) -> PathBuf;

    /// Gets ready to be written to, and durably so, below these prefixes.
    ///
    /// # Errors
    /// When it can't be.
    fn make_ready(&self, prefixes: &[&str]) -> Result<(), StoreError>;

    /// Refuses what leads out of the dataset, on the way to a prefix and down to so many levels below it.
    ///
    /// # Errors
    /// [`StoreError::Strange`] where there is such a thing.
    fn check_inside(&self, prefix: &str, levels: usize) -> Result<(), StoreError>;

    /// A new file to be written, under a name that nobody looks for yet. Closed is not durable.
    ///
    /// # Errors
    /// Where there is no room, or the name is taken.
    fn stage(&self, name: &str) -> io::Result<Box<dyn Write + Send>>;

    /// Lets only the dataset's owner read a file.
    ///
    /// # Errors
    /// When somebody else's file is in its place.
    fn keep_private(&self, name: &str) -> io::Result<()>;

    /// Does what of [`create`](Store::create) can be done before the name is tried.
    ///
    /// # Errors
    /// When it can't be written.
    fn prepare(&self, new: &New<'_>) -> Result<(), StoreError>;

    /// Makes the content of staged files durable, and that of prepared ones, which go by their temporary names.
    fn make_durable(&self, staged: BTreeSet<String>, prepared: BTreeSet<String>) -> Outcomes;

    /// Makes sure that files of these names can be made.
    fn make_room(&self, names: BTreeSet<String>) -> Outcomes;

    /// Makes sure that names which were seen, made or removed stay so. What another process made may be visible only.
    fn settle(&self, names: BTreeSet<String>) -> Outcomes;

    /// Gives a prepared file its name, unless that is taken: **the commit point**. After an error nobody knows whether it did.
    ///
    /// # Errors
    /// When there was no clear answer, or what was prepared is gone.
    fn create(&self, new: &New<'_>) -> Result<Claim, StoreError>;

    /// Gives a staged file, or any other one, a second name, unless that is taken.
    ///
    /// # Errors
    /// When there was no clear answer, or the file is gone.
    fn publish(&self, staged: &str, name: &str) -> Result<Claim, StoreError>;

    /// Puts a staged file in the place of another one, which has a second name by now: at no instant is nothing there.
    ///
    /// # Errors
    /// When it can't be.
    fn replace(&self, staged: &str, name: &str) -> Result<(), StoreError>;

    /// Removes a name; one that is already gone is fine.
    ///
    /// # Errors
    /// When it can't be.
    fn discard(&self, name: &str) -> Result<(), StoreError>;

    /// Gives a file of another store a name in this one, without bytes of its own.
    ///
    /// # Errors
    /// Also where the two can't share files.
    fn share(&self, other: &dyn Store, from: &str, to: &str) -> io::Result<()>;

    /// Whether there is anything of that name. A store that can't tell is an error: "not there" would let a fenced writer on.
    ///
    /// # Errors
    /// When it can't tell.
    fn exists(&self, name: &str) -> Result<bool, StoreError>;

    /// A file's size.
    ///
    /// # Errors
    /// Also where it is no file.
    fn size(&self, name: &str) -> Result<u64, StoreError>;

    /// A file's content, as a stream.
    ///
    /// # Errors
    /// Also where it is no file.
    fn open(&self, name: &str) -> Result<Box<dyn Read + Send>, StoreError>;

    /// A file, to be read here and there.
    ///
    /// # Errors
    /// Also where it is no file.
    fn open_parts(&self, name: &str) -> io::Result<Parts>;

    /// Whether both are known to be names of one file.
    fn are_same(&self, one: &str, other: &str) -> bool;

    /// What comes next after a prefix, in no order; nothing where nothing is below it. Not a snapshot of a moment.
    ///
    /// # Errors
    /// When it can't be read.
    fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError>;

    /// Whether nothing is below a prefix.
    ///
    /// # Errors
    /// When it can't be read.
    fn is_empty(&self, prefix: &str) -> Result<bool, StoreError>;

    /// Whether a name is a prefix of others, or may become one.
    fn is_prefix(&self, name: &str) -> bool;

    /// All names below a prefix.
    ///
    /// # Errors
    /// When it can't be read.
    fn all_below(&self, prefix: &str) -> Result<HashSet<String>, StoreError>;

    /// Makes a file, whole or not at all, durably, unless the name is taken. Then the other's is durable when this returns.
    ///
    /// # Errors
    /// When it can't be made, or there was no clear answer.
    fn create_if_absent(&self, new: &New<'_>) -> Result<(), StoreError> {
        if !self.exists(new.name)? {
            self.prepare(new)?;
            let temporary = BTreeSet::from([new.temporary.to_owned()]);
            self.make_durable(BTreeSet::new(), temporary).of(new.temporary)?;
            failpoint::hit("dataset.before_link");
            let created = self.create(new);
            failpoint::hit("dataset.after_link");
            self.discard(new.temporary)?;
            created?;
        }
        self.settle_one(new.name)
    }

    /// [`settle`](Store::settle) for one name.
    ///
    /// # Errors
    /// When nobody knows whether it stays so.
    fn settle_one(&self, name: &str) -> Result<(), StoreError> {
        self.settle(BTreeSet::from([name.to_owned()])).of(name)
    }

    /// [`make_room`](Store::make_room) for one name.
    ///
    /// # Errors
    /// When it can't be made.
    fn make_room_for(&self, name: &str) -> Result<(), StoreError> {
        self.make_room(BTreeSet::from([name.to_owned()])).of(name)
    }

    /// [`make_durable`](Store::make_durable) for one staged file.
    ///
    /// # Errors
    /// When nobody knows what is kept of it.
    fn make_one_durable(&self, staged: &str) -> Result<(), StoreError> {
        self.make_durable(BTreeSet::from([staged.to_owned()]), BTreeSet::new()).of(staged)
    }

    /// Stages a file of this content. It is not durable yet.
    ///
    /// # Errors
    /// When it can't be written.
    fn write(&self, name: &str, content: &[u8], readers: Readers) -> Result<(), StoreError> {
        let mut file = self.stage(name).map_err(StoreError::io("create", self.place(name)))?;
        if readers == Readers::Owner {
            // From before it has content.
            self.keep_private(name).map_err(StoreError::io("chmod", self.place(name)))?;
        }
        let written = file.write_all(content).and_then(|()| file.flush());
        written.map_err(|error| StoreError::io("write", self.place(name))(error))
    }

    /// Stages a file with the content of another store's. It is not durable.
    ///
    /// # Errors
    /// When one can't be read or the other not be written.
    fn copy_from(&self, other: &dyn Store, from: &str, to: &str) -> Result<(), StoreError> {
        let mut source = other.open(from)?;
        let mut copy = self.stage(to).map_err(StoreError::io("create", self.place(to)))?;
        io::copy(&mut source, &mut copy).and_then(|_| copy.flush()).map_err(StoreError::io("copy to", self.place(to)))
    }

    /// A file's content.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`], and where it can't be read.
    fn read(&self, name: &str) -> Result<Vec<u8>, StoreError> {
        let mut content = Vec::new();
        let read = self.open(name)?.take(WHOLE_MAX + 1).read_to_end(&mut content);
        match read.map_err(|error| StoreError::io("read", self.place(name))(error))? as u64 {
            0..=WHOLE_MAX => Ok(content),
            _ => Err(StoreError::TooLarge { path: self.place(name) }),
        }
    }

    /// SHA-256 of a file's content, hex.
    ///
    /// # Errors
    /// When it can't be read.
    fn sha256(&self, name: &str) -> Result<String, StoreError> {
        let mut file = self.open(name)?;
        let (mut hash, mut buffer) = (Sha256::new(), vec![0; 1 << 18]);
        loop {
            match file.read(&mut buffer).map_err(|error| StoreError::io("read", self.place(name))(error))? {
                0 => return Ok(names::hex(&hash.finalize())),
                read => hash.update(&buffer[..read]),
            }
        }
    }
}

/// A file that is made whole or not at all.
#[derive(Clone, Copy)]
pub struct New<'a> {
    /// Its name.
    pub name: &'a str,
    /// A name for it before it has its own, where a store needs one. New for every attempt.
    pub temporary: &'a str,
    /// Gives what is to be in it, where that is written: of many entries only one is in memory at a time.
    pub content: &'a dyn Fn() -> Vec<u8>,
    /// Who may read it.
    pub readers: Readers,
}

/// Who may read a file, where a store can tell them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readers {
    /// Whoever may read the dataset.
    All,
    /// The dataset's owner.
    Owner,
}

/// What became of a name that had to be free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// It is ours.
    Won,
    /// It was another's before.
    Taken,
}

/// How a step went for each of many names.
#[derive(Debug)]
pub struct Outcomes(HashMap<String, Result<(), StoreError>>);

impl Outcomes {
    /// How it went for a name, which was asked for.
    ///
    /// # Errors
    /// If it failed for this one.
    pub fn of(&self, name: &str) -> Result<(), StoreError> {
        self.0[name].clone()
    }

    /// The first failure among these names, all of which were asked for.
    ///
    /// # Errors
    /// If it failed for one of them.
    pub fn of_all(&self, names: impl IntoIterator<Item = String>) -> Result<(), StoreError> {
        names.into_iter().try_for_each(|name| self.of(&name))
    }
}

impl FromIterator<(String, Result<(), StoreError>)> for Outcomes {
    fn from_iter<I: IntoIterator<Item = (String, Result<(), StoreError>)>>(outcomes: I) -> Outcomes {
        Outcomes(outcomes.into_iter().collect())
    }
}
