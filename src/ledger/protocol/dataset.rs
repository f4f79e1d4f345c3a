//! A dataset's folder: what is made once when a pipeline first writes there, and compared whenever one opens it again.
//!
//! `ledger/dataset.json` holds what every file of the dataset must agree on, `ledger/pipelines/` every definition that
//! ever wrote here, and `ledger/<topic>/<topic id>/topic.json` how many partitions a topic had when it was first seen.
//! All are made by create-if-absent, so of two processes that start at the same time one adopts what the other made.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::datatypes::{DataType, Schema, TimeUnit};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::chain::Chain;
use super::checkpoint::{EVERY, EVERY_ALLOWED};
use super::entry::{Entry, FORMAT};
use super::error::LedgerError;
use crate::base::failpoint;
use crate::model::Side;
use crate::model::names;
use crate::model::schema::LATE_BY;
use crate::store::{Disk, FileSystem, Local, StoreError};

/// What all files of a dataset agree on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The dataset's name: the pipeline's.
    pub name: String,
    /// The Kafka cluster that its offsets belong to.
    pub cluster_id: String,
    /// The columns in order; hive keys may be among them, though they are no columns of the files.
    pub columns: Vec<ColumnIdentity>,
    /// The hive keys, outermost first.
    pub partition_by: Vec<String>,
    /// What kind of windows its rows are in, in words: `count`, or all that a window of time depends on.
    pub window: String,
}

/// A column's name and type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnIdentity {
    /// The column's name.
    pub name: String,
    /// The type, by [`ColumnIdentity::of`].
    #[serde(rename = "type")]
    pub kind: String,
}

impl ColumnIdentity {
    /// The columns of an Arrow schema. The types' names are our own where a dataset can have them, because Arrow's change
    /// from version to version.
    pub fn of(schema: &Schema) -> Vec<ColumnIdentity> {
        let column = |field: &Arc<arrow::datatypes::Field>| ColumnIdentity {
            name: field.name().clone(),
            kind: type_name(field.data_type()),
        };
        schema.fields().iter().map(column).collect()
    }
}

fn type_name(kind: &DataType) -> String {
    match kind {
        DataType::Utf8 => "string".to_owned(),
        DataType::Boolean => "bool".to_owned(),
        DataType::Timestamp(TimeUnit::Microsecond, Some(zone)) if matches!(&**zone, "UTC" | "+00:00") => {
            "timestamp[us, UTC]".to_owned()
        }
        DataType::Date32 => "date".to_owned(),
        DataType::Binary => "binary".to_owned(),
        number if number.is_numeric() => format!("{number:?}").to_lowercase(),
        other => format!("{other:?}"),
    }
}

/// A pipeline's definition as written, for `ledger/pipelines/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definition {
    /// SHA-256 of the text, hex.
    pub hash: String,
    /// The text, its variables not filled in.
    pub text: String,
}

/// `ledger/dataset.json`.
#[derive(Serialize, Deserialize)]
struct DatasetFile {
    format: u32,
    /// Made anew with the dataset: tells it from one of the same name that was there before.
    id: String,
    /// How many entries a checkpoint holds.
    #[serde(default = "default_every")]
    checkpoint_entries: u64,
    #[serde(flatten)]
    identity: Identity,
}

/// Datasets from before there were checkpoints don't say.
fn default_every() -> u64 {
    EVERY
}

/// `ledger/<topic>/<topic id>/topic.json`: a topic when it was first seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Topic {
    /// The topic's name.
    pub topic: String,
    /// Its id.
    pub topic_id: String,
    /// Partitions it had then. One with this number or a higher one appeared later, and starts at its beginning.
    #[serde(rename = "partitions")]
    pub partitions_at_start: i32,
}

/// What a topic may have; no cluster is known to hold more.
const PARTITIONS_ALLOWED: RangeInclusive<i32> = 0..=1_000_000;

/// A dataset's folder. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Dataset {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    disk: Disk,
    id: String,
    every: u64,
    identity: Identity,
    /// Hash of the definition that this process writes under; empty for a reader.
    pipeline: String,
}

