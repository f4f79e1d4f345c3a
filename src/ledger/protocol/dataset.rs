//! A dataset's folder: what is made once when a pipeline first writes there, and compared whenever
//! one opens it again.
//!
//! `ledger/dataset.json` holds what every file of the dataset must agree on, `ledger/pipelines/`
//! every definition that ever wrote here, and `ledger/<topic>/<topic id>/topic.json` how many
//! partitions a topic had when it was first seen. All are made by create-if-absent, so of two
//! processes that start at the same time one adopts what the other made.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::chain::Chain;
use super::checkpoint::{EVERY, EVERY_ALLOWED};
use super::columns::{COLUMNS, ColumnIdentity, Columns, VERSION_0};
use super::entry::FileEntry;
use super::error::LedgerError;
use super::format::{FORMAT, read_json, unreadable};
use super::identity::{Identity, agree};
use crate::base::failpoint;
use crate::model::names;
use crate::model::names::hive;
use crate::model::schema::{LATE_BY, OFFSET};
use crate::model::{Pipeline, Side};
use crate::store::{Local, New, Readers, Store};

/// A pipeline's definition, for `ledger/pipelines/`. Nothing in it is secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definition {
    /// As written: its variables are not filled in.
    pub written: Text,
    /// With its variables filled in, and without what no record depends on: enough to judge any
    /// record again as it was judged.
    pub resolved: Text,
}

/// A text that goes by its hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// SHA-256 of the text, hex.
    pub hash: String,
    /// The text.
    pub text: String,
}

impl Definition {
    /// A pipeline's.
    pub fn of(pipeline: &Pipeline) -> Definition {
        let text = |hash: &String, text: &String| Text { hash: hash.clone(), text: text.clone() };
        Definition {
            written: text(&pipeline.hash, &pipeline.text),
            resolved: text(&pipeline.resolved_hash, &pipeline.resolved),
        }
    }
}

/// `ledger/dataset.json`.
#[derive(Serialize, Deserialize)]
struct DatasetFile {
    /// What it was made in. Its entries may be of later formats.
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
    /// The id of its Kafka cluster. Not in format 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_id: Option<String>,
    /// Partitions it had then. One with this number or a higher one appeared later, and starts at
    /// its beginning.
    #[serde(rename = "partitions")]
    pub partitions_at_start: i32,
}

/// What is made first and compared whenever a dataset is opened.
pub(in crate::ledger) const DATASET_FILE: &str = "ledger/dataset.json";

/// The prefix of all definitions that wrote to it.
pub(in crate::ledger) const PIPELINES: &str = "ledger/pipelines";

/// What every dataset has from its beginning.
pub(in crate::ledger) const PREFIXES: [&str; 6] = ["data", "rejects", "ledger", PIPELINES, COLUMNS, names::STAGING];

/// What a topic may have; no cluster is known to hold more.
const PARTITIONS_ALLOWED: RangeInclusive<i32> = 0..=1_000_000;

/// A dataset. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Dataset {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    store: Arc<dyn Store>,
    /// Where it is, for people.
    folder: PathBuf,
    id: String,
    every: u64,
    identity: Identity,
    /// Its columns, as this process writes them.
    columns: Columns,
    /// Hashes of the definition that this process writes under, as written and resolved; none for a
    /// reader.
    definition: Option<(String, String)>,
}

impl Dataset {
    /// Opens a dataset to write to it, and makes it if it isn't there.
    ///
    /// # Errors
    /// [`LedgerError::OtherDataset`] if it was made for another cluster, other columns, hive keys
    /// or windows.
    pub fn open(folder: &Path, identity: &Identity, definition: Definition) -> Result<Dataset, LedgerError> {
        let every = failpoint::checkpoint_entries().unwrap_or(EVERY);
        Dataset::open_in(Arc::new(Local::new(folder)?), identity, definition, every)
    }

