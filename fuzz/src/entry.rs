//! Any bytes in the place of an entry, a checkpoint or the dataset's own file.
//!
//! They are refused or understood. What was changed since it was written is never believed.

use std::cell::RefCell;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use weir::ledger::{Entry, LedgerError, LedgerReader, verify};
use weir::model::names::hex;

use super::bytes::Bytes;
use super::dataset::{self, TOPIC, TOPIC_ID};

/// From this first byte on the rest is sealed.
const SEALED: u8 = 240;

/// `,"sha256":"…"}` and a newline.
const SEAL_BYTES: usize = 78;

/// Entries of a checkpoint.
const EVERY: u64 = 2;

/// A dataset of three entries: 0, 1 and 2. Each run writes one of its files anew.
struct Place {
    folder: PathBuf,
    chain: PathBuf,
    valid: Vec<Entry>,
    _made: TempDir,
}

thread_local! {
    static PLAIN: RefCell<Place> = RefCell::new(Place::new());
    static FOLDED: RefCell<Place> = RefCell::new(Place::new().folded());
    static HEAD: RefCell<Place> = RefCell::new(Place::new().folded());
}

pub fn run(data: &[u8]) {
    let mut bytes = Bytes(data);
    let kind = bytes.byte();
    match if kind < SEALED { kind % 6 } else { kind } {
        0 => PLAIN.with_borrow(|place| place.entry(bytes.0, false)),
        1 => PLAIN.with_borrow(|place| {
            let changed = bytes.flip_bits(&place.valid[2].line());
            place.entry(&changed, true);
        }),
        2 => FOLDED.with_borrow(|place| place.checkpoint(bytes.0, false)),
        3 => FOLDED.with_borrow(|place| place.checkpoint(&gzip(bytes.0), false)),
        4 => FOLDED.with_borrow(|place| {
            let changed = bytes.flip_bits(&gzip(&place.lines()));
            place.checkpoint(&changed, true);
        }),
        // Whatever a writer may have sealed, of this dataset or of none.
        SEALED..=247 => PLAIN.with_borrow(|place| place.entry(&place.sealed(bytes.0), false)),
        248.. => FOLDED.with_borrow(|place| place.checkpoint(&gzip(&place.sealed_lines(bytes.0)), false)),
        _ => HEAD.with_borrow(|place| {
            write(&place.folder.join("ledger/dataset.json"), bytes.0);
            _ = read(&place.folder);
        }),
    }
}

impl Place {
    fn new() -> Place {
        let made = dataset::folder();
        let pipeline = dataset::pipeline(made.path());
        dataset::make(&pipeline, 2);
        let folder = pipeline.folder();
        let mut valid = read(&folder).expect("a dataset as weir writes it");
        valid.reverse();
        assert_eq!(valid.len(), 3);
        let chain = folder.join("ledger").join(TOPIC).join(TOPIC_ID).join("0");
        Place { folder, chain, valid, _made: made }
    }

    /// The same, the first entries in a checkpoint.
    fn folded(self) -> Place {
        let path = self.folder.join("ledger/dataset.json");
        let head = fs::read(&path).expect("the dataset has it");
        let mut head: serde_json::Value = serde_json::from_slice(&head).expect("it is JSON");
        head["checkpoint_entries"] = EVERY.into();
        write(&path, head.to_string().as_bytes());
        for sequence in 0..EVERY {
            fs::remove_file(self.entry_path(sequence)).expect("the entry is there");
        }
        write(&self.checkpoint_path(), &gzip(&self.lines()));
        assert_eq!(read(&self.folder).expect("folded as weir folds").len(), 3);
        self
    }

    /// Bytes as the newest entry.
    fn entry(&self, content: &[u8], changed: bool) {
        write(&self.entry_path(2), content);
        self.believed(changed);
    }

    /// Bytes as the checkpoint.
    fn checkpoint(&self, content: &[u8], changed: bool) {
        write(&self.checkpoint_path(), content);
        self.believed(changed);
    }

    /// What is believed has the checksum that it says. What was `changed` is refused, or as it was.
    fn believed(&self, changed: bool) {
        let Ok(mut found) = read(&self.folder) else { return };
        found.reverse();
        // In format 2 a checksum is of the bytes, of which an entry has only what this weir knows.
        for entry in found.iter().filter(|entry| entry.format == 1) {
            if let Some(sha256) = &entry.sha256 {
                assert_eq!(*sha256, entry.checksum(), "an entry is believed that was changed");
            }
        }
        let newest = fs::read(self.entry_path(2)).expect("it is there");
        assert!(found[2].format == 1 || is_sealed(&newest), "an entry is believed that was changed");
        if changed {
            assert_eq!(found, self.valid, "an entry is believed that was changed");
        }
    }

    /// The checkpoint's text.
    fn lines(&self) -> Vec<u8> {
        self.valid[..EVERY as usize].iter().flat_map(Entry::line).collect()
    }

    /// An entry with these fields, which may name the dataset and the entry before as words, and a checksum over them.
    fn sealed(&self, fields: &[u8]) -> Vec<u8> {
        let mut line = fields.strip_suffix(b"}").unwrap_or(fields).to_vec();
        let words =
            [(&b"DATASET"[..], self.valid[0].dataset.as_deref()), (b"PREVIOUS", self.valid[1].sha256.as_deref())];
        for (word, value) in words {
            if let Some(at) = line.windows(word.len()).position(|found| found == word) {
                line.splice(at..at + word.len(), value.unwrap_or_default().bytes());
            }
        }
        let sha256 = hex(&Sha256::digest(&line));
        line.extend(format!(",\"sha256\":\"{sha256}\"}}\n").bytes());
        line
    }

    /// The same of each line.
    fn sealed_lines(&self, lines: &[u8]) -> Vec<u8> {
        lines.split(|byte| *byte == b'\n').flat_map(|line| self.sealed(line)).collect()
    }

    fn entry_path(&self, sequence: u64) -> PathBuf {
        self.chain.join(format!("{sequence:020}.json"))
    }

    fn checkpoint_path(&self) -> PathBuf {
        self.chain.join(format!("{:020}.checkpoint.jsonl.gz", EVERY - 1))
    }
}

/// Everything that readers ask of a ledger; answers with its entries, the newest first.
fn read(folder: &Path) -> Result<Vec<Entry>, LedgerError> {
    let ledger = LedgerReader::of(folder)?;
    let _ = (ledger.completeness(), ledger.frontier(), verify(folder));
    ledger.entries()?.take(8).collect()
}

/// Whether the line's checksum is of the bytes before it.
fn is_sealed(line: &[u8]) -> bool {
    let Some(at) = line.len().checked_sub(SEAL_BYTES) else { return false };
    let (fields, seal) = line.split_at(at);
    seal == format!(",\"sha256\":\"{}\"}}\n", hex(&Sha256::digest(fields))).as_bytes()
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut out = GzEncoder::new(Vec::new(), Compression::fast());
    out.write_all(content).expect("memory takes it");
    out.finish().expect("memory takes it")
}

fn write(path: &Path, content: &[u8]) {
    fs::write(path, content).expect("the folder takes it");
}
