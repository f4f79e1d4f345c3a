//! Every refusal's words, in one place: what happened, where, with which values, and the ways out.
//!
//! A changed message changes a snapshot. A new variant does not compile until it is listed here, and fails until it has an
//! example.
#![allow(clippy::unwrap_used)]

use std::error::Error;
use std::io;
use std::sync::Arc;

use crate::base::words;
use crate::engine::skip::SkipError;
use crate::kafka::BrokerError;
use crate::ledger::{BackupError, LedgerError, RepairError};
use crate::model::LastRecord;
use crate::model::Partition;
use crate::source::StartError;
use crate::store::StoreError;

/// A type of error whose variants are all known here.
trait Variants: Error {
    const ALL: &'static [&'static str];
    fn variant(&self) -> &'static str;
}

macro_rules! variants {
    ($type:ident: $($variant:ident)+ $(; $below:ident)?) => {
        impl Variants for $type {
            const ALL: &'static [&'static str] = &[$(stringify!($variant)),+];
            fn variant(&self) -> &'static str {
                match self {
                    $($type::$variant { .. } => stringify!($variant),)+
                    // Those of a floor below have their own names.
                    $($type::$below(error) => error.variant(),)?
                }
            }
        }
    };
}

variants!(StoreError: Io NotDurable Strange TooLarge);
variants!(LedgerError: Fenced Hole Broken Forked Unreadable Format Requires FileLost FileDiffers OtherDataset OtherTopic NotADataset; Store);
variants!(StartError: Ledger Panicked Broker Deleted NoStart PastEnd Cut Replaced Short Behind NothingCommitted TopicReplaced Unconfirmed);
variants!(SkipError: Broker Ledger NotRead NoPartition NoChain Behind PastEnd CanBeRead TooLarge Readable GoesOn);
variants!(BackupError: Ledger NotEmpty Inside Damaged);
variants!(RepairError: Ledger OtherBackup);

/// The examples' messages, each under its variant's name; every variant has one.
fn words_of<E: Variants>(examples: &[E]) -> String {
    for variant in E::ALL {
        assert!(examples.iter().any(|example| example.variant() == *variant), "{variant} has no example");
    }
    examples.iter().map(|example| format!("{}\n    {}\n", example.variant(), words::chain(example))).collect()
}

fn partition() -> Partition {
    Partition { topic: "readings".into(), partition: 1 }
}

fn not_a_dataset() -> LedgerError {
    LedgerError::NotADataset { folder: "/d/air".into() }
}

fn no_cluster_id() -> BrokerError {
    BrokerError::NoClusterId { brokers: "kafka:9092".into() }
}

fn store_errors() -> [StoreError; 4] {
    let path = || "/d/air/data/a.parquet".into();
    [
        StoreError::Io { action: "fsync", path: path(), source: Arc::new(io::ErrorKind::StorageFull.into()) },
        StoreError::NotDurable { path: path() },
        StoreError::Strange { path: path(), found: "a FIFO" },
        StoreError::TooLarge { path: path() },
    ]
}

/// The others' words are in the ledger's snapshot. This one's stand in [`LedgerError::Unreadable`] there.
#[test]
fn of_the_store() {
    let words = words_of(&store_errors());
    assert!(
        words.ends_with("TooLarge\n    /d/air/data/a.parquet has more than 1073741824 bytes in one piece\n"),
        "{words}"
    );
}

#[test]
fn of_the_ledger() {
    let (chain, entry) = (|| "readings:1".to_owned(), || "/d/air/ledger/readings/id/1/7.json".into());
    let (path, staged) = (|| "/d/air/data/a.parquet".into(), || "/d/air/staging/a.parquet".into());
    let [io, not_durable, strange, _] = store_errors();
    insta::assert_snapshot!(words_of(&[
        io.into(),
        not_durable.into(),
        strange.into(),
        LedgerError::Fenced { chain: chain(), sequence: 7, winner: "host-1-ab".into(), path: entry() },
        LedgerError::Hole { chain: chain(), path: entry(), last: 9 },
        LedgerError::Broken { chain: chain(), path: entry(), expected: 70, found: 71 },
        LedgerError::Forked { chain: chain(), path: entry(), expected: "ab12".into(), found: "cd34".into() },
        LedgerError::Unreadable { path: entry(), reason: "EOF while parsing".into() },
        LedgerError::Format { path: entry(), found: 3, known: 2 },
        LedgerError::Requires { path: entry(), what: "the field `files.deletes`".into() },
        LedgerError::FileLost { chain: chain(), sequence: 7, path: path(), staged: staged() },
        LedgerError::FileDiffers {
            chain: chain(),
            sequence: 7,
            path: path(),
            expected: "70 bytes".into(),
            found: "7 bytes".into(),
        },
        LedgerError::OtherDataset { folder: "/d/air".into(), differences: vec!["its name is a there".into()] },
        LedgerError::OtherTopic {
            topic: "readings".into(),
            expected: "idA".into(),
            found: "idB".into(),
            folder: "/d/air".into(),
        },
        not_a_dataset(),
    ]));
}

