//! A store as buckets are, in memory: names are put or copied where they are free, at once and for good. There are no links,
//! no folders, and nothing to fsync. What is staged has no name before it is made durable.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io::{self, Cursor, Read, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::error::StoreError;
use super::parts::{Parts, ReadAt};
use super::{Claim, New, Outcomes, Store};

type Content = Arc<Vec<u8>>;

/// A bucket, which all who write to one dataset share.
#[derive(Debug, Default)]
pub(crate) struct Bucket {
    objects: Mutex<BTreeMap<String, Content>>,
    /// What is written and has no name yet.
    spool: Arc<Mutex<BTreeMap<String, Content>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Bucket {
    /// All names that there are.
    pub(crate) fn names(&self) -> Vec<String> {
        lock(&self.objects).keys().cloned().collect()
    }

    fn object(&self, name: &str) -> io::Result<Content> {
        lock(&self.objects).get(name).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Puts an object where none is.
    fn put(&self, name: &str, content: Content) -> Claim {
        let mut objects = lock(&self.objects);
        if objects.contains_key(name) {
            return Claim::Taken;
        }
        objects.insert(name.to_owned(), content);
        Claim::Won
    }

    fn done(names: BTreeSet<String>) -> Outcomes {
        names.into_iter().map(|name| (name, Ok(()))).collect()
    }
}

/// A file in the spool.
struct Spooled {
    spool: Arc<Mutex<BTreeMap<String, Content>>>,
    name: String,
}

impl Write for Spooled {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match lock(&self.spool).get_mut(&self.name) {
            Some(content) => Arc::make_mut(content).extend_from_slice(bytes),
            None => return Err(io::ErrorKind::NotFound.into()),
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Object(Content);

impl AsRef<[u8]> for Object {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl ReadAt for Object {
    fn size(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        let from = usize::try_from(at).map_or(self.0.len(), |at| at.min(self.0.len()));
        (&self.0[from..]).read(buffer)
    }
}

impl Store for Bucket {
    fn place(&self, name: &str) -> PathBuf {
        format!("memory://bucket/{name}").into()
    }

    fn make_ready(&self, _: &[&str]) -> Result<(), StoreError> {
        Ok(())
    }

    fn check_inside(&self, _: &str, _: usize) -> Result<(), StoreError> {
        Ok(())
    }

    fn stage(&self, name: &str) -> io::Result<Box<dyn Write + Send>> {
        let mut spool = lock(&self.spool);
        if spool.contains_key(name) || lock(&self.objects).contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        spool.insert(name.to_owned(), Content::default());
        Ok(Box::new(Spooled { spool: self.spool.clone(), name: name.to_owned() }))
    }

    fn keep_private(&self, _: &str) -> io::Result<()> {
        Ok(())
    }

    /// What is put needs no other name before.
    fn prepare(&self, _: &New<'_>) -> Result<(), StoreError> {
        Ok(())
    }

    fn make_durable(&self, staged: BTreeSet<String>, prepared: BTreeSet<String>) -> Outcomes {
        let upload = |name: String| {
            let spooled = lock(&self.spool).remove(&name);
            if let Some(content) = spooled {
                self.put(&name, content);
            }
            let there = self.size(&name).map(drop);
            (name, there)
        };
        staged.into_iter().map(upload).chain(prepared.into_iter().map(|name| (name, Ok(())))).collect()
    }

    fn make_room(&self, names: BTreeSet<String>) -> Outcomes {
        Bucket::done(names)
    }

    fn settle(&self, names: BTreeSet<String>) -> Outcomes {
        Bucket::done(names)
    }

    fn create(&self, new: &New<'_>) -> Result<Claim, StoreError> {
        Ok(self.put(new.name, Arc::new((new.content)())))
    }

    fn publish(&self, staged: &str, name: &str) -> Result<Claim, StoreError> {
        let content = self.object(staged).map_err(StoreError::io("copy", self.place(staged)))?;
        Ok(self.put(name, content))
    }

    fn replace(&self, staged: &str, name: &str) -> Result<(), StoreError> {
        let content = self.object(staged).map_err(StoreError::io("copy", self.place(staged)))?;
        lock(&self.objects).insert(name.to_owned(), content);
        self.discard(staged)
    }

    fn discard(&self, name: &str) -> Result<(), StoreError> {
        lock(&self.spool).remove(name);
        lock(&self.objects).remove(name);
        Ok(())
    }

    fn share(&self, _: &dyn Store, _: &str, _: &str) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn exists(&self, name: &str) -> Result<bool, StoreError> {
        Ok(self.object(name).is_ok())
    }

    fn size(&self, name: &str) -> Result<u64, StoreError> {
        let object = self.object(name).map_err(StoreError::io("look at", self.place(name)))?;
        Ok(object.len() as u64)
    }

    fn open(&self, name: &str) -> Result<Box<dyn Read + Send>, StoreError> {
        let object = self.object(name).map_err(StoreError::io("read", self.place(name)))?;
        Ok(Box::new(Cursor::new(Object(object))))
    }

    fn open_parts(&self, name: &str) -> io::Result<Parts> {
        Ok(Parts::of(Box::new(Object(self.object(name)?))))
    }

    fn are_same(&self, _: &str, _: &str) -> bool {
        false
    }

    fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        let next = |name: &str| Some(name.split('/').next()?.to_owned());
        let below: HashSet<String> = self.all_below(prefix)?;
        let found: BTreeSet<String> = below.iter().filter_map(|name| next(&name[prefix.len() + 1..])).collect();
        Ok(found.into_iter().collect())
    }

    fn is_empty(&self, prefix: &str) -> Result<bool, StoreError> {
        Ok(self.all_below(prefix)?.is_empty())
    }

    fn is_prefix(&self, name: &str) -> bool {
        self.all_below(name).is_ok_and(|found| !found.is_empty())
    }

    fn all_below(&self, prefix: &str) -> Result<HashSet<String>, StoreError> {
        let prefix = format!("{prefix}/");
        Ok(self.names().into_iter().filter(|name| name.starts_with(&prefix)).collect())
    }
}
