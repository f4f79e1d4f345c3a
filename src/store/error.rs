//! What can go wrong with a store, whatever is kept in it. Every message says what, where, and what to do next.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use thiserror::Error;

use super::WHOLE_MAX;
use super::file_system::Strange;
use crate::base::codes::{Code, Coded};

/// Why something can't be read from a store, or is not known to be kept in it.
#[derive(Debug, Clone, Error)]
#[allow(missing_docs)] // The messages say what each field is.
pub enum StoreError {
    #[error("cannot {action} {}", path.display())]
    Io {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: Arc<io::Error>,
    },

    #[error(
        "an earlier fsync of {} failed, so what the disk holds of it is unknown. Check the disk, then start weir again",
        path.display()
    )]
    NotDurable { path: PathBuf },

    #[error(
        "{} is {found}, and weir puts no such thing into a dataset. A link leads out of what is verified, backed up and \
         repaired, so it is not followed: put what it leads to in its place, or mount it there. Anything else, move away; \
         `weir verify FILE` says what is missing then. Nothing was changed",
        path.display()
    )]
    Strange { path: PathBuf, found: &'static str },

    #[error("{} has more than {WHOLE_MAX} bytes in one piece", path.display())]
    TooLarge { path: PathBuf },
}

impl StoreError {
    /// Wraps the cause of a failed `action` on `path`.
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> StoreError {
        let path = path.into();
        move |source| match source.get_ref().and_then(|cause| cause.downcast_ref()) {
            Some(Strange(found)) => StoreError::Strange { path, found },
            None => StoreError::Io { action, path, source: Arc::new(source) },
        }
    }

    pub(super) fn link(path: PathBuf) -> StoreError {
        StoreError::Strange { path, found: "a symbolic link" }
    }

    /// Whether the cause is that something isn't there.
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, StoreError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

impl Coded for StoreError {
    fn code(&self) -> Code {
        match self {
            StoreError::Io { .. } => Code::LedgerIo,
            StoreError::NotDurable { .. } => Code::LedgerNotDurable,
            StoreError::Strange { .. } => Code::LedgerStrange,
            StoreError::TooLarge { .. } => Code::LedgerUnreadable,
        }
    }
}