impl Dataset {
    /// Opens a dataset to write to it, and makes it if it isn't there.
    ///
    /// # Errors
    /// [`LedgerError::OtherDataset`] if it was made for another cluster, other columns, hive keys or windows.
    pub fn open(folder: &Path, identity: &Identity, definition: Definition) -> Result<Dataset, LedgerError> {
        let every = failpoint::checkpoint_entries().unwrap_or(EVERY);
        Dataset::open_on(Arc::new(Local), folder, identity, definition, every)
    }

    /// The same, on a file system; a new dataset's checkpoints hold `every` entries.
    pub(crate) fn open_on(
        files: Arc<dyn FileSystem>,
        folder: &Path,
        identity: &Identity,
        definition: Definition,
        every: u64,
    ) -> Result<Dataset, LedgerError> {
        let disk = Disk::new(files, absolute(folder)?);
        disk.make_root()?;
        for name in ["data", "rejects", "ledger", "ledger/pipelines", names::STAGING] {
            disk.make_dir(&disk.path(name))?;
        }
        refuse_links(&disk, identity.partition_by.len())?;
        let path = disk.path("ledger/dataset.json");
        let (id, checkpoint_entries) = (names::random(), every);
        let content = DatasetFile { format: FORMAT, id, checkpoint_entries, identity: identity.clone() };
        disk.create_if_absent(&temporary(&disk, "dataset"), &path, &json(&content))?;
        let DatasetFile { id, identity: there, checkpoint_entries: every, .. } = read_dataset_file(&disk)?;
        agree(&there, identity, &disk.root)?;
        let path = disk.path(&format!("ledger/pipelines/{}.toml", names::encode(&definition.hash)));
        disk.create_private_if_absent(&temporary(&disk, "pipeline"), &path, definition.text.as_bytes())?;
        keep_private(&disk, path.parent().expect("it was joined to a folder"))?;
        Ok(Dataset { inner: Arc::new(Inner { disk, id, every, identity: there, pipeline: definition.hash }) })
    }

    /// Opens a dataset that is there, to read its ledger. Nothing is made or changed.
    ///
    /// # Errors
    /// [`LedgerError::NotADataset`] if it isn't there.
    pub fn existing(folder: &Path) -> Result<Dataset, LedgerError> {
        let disk = Disk::new(Arc::new(Local), absolute(folder)?);
        let DatasetFile { id, identity, checkpoint_entries: every, .. } = match read_dataset_file(&disk) {
            Err(error) if error.is_not_found() => {
                return Err(LedgerError::NotADataset { folder: disk.root });
            }
            read => read?,
        };
        Ok(Dataset { inner: Arc::new(Inner { disk, id, every, identity, pipeline: String::new() }) })
    }

    /// Whether files of this identity may join it.
    ///
    /// # Errors
    /// [`LedgerError::OtherDataset`] if not.
    pub fn fits(&self, identity: &Identity) -> Result<(), LedgerError> {
        agree(self.identity(), identity, self.folder())
    }

    /// What a topic was like when this dataset first saw it; now, if it never did.
    ///
    /// # Errors
    /// [`LedgerError::OtherTopic`] if the dataset holds records of another topic of that name.
    pub fn topic(&self, topic: &str, topic_id: &str, partitions_now: i32) -> Result<Topic, LedgerError> {
        self.same_topic(topic, topic_id)?;
        let folder = self.disk().path("ledger").join(names::topic_folder(topic));
        let path = folder.join(names::encode(topic_id)).join("topic.json");
        self.disk().make_dir(path.parent().expect("it was joined to a folder"))?;
        let now = Topic { topic: topic.to_owned(), topic_id: topic_id.to_owned(), partitions_at_start: partitions_now };
        self.disk().create_if_absent(&temporary(self.disk(), "topic"), &path, &json(&now))?;
        read_topic(self.disk(), &path, topic_id)
    }

