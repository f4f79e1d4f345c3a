//! Which formats of the ledger there are, and what of a file must be known before anything else of
//! it is believed.
//!
//! `dataset.json`, `columns/<n>.json` and every entry have a `format`. A reader ignores fields that
//! it doesn't know, unless the file's `requires` names them: then it must not go on without knowing
//! what they mean. So a later weir can add what earlier ones need not know, and stop them where
//! they must. An entry of a new kind names that, too: `kind.replay`. A start reads the newest
//! entries only, so an entry repeats what the one before it requires.
//!
//! | format | what it is |
//! |---|---|
//! | 1 | an entry has no kind; its checksum is over its fields |
//! | 2 | `requires`, a kind, the checksum of the entry before, a checksum over the bytes as they are |

use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::error::LedgerError;
use crate::store::Store;

/// The version of the ledger's format that this code writes.
pub const FORMAT: u32 = 2;

/// Format 1: read, and continued in format 2.
pub(in crate::ledger) const FORMAT_1: u32 = 1;

/// Names that this code accepts in `requires`. None yet.
const KNOWN: [&str; 0] = [];

/// What of a file is looked at first.
#[derive(Deserialize)]
pub(in crate::ledger) struct Head {
    /// The format that it says it has, if any.
    pub(in crate::ledger) format: Option<u32>,
    #[serde(default)]
    requires: Vec<String>,
    /// For entries: what it is.
    pub(in crate::ledger) kind: Option<String>,
}

impl Head {
    /// Of a file's content. What else is in the file is not looked at.
    pub(in crate::ledger) fn parse(path: &Path, content: &[u8]) -> Result<Head, LedgerError> {
        serde_json::from_slice(content).map_err(|error| unreadable(path, error))
    }

    /// Refuses a format that this code can't read.
    pub(in crate::ledger) fn check_format(&self, path: &Path) -> Result<(), LedgerError> {
        match self.format {
            Some(found) if found > FORMAT => Err(LedgerError::Format { path: path.to_owned(), found, known: FORMAT }),
            Some(found) if found < FORMAT_1 => Err(unreadable(path, format!("there is no format {found}"))),
            _ => Ok(()),
        }
    }

    /// Refuses a file whose `requires` names what this code doesn't know.
    pub(in crate::ledger) fn check_required(self, path: &Path) -> Result<(), LedgerError> {
        match self.requires.into_iter().find(|name| !KNOWN.contains(&name.as_str())) {
            Some(name) => Err(LedgerError::Requires { path: path.to_owned(), what: format!("the field `{name}`") }),
            None => Ok(()),
        }
    }
}

/// Reads a JSON file of the ledger that is no entry.
pub(in crate::ledger) fn read_json<T: DeserializeOwned>(store: &dyn Store, name: &str) -> Result<T, LedgerError> {
    let (path, content) = (store.place(name), store.read(name)?);
    let head = Head::parse(&path, &content)?;
    head.check_format(&path)?;
    head.check_required(&path)?;
    serde_json::from_slice(&content).map_err(|error| unreadable(&path, error))
}

/// It is not what it should be.
pub(in crate::ledger) fn unreadable(path: &Path, reason: impl ToString) -> LedgerError {
    LedgerError::Unreadable { path: path.to_owned(), reason: reason.to_string() }
}