    /// The same, in a store; a new dataset's checkpoints hold `every` entries.
    pub(crate) fn open_in(
        store: Arc<dyn Store>,
        identity: &Identity,
        definition: Definition,
        every: u64,
    ) -> Result<Dataset, LedgerError> {
        // Nothing is made in the folder of one that is refused.
        match read_dataset_file(&*store) {
            Err(error) if error.is_not_found() => {}
            there => agree(&there?.identity, identity, &store.place(""))?,
        }
        store.make_ready(&PREFIXES)?;
        refuse_strange(&*store, identity.partition_by.len())?;
        let (id, checkpoint_entries) = (names::random(), every);
        let content = json(&DatasetFile { format: FORMAT, id, checkpoint_entries, identity: identity.clone() });
        store.create_if_absent(&New {
            name: DATASET_FILE,
            temporary: &temporary("dataset"),
            content: &|| content.clone(),
            readers: Readers::All,
        })?;
        let DatasetFile { id, identity: there, checkpoint_entries: every, .. } = read_dataset_file(&*store)?;
        let folder = store.place("");
        agree(&there, identity, &folder)?;
        let columns = first_columns(&*store, &there)?;
        keep_definition(&*store, &definition)?;
        let definition = Some((definition.written.hash, definition.resolved.hash));
        Ok(Dataset { inner: Arc::new(Inner { store, folder, id, every, identity: there, columns, definition }) })
    }

    /// Opens a dataset that is there, to read its ledger. Nothing is made or changed.
    ///
    /// # Errors
    /// [`LedgerError::NotADataset`] if it isn't there.
    pub fn existing(folder: &Path) -> Result<Dataset, LedgerError> {
        Dataset::existing_in(Arc::new(Local::new(folder)?))
    }

    /// The same, in a store.
    pub(crate) fn existing_in(store: Arc<dyn Store>) -> Result<Dataset, LedgerError> {
        let folder = store.place("");
        let DatasetFile { id, identity, checkpoint_entries: every, .. } = match read_dataset_file(&*store) {
            Err(error) if error.is_not_found() => return Err(LedgerError::NotADataset { folder }),
            read => read?,
        };
        let columns = Columns::first(&identity.columns);
        Ok(Dataset { inner: Arc::new(Inner { store, folder, id, every, identity, columns, definition: None }) })
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
        let name = &topic_name(topic, topic_id);
        self.store().make_room_for(name)?;
        let now = Topic {
            topic: topic.to_owned(),
            topic_id: topic_id.to_owned(),
            cluster_id: Some(self.identity().cluster_id.clone()),
            partitions_at_start: partitions_now,
        };
        self.store().create_if_absent(&New {
            name,
            temporary: &temporary("topic"),
            content: &|| json(&now),
            readers: Readers::All,
        })?;
        read_topic(self.store(), name, topic_id)
    }

