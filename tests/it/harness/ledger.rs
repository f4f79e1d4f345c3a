//! A ledger's entries, wherever they are, read without weir's own code; also while weir writes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use serde_json::Value;

use super::dataset::files;

/// The entries of each partition's chain, in order.
pub type Chains = BTreeMap<(String, i64), Vec<Value>>;

/// The chains of a dataset.
pub fn chains(dataset: &Path) -> Chains {
    let mut chains = Chains::new();
    for entry in entries(dataset) {
        let partition = (entry["topic"].as_str().unwrap().to_owned(), entry["partition"].as_i64().unwrap());
        chains.entry(partition).or_default().push(entry);
    }
    chains
}

/// All entries of a dataset, those of a chain in order.
pub fn entries(dataset: &Path) -> Vec<Value> {
    let folders: BTreeSet<PathBuf> = newest(dataset).into_keys().collect();
    let read = |folder: PathBuf| {
        loop {
            match read_chain(&folder) {
                // Folded between the listing and the reading.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                read => return read.unwrap_or_else(|error| panic!("{}: {error}", folder.display())),
            }
        }
    };
    folders.into_iter().flat_map(read).collect()
}

/// Each chain's folder, and the number of its newest entry; cheap.
pub fn newest(dataset: &Path) -> BTreeMap<PathBuf, u64> {
    let mut found = BTreeMap::new();
    for path in files(&dataset.join("ledger")) {
        if let Some((number, _)) = number(&path) {
            let newest: &mut u64 = found.entry(path.parent().unwrap().to_owned()).or_default();
            *newest = number.max(*newest);
        }
    }
    found
}

/// The files of entries that are in no checkpoint, in order.
pub fn plain(dataset: &Path) -> Vec<PathBuf> {
    let is_entry = |path: &PathBuf| matches!(number(path), Some((_, false)));
    files(&dataset.join("ledger")).into_iter().filter(is_entry).collect()
}

/// Where an entry ends.
pub fn to(entry: &Value) -> i64 {
    entry["to"].as_i64().unwrap()
}

/// The number of the entry at a path, or of the last one of the checkpoint there.
fn number(path: &Path) -> Option<(u64, bool)> {
    let (number, kind) = path.file_name()?.to_str()?.split_once('.')?;
    let folded = match kind {
        "json" => false,
        "checkpoint.jsonl.gz" => true,
        _ => return None,
    };
    Some((number.parse().ok().filter(|_| number.len() == 20)?, folded))
}

/// Entries that a checkpoint covers don't exist beside it.
fn read_chain(folder: &Path) -> io::Result<Vec<Value>> {
    let (mut folded, mut plain) = (BTreeMap::new(), BTreeMap::new());
    for path in files(folder) {
        match number(&path) {
            Some((number, true)) => _ = folded.insert(number, path),
            Some((number, false)) => _ = plain.insert(number, path),
            None => {}
        }
    }
    let covered = folded.last_key_value().map(|(last, _)| *last);
    let mut entries = Vec::new();
    for path in folded.into_values() {
        for line in BufReader::new(GzDecoder::new(File::open(path)?)).lines() {
            entries.push(serde_json::from_str(&line?)?);
        }
    }
    for (_, path) in plain.into_iter().filter(|(number, _)| covered.is_none_or(|covered| covered < *number)) {
        entries.push(serde_json::from_slice(&fs::read(path)?)?);
    }
    Ok(entries)
}