    /// Whether a topic's records may join it. Nothing is made or changed.
    ///
    /// # Errors
    /// [`LedgerError::OtherTopic`] if the dataset holds records of another topic of that name.
    pub fn same_topic(&self, topic: &str, topic_id: &str) -> Result<(), LedgerError> {
        let folder = self.disk().path("ledger").join(names::topic_folder(topic));
        let own = names::encode(topic_id);
        for other in self.disk().list(&folder)?.into_iter().filter(|name| *name != own) {
            if self.has_chain(&folder.join(&other))? {
                return Err(LedgerError::OtherTopic {
                    topic: topic.to_owned(),
                    expected: names::id_of_folder(&other).unwrap_or(other),
                    found: topic_id.to_owned(),
                    folder: self.folder().to_owned(),
                });
            }
        }
        Ok(())
    }

    /// The entries of all chains, the newest first, each read when it is asked for; one a chain is held.
    ///
    /// # Errors
    /// When the chains can't be listed. An entry that can't be read is an error in its place, and the last of its chain.
    pub fn newest(&self) -> Result<impl Iterator<Item = Result<Entry, LedgerError>> + use<>, LedgerError> {
        let chains = self.chains()?.0;
        let mut chains = chains.iter().map(Chain::newest).collect::<Result<Vec<_>, _>>()?;
        let mut heads: Vec<_> = chains.iter_mut().map(Iterator::next).collect();
        Ok(std::iter::from_fn(move || {
            let written = |head: &Option<Result<Entry, LedgerError>>| match head {
                // What can't be read is said at once.
                Some(Err(_)) => Some(i64::MAX),
                Some(Ok(entry)) => Some(entry.written_at_ms),
                None => None,
            };
            let newest = (0..heads.len()).max_by_key(|at| written(&heads[*at]))?;
            let found = heads[newest].take()?;
            heads[newest] = found.is_ok().then(|| chains[newest].next()).flatten();
            Some(found)
        }))
    }

    /// The chain of a partition. Nothing is read or made yet.
    pub fn chain(&self, topic: &str, topic_id: &str, partition: i32) -> Chain {
        Chain::new(self.clone(), topic, topic_id, partition)
    }

    /// Every chain that has a folder, in order; and folders in a chain's place with a name that none can have.
    pub(in crate::ledger) fn chains(&self) -> Result<(Vec<Chain>, Vec<String>), LedgerError> {
        let (mut found, mut strange) = (Vec::new(), Vec::new());
        for topic in self.folders("ledger")? {
            let topic_folder = format!("ledger/{topic}");
            for id in self.folders(&topic_folder)? {
                let id_folder = format!("{topic_folder}/{id}");
                for partition in self.folders(&id_folder)? {
                    let number = names::partition_of_folder(&partition);
                    match (names::topic_of_folder(&topic), names::id_of_folder(&id), number) {
                        (Some(topic), Some(id), Some(partition)) => found.push((topic, id, partition)),
                        _ => strange.push(format!("{id_folder}/{partition}")),
                    }
                }
            }
        }
        found.sort();
        let chains = found.into_iter().map(|(topic, id, partition)| self.chain(&topic, &id, partition));
        Ok((chains.collect(), strange))
    }

    /// Every topic that this dataset has seen.
    pub(crate) fn topics(&self) -> Result<Vec<Topic>, LedgerError> {
        let mut topics = Vec::new();
        for topic in self.folders("ledger")? {
            let mut found: Vec<(bool, Topic)> = Vec::new();
            for id in self.folders(&format!("ledger/{topic}"))? {
                let folder = self.disk().path(&format!("ledger/{topic}/{id}"));
                let id = names::id_of_folder(&id).unwrap_or(id);
                match read_topic(self.disk(), &folder.join("topic.json"), &id) {
                    Err(error) if error.is_not_found() => {}
                    read => found.push((self.has_chain(&folder)?, read?)),
                }
            }
            // One that was made again before anything was read of it is of no account any more.
            let read = found.iter().any(|(has_chain, _)| *has_chain);
            topics.extend(found.into_iter().filter(|(has_chain, _)| *has_chain || !read).map(|(_, topic)| topic));
        }
        Ok(topics)
    }