    /// Whether a topic's records may join it. Nothing is made or changed.
    ///
    /// # Errors
    /// [`LedgerError::OtherTopic`] if the dataset holds records of another topic of that name.
    pub fn same_topic(&self, topic: &str, topic_id: &str) -> Result<(), LedgerError> {
        let prefix = format!("ledger/{}", names::topic_folder(topic));
        let own = names::encode(topic_id);
        for other in self.store().list(&prefix)?.into_iter().filter(|name| *name != own) {
            if self.has_chain(&format!("{prefix}/{other}"))? {
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

    /// The chain of a partition. Nothing is read or made yet.
    pub fn chain(&self, topic: &str, topic_id: &str, partition: i32) -> Chain {
        Chain::new(self.clone(), topic, topic_id, partition)
    }

    /// Every chain that has a prefix, in order; and prefixes in a chain's place that none can have.
    pub(in crate::ledger) fn chains(&self) -> Result<(Vec<Chain>, Vec<String>), LedgerError> {
        let (mut found, mut strange) = (Vec::new(), Vec::new());
        for topic in self.prefixes("ledger")? {
            let topic_prefix = format!("ledger/{topic}");
            for id in self.prefixes(&topic_prefix)? {
                let id_prefix = format!("{topic_prefix}/{id}");
                for partition in self.prefixes(&id_prefix)? {
                    let whole = || self.place(&format!("{id_prefix}/{partition}"));
                    if let Some(kind) = names::other_chain_of_folder(&partition) {
                        return Err(LedgerError::Requires {
                            path: whole(),
                            what: format!("a chain of the kind {kind:?}"),
                        });
                    }
                    let number = names::partition_of_folder(&partition);
                    match (names::topic_of_folder(&topic), names::id_of_folder(&id), number) {
                        (Some(topic), Some(id), Some(partition)) => found.push((topic, id, partition)),
                        _ => strange.push(format!("{id_prefix}/{partition}")),
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
        for topic in self.prefixes("ledger")? {
            let mut found: Vec<(bool, Topic)> = Vec::new();
            for id in self.prefixes(&format!("ledger/{topic}"))? {
                let prefix = format!("ledger/{topic}/{id}");
                let id = names::id_of_folder(&id).unwrap_or(id);
                match read_topic(self.store(), &format!("{prefix}/topic.json"), &id) {
                    Err(error) if error.is_not_found() => {}
                    read => found.push((self.has_chain(&prefix)?, read?)),
                }
            }
            // One that was made again before anything was read of it is of no account any more.
            let read = found.iter().any(|(has_chain, _)| *has_chain);
            topics.extend(found.into_iter().filter(|(has_chain, _)| *has_chain || !read).map(|(_, topic)| topic));
        }
        Ok(topics)
    }

    /// Whether any partition below a topic id's prefix has an entry.
    fn has_chain(&self, prefix: &str) -> Result<bool, LedgerError> {
        let store = self.store();
        // A topic may be called `columns`: then their versions are beside its ids.
        if !store.is_prefix(prefix) {
            return Ok(false);
        }
        for partition in store.list(prefix)? {
            let partition = format!("{prefix}/{partition}");
            if store.is_prefix(&partition) && store.list(&partition)?.iter().any(|name| names::is_of_a_chain(name)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The prefixes that come next after one.
    fn prefixes(&self, prefix: &str) -> Result<Vec<String>, LedgerError> {
        self.store().check_inside(prefix, 1)?;
        let (mut found, store) = (Vec::new(), self.store());
        for name in store.list(prefix)? {
            let whole = format!("{prefix}/{name}");
            if store.is_prefix(&whole) {
                found.push(name);
            } else if names::partition_of_folder(&name).is_some() && store.exists(&whole)? {
                // A chain is not to be passed over because something stands in its place.
                let reason = "it should be the folder of a partition's entries".to_owned();
                return Err(LedgerError::Unreadable { path: self.place(&whole), reason });
            }
        }
        Ok(found)
    }

    /// Where it is, for people: the dataset's folder, absolute.
    pub fn folder(&self) -> &Path {
        &self.inner.folder
    }

    /// Where a name is, for people.
    pub(in crate::ledger) fn place(&self, name: &str) -> PathBuf {
        self.store().place(name)
    }

    /// What no other dataset shares with it, but its own copies.
    pub fn id(&self) -> &str {
        &self.inner.id
    }

    /// What all its files agree on.
    pub fn identity(&self) -> &Identity {
        &self.inner.identity
    }

    pub(in crate::ledger) fn store(&self) -> &dyn Store {
        &*self.inner.store
    }

    /// How many entries a checkpoint holds.
    pub(in crate::ledger) fn every(&self) -> u64 {
        self.inner.every
    }

    /// Hash of the definition that this process writes under, as written; empty for a reader.
    pub(in crate::ledger) fn pipeline(&self) -> &str {
        self.inner.definition.as_ref().map_or("", |(written, _)| written)
    }

    /// Hash of the same, resolved; none for a reader.
    pub(in crate::ledger) fn definition(&self) -> Option<&str> {
        self.inner.definition.as_ref().map(|(_, resolved)| &**resolved)
    }

    /// The schema of a side's files, each column with its id.
    pub(in crate::ledger) fn with_ids(&self, side: Side, schema: &SchemaRef) -> SchemaRef {
        self.inner.columns.with_ids(side, schema)
    }

    /// A new file, with what the dataset knows of it.
    pub(in crate::ledger) fn described(&self, file: FileEntry) -> FileEntry {
        let value = |(key, value): (&str, hive::Value)| {
            let kind = self.identity().columns.iter().find(|column| column.name == key).map(|column| &*column.kind);
            (key.to_owned(), typed(kind, value))
        };
        FileEntry {
            partition_values: file.path.split('/').filter_map(hive::parse).map(value).collect(),
            columns_version: (file.side != Side::Rejects).then_some(self.inner.columns.version),
            sort: vec![OFFSET.to_owned()],
            ..file
        }
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

/// Version 0 of the columns. It is made from what is in `dataset.json`, so that all who open the
/// dataset make the same.
fn first_columns(store: &dyn Store, identity: &Identity) -> Result<Columns, LedgerError> {
    let columns = Columns::first(&identity.columns);
    store.create_if_absent(&New {
        name: VERSION_0,
        temporary: &temporary("columns"),
        content: &|| json(&columns),
        readers: Readers::All,
    })?;
    let columns = Columns::read(store, VERSION_0)?;
    match columns.identity() == identity.columns {
        true => Ok(columns),
        false => Err(unreadable(&store.place(VERSION_0), format!("its columns are not those of {DATASET_FILE}"))),
    }
}

/// Keeps a definition, as written and resolved.
fn keep_definition(store: &dyn Store, Definition { written, resolved }: &Definition) -> Result<(), LedgerError> {
    let written = (format!("{}.toml", names::encode(&written.hash)), &written.text);
    for (name, text) in [written, (resolved_name(&resolved.hash), &resolved.text)] {
        store.create_if_absent(&New {
            name: &format!("{PIPELINES}/{name}"),
            temporary: &temporary("pipeline"),
            content: &|| text.clone().into_bytes(),
            readers: Readers::Owner,
        })?;
    }
    keep_private(store)
}

/// A resolved definition's name.
pub(in crate::ledger) fn resolved_name(hash: &str) -> String {
    format!("{}.resolved.toml", names::encode(hash))
}

/// A hive key's value, of its column's type.
fn typed(kind: Option<&str>, value: hive::Value) -> Value {
    let text = match value {
        hive::Value::Null => return Value::Null,
        hive::Value::Text(text) | hive::Value::Digest(text) => text,
    };
    let number = || text.parse::<i64>().map(Value::from).or_else(|_| text.parse::<u64>().map(Value::from)).ok();
    let typed = match kind {
        Some("bool") => text.parse().ok().map(Value::Bool),
        Some(kind) if kind.starts_with("int") || kind.starts_with("uint") => number(),
        _ => None,
    };
    typed.unwrap_or(Value::String(text))
}

/// Definitions are for their owner alone: those of earlier versions were not, and may have secrets
/// in them.
fn keep_private(store: &dyn Store) -> Result<(), LedgerError> {
    for name in store.list(PIPELINES)? {
        let name = format!("{PIPELINES}/{name}");
        if let Err(error) = store.keep_private(&name) {
            tracing::warn!(path = %store.place(&name).display(), %error, "others may read this definition; chmod 600 it");
        }
    }
    Ok(())
}

/// What a start would write into or read. `keys` are the levels of prefixes above the files of
/// rows.
fn refuse_strange(store: &dyn Store, keys: usize) -> Result<(), LedgerError> {
    let trees = [Side::Data, Side::Late].map(|side| (side.folder(), keys));
    let mut all = trees.into_iter().chain([("rejects", 0), ("ledger", 3), (names::STAGING, 0)]);
    Ok(all.try_for_each(|(prefix, levels)| store.check_inside(prefix, levels))?)
}

/// Everything in a dataset, for who looks at all of it.
pub(in crate::ledger) fn refuse_all_strange(store: &dyn Store) -> Result<(), LedgerError> {
    let all = [Side::Data.folder(), Side::Rejects.folder(), Side::Late.folder(), "ledger", names::STAGING];
    Ok(all.into_iter().try_for_each(|prefix| store.check_inside(prefix, usize::MAX))?)
}

fn temporary(what: &str) -> String {
    format!("{}/{what}.{}.tmp", names::STAGING, names::random())
}

pub(in crate::ledger) fn topic_name(topic: &str, topic_id: &str) -> String {
    format!("ledger/{}/{}/topic.json", names::topic_folder(topic), names::encode(topic_id))
}

fn read_dataset_file(store: &dyn Store) -> Result<DatasetFile, LedgerError> {
    let file: DatasetFile = read_json(store, DATASET_FILE)?;
    if EVERY_ALLOWED.contains(&file.checkpoint_entries) {
        return Ok(file);
    }
    let reason =
        format!("checkpoint_entries is {}, and must be from 1 to {}", file.checkpoint_entries, EVERY_ALLOWED.end());
    Err(LedgerError::Unreadable { path: store.place(DATASET_FILE), reason })
}

fn read_topic(store: &dyn Store, name: &str, topic_id: &str) -> Result<Topic, LedgerError> {
    let topic: Topic = read_json(store, name)?;
    let in_its_place = topic.topic_id == topic_id && name == topic_name(&topic.topic, topic_id);
    if in_its_place && PARTITIONS_ALLOWED.contains(&topic.partitions_at_start) {
        return Ok(topic);
    }
    let reason = format!(
        "it is of {} with the id {} and {} partitions, which can't be here",
        topic.topic, topic.topic_id, topic.partitions_at_start
    );
    Err(LedgerError::Unreadable { path: store.place(name), reason })
}

pub(in crate::ledger) fn json(value: &impl Serialize) -> Vec<u8> {
    let mut out = serde_json::to_vec_pretty(value).expect("the ledger's types have no map with keys other than text");
    out.push(b'\n');
    out
}