#[test]
fn of_a_start() {
    insta::assert_snapshot!(words_of(&[
        StartError::Ledger(not_a_dataset()),
        StartError::Panicked("task 7 panicked".into()),
        StartError::Broker(no_cluster_id()),
        StartError::Deleted { partition: partition(), position: 70, start: 77, file: "my pipelines/air.toml".into() },
        StartError::NoStart { partition: partition(), position: 70, start: 77, end: 99 },
        StartError::PastEnd { partition: partition(), position: 70, end: 66 },
        StartError::Cut {
            partition: partition(),
            position: 70,
            last: LastRecord { offset: 66, leader_epoch: Some(2) },
        },
        StartError::Replaced {
            partition: partition(),
            position: 70,
            last: LastRecord { offset: 66, leader_epoch: Some(2) },
            found: 67,
        },
        StartError::Short { partition: partition(), until: 99, end: 70 },
        StartError::Behind { partition: partition(), position: 70, group: "weir-air".into(), committed: 77 },
        StartError::NothingCommitted { partition: partition(), group: "old".into() },
        StartError::TopicReplaced { topic: "readings".into(), before: "idA".into(), now: "idB".into() },
        StartError::Unconfirmed { topic: "readings".into() },
    ]));
}

#[test]
fn of_a_batch_that_cannot_be_read() {
    let words = crate::source::give_up_a_batch(&partition(), "pipelines/air.toml".as_ref());
    insta::assert_snapshot!(words, @"What came before it is committed. Mend the broker's copy (another replica as leader) and start weir again. If no copy is whole, `weir skip pipelines/air.toml readings:1 --to readable` gives the batch up and records it as lost");
}

#[test]
fn of_skip() {
    let readable = |position| SkipError::Readable {
        partition: partition(),
        position,
        to: 90,
        start: 77,
        file: "pipelines/air.toml".into(),
    };
    insta::assert_snapshot!(words_of(&[
        SkipError::Broker(no_cluster_id()),
        SkipError::Ledger(not_a_dataset()),
        SkipError::NotRead {
            file: "pipelines/air.toml".into(),
            topic: "reading".into(),
            topics: vec!["readings".into(), "more".into()],
        },
        SkipError::NoPartition { partition: partition(), partitions: 1 },
        SkipError::NoChain { folder: "/d/air".into(), partition: partition() },
        SkipError::Behind { partition: partition(), position: 70, to: 66 },
        SkipError::PastEnd { partition: partition(), to: 111, end: 99 },
        SkipError::CanBeRead { partition: partition(), position: 70, found: 72 },
        SkipError::TooLarge { partition: partition(), first: 70, reason: "it needs up to 2.00 GiB".into() },
        readable(70),
        readable(80),
        SkipError::GoesOn { partition: partition(), winner: "host-1-ab".into() },
    ]));
}

#[test]
fn of_backup_and_repair() {
    let (dataset, folder) = (|| "/d/air".into(), || "/backup/air".into());
    let backup = words_of(&[
        BackupError::Ledger(not_a_dataset()),
        BackupError::NotEmpty { folder: folder() },
        BackupError::Inside { dataset: dataset(), folder: "/d/air/backup".into() },
        BackupError::Damaged {
            chain: "readings:1".into(),
            sequence: 7,
            path: "/d/air/data/a.parquet".into(),
            expected: "70 bytes".into(),
            found: "7 bytes".into(),
            folder: folder(),
        },
    ]);
    let repair = words_of(&[
        RepairError::Ledger(not_a_dataset()),
        RepairError::OtherBackup { folder: dataset(), backup: folder(), expected: "ab".into(), found: "cd".into() },
    ]);
    insta::assert_snapshot!(backup + &repair);
}