    /// Whether any partition of a topic id's folder has an entry.
    fn has_chain(&self, folder: &Path) -> Result<bool, LedgerError> {
        let disk = self.disk();
        for partition in disk.list(folder)? {
            let partition = folder.join(partition);
            if disk.is_dir(&partition) && disk.list(&partition)?.iter().any(|name| names::is_of_a_chain(name)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The folders in a folder of the dataset.
    fn folders(&self, folder: &str) -> Result<Vec<String>, LedgerError> {
        let path = self.disk().path(folder);
        self.disk().no_link_in(&path, 1)?;
        let (mut found, disk) = (Vec::new(), self.disk());
        for name in disk.list(&path)? {
            if disk.is_dir(&path.join(&name)) {
                found.push(name);
            } else if names::partition_of_folder(&name).is_some() && disk.exists(&path.join(&name))? {
                // A chain is not to be passed over because something stands in its place.
                let reason = "it should be the folder of a partition's entries".to_owned();
                return Err(LedgerError::Unreadable { path: path.join(name), reason });
            }
        }
        Ok(found)
    }

    /// The dataset's folder, absolute.
    pub fn folder(&self) -> &Path {
        &self.disk().root
    }

    /// What no other dataset shares with it, but its own copies.
    pub fn id(&self) -> &str {
        &self.inner.id
    }

    /// What all its files agree on.
    pub fn identity(&self) -> &Identity {
        &self.inner.identity
    }

    pub(in crate::ledger) fn disk(&self) -> &Disk {
        &self.inner.disk
    }

    /// How many entries a checkpoint holds.
    pub(in crate::ledger) fn every(&self) -> u64 {
        self.inner.every
    }

    pub(in crate::ledger) fn pipeline(&self) -> &str {
        &self.inner.pipeline
    }

    /// The columns that a side's files must have; none are fixed for rejects.
    pub(in crate::ledger) fn columns(&self, side: Side) -> Option<Vec<ColumnIdentity>> {
        let identity = self.identity();
        let in_files = |column: &&ColumnIdentity| !identity.partition_by.contains(&column.name);
        let late_by = || ColumnIdentity { name: LATE_BY.to_owned(), kind: "int64".to_owned() };
        let late_by = (side == Side::Late).then(late_by);
        (side != Side::Rejects).then(|| identity.columns.iter().filter(in_files).cloned().chain(late_by).collect())
    }
}

/// Definitions are for their owner alone: those of earlier versions were not, and may have secrets
/// in them.
fn keep_private(disk: &Disk, folder: &Path) -> Result<(), LedgerError> {
    for name in disk.list(folder)? {
        let path = folder.join(name);
        if let Err(error) = disk.make_private(&path) {
            tracing::warn!(path = %path.display(), %error, "others may read this definition; chmod 600 it");
        }
    }
    Ok(())
}

fn absolute(folder: &Path) -> Result<PathBuf, LedgerError> {
    Ok(std::path::absolute(folder).map_err(StoreError::io("find", folder))?)
}

/// What a start would write into or read. `keys` are the levels of folders above the files of rows.
fn refuse_links(disk: &Disk, keys: usize) -> Result<(), LedgerError> {
    let trees = [Side::Data, Side::Late].map(|side| (side.folder(), keys));
    for (folder, levels) in trees.into_iter().chain([("rejects", 0), ("ledger", 3), (names::STAGING, 0)]) {
        let folder = disk.path(folder);
        disk.no_link_on_the_way(&folder)?;
        if levels > 0 {
            disk.no_link_in(&folder, levels)?;
        }
    }
    Ok(())
}

/// Everything below a dataset's folder, for who looks at all of it.
pub(in crate::ledger) fn refuse_all_links(disk: &Disk) -> Result<(), LedgerError> {
    let all = [Side::Data.folder(), Side::Rejects.folder(), Side::Late.folder(), "ledger", names::STAGING];
    Ok(all.into_iter().try_for_each(|folder| disk.no_link_in(&disk.path(folder), usize::MAX))?)
}

fn temporary(disk: &Disk, what: &str) -> PathBuf {
    disk.path(names::STAGING).join(format!("{what}.{}.tmp", names::random()))
}

fn agree(there: &Identity, wanted: &Identity, folder: &Path) -> Result<(), LedgerError> {
    match differences(there, wanted) {
        differences if differences.is_empty() => Ok(()),
        differences => Err(LedgerError::OtherDataset { folder: folder.to_owned(), differences }),
    }
}

fn differences(there: &Identity, wanted: &Identity) -> Vec<String> {
    let mut out = Vec::new();
    let mut compare = |what: &str, there: &str, wanted: &str| {
        if there != wanted {
            out.push(format!("{what} is {there} there and {wanted} in the pipeline"));
        }
    };
    compare("its name", &there.name, &wanted.name);
    compare("the Kafka cluster's id", &there.cluster_id, &wanted.cluster_id);
    compare("partition_by", &format!("{:?}", there.partition_by), &format!("{:?}", wanted.partition_by));
    compare("window", &there.window, &wanted.window);
    column_differences(&there.columns, &wanted.columns, &mut compare);
    out
}

fn column_differences(there: &[ColumnIdentity], wanted: &[ColumnIdentity], compare: &mut impl FnMut(&str, &str, &str)) {
    let kind = |columns: &[ColumnIdentity], name: &str| {
        columns.iter().find(|column| column.name == name).map_or("missing".to_owned(), |column| column.kind.clone())
    };
    let added = wanted.iter().filter(|column| !there.iter().any(|old| old.name == column.name));
    let mut same_columns = true;
    for column in there.iter().chain(added) {
        let (old, new) = (kind(there, &column.name), kind(wanted, &column.name));
        same_columns &= old == new;
        compare(&format!("the column {}", column.name), &old, &new);
    }
    if same_columns {
        let order =
            |columns: &[ColumnIdentity]| columns.iter().map(|column| &*column.name).collect::<Vec<_>>().join(", ");
        compare("the columns' order", &order(there), &order(wanted));
    }
}

fn read_dataset_file(disk: &Disk) -> Result<DatasetFile, LedgerError> {
    let path = disk.path("ledger/dataset.json");
    let file: DatasetFile = read_json(disk, &path)?;
    if EVERY_ALLOWED.contains(&file.checkpoint_entries) {
        return Ok(file);
    }
    let reason =
        format!("checkpoint_entries is {}, and must be from 1 to {}", file.checkpoint_entries, EVERY_ALLOWED.end());
    Err(LedgerError::Unreadable { path, reason })
}

fn read_topic(disk: &Disk, path: &Path, topic_id: &str) -> Result<Topic, LedgerError> {
    let topic: Topic = read_json(disk, path)?;
    let in_its_place = topic.topic_id == topic_id
        && path
            .ends_with(Path::new(&names::topic_folder(&topic.topic)).join(names::encode(topic_id)).join("topic.json"));
    if in_its_place && PARTITIONS_ALLOWED.contains(&topic.partitions_at_start) {
        return Ok(topic);
    }
    let reason = format!(
        "it is of {} with the id {} and {} partitions, which can't be here",
        topic.topic, topic.topic_id, topic.partitions_at_start
    );
    Err(LedgerError::Unreadable { path: path.to_owned(), reason })
}

pub(in crate::ledger) fn json(value: &impl Serialize) -> Vec<u8> {
    let mut out = serde_json::to_vec_pretty(value).expect("the ledger's types have no map with keys other than text");
    out.push(b'\n');
    out
}

/// Reads a JSON file of the ledger. Its format version, where it has one, is looked at before anything else.
pub(in crate::ledger) fn read_json<T: DeserializeOwned>(disk: &Disk, path: &Path) -> Result<T, LedgerError> {
    parse_json(path, &disk.read(path)?)
}

/// The same, of content that was read before.
pub(in crate::ledger) fn parse_json<T: DeserializeOwned>(path: &Path, content: &[u8]) -> Result<T, LedgerError> {
    #[derive(Deserialize)]
    struct Version {
        format: Option<u32>,
    }
    let unreadable =
        |error: serde_json::Error| LedgerError::Unreadable { path: path.to_owned(), reason: error.to_string() };
    match serde_json::from_slice::<Version>(content).map_err(unreadable)?.format {
        Some(found) if found != FORMAT => Err(LedgerError::Format { path: path.to_owned(), found, known: FORMAT }),
        _ => serde_json::from_slice(content).map_err(unreadable),
    }
}
