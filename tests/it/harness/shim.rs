//! A disk and a clock that fail for the processes that a test starts: the switches of `tests/shim/faults.c`.

use std::fs::File;
use std::os::unix::fs::FileExt;

use super::setup;

/// What can be switched, in the order of the C structure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Switch {
    /// Nothing can be written: ENOSPC.
    Full,
    /// Nothing can be written or removed: EROFS.
    ReadOnly,
    /// So many fsyncs fail from now on.
    SyncsFail,
    /// So many milliseconds longer for each fsync.
    SyncMs,
    /// Seconds that the wall clock is ahead.
    ClockS,
    /// So many fsyncs of folders fail from now on.
    FolderSyncsFail,
    /// Bytes that files can still grow by, and one more: then ENOSPC. 0 is without end.
    Room,
}

/// The switches of some processes; all are off at first.
pub struct Shim {
    switches: tempfile::NamedTempFile,
}

impl Shim {
    pub fn new() -> Shim {
        setup::provision("shim");
        let switches = tempfile::NamedTempFile::new_in(setup::target()).unwrap();
        switches.as_file().set_len(7 * 8).unwrap();
        Shim { switches }
    }

    /// What a process's environment must have.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let library = setup::target().join("shim/faults.so");
        let file = self.switches.path();
        vec![("LD_PRELOAD", library.display().to_string()), ("WEIR_SHIM", file.display().to_string())]
    }

    pub fn set(&self, switch: Switch, value: i64) {
        self.file().write_all_at(&value.to_ne_bytes(), switch as u64 * 8).unwrap();
    }

    pub fn get(&self, switch: Switch) -> i64 {
        let mut bytes = [0; 8];
        self.file().read_exact_at(&mut bytes, switch as u64 * 8).unwrap();
        i64::from_ne_bytes(bytes)
    }

    fn file(&self) -> &File {
        self.switches.as_file()
    }
}
