//! Names in `ledger/` and `staging/`, and of the files of rows.
//!
//! A topic or topic id may hold any character; it is percent-encoded wherever it becomes part of a
//! path. A staged name tells which chain and sequence it is for, because the sweep must know.
//!
//! Other kinds of chains are not there yet. Their names are kept free, and no reader here takes one
//! for a partition's own:
//!
//! | | replays of a partition | care of a dataset |
//! |---|---|---|
//! | folder in `ledger/` | `<topic>/<topic id>/<partition>.replay/` | `care/` |
//! | in `staging/` | `<topic id>.<topic>.<partition>.replay.<sequence>.…` | `care.<sequence>.…` |
//! | of a file of rows | `…-<random>.replay.parquet` | `…-<random>.care.parquet` |

use std::sync::OnceLock;

use sha2::{Digest, Sha256};

use super::{decode, encode, escape, hex, unescape};

/// The folder of files that are being made.
pub(crate) const STAGING: &str = "staging";

/// File names end at 255 bytes; a topic's name may have 249, so in file names it is cut: the random
/// part makes them unique.
const TOPIC_BYTES_MAX: usize = 120;

/// No chain has a higher number. What stands above it in a name is not weir's.
const SEQUENCE_MAX: u64 = 1 << 62;

/// The two names of a file that is being made, relative to the dataset's folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StagedName {
    /// Where it is written.
    pub staged: String,
    /// Where it will be published.
    pub path: String,
}

/// A topic's folder in `ledger/`, which has names of its own that a topic must not take.
pub(crate) fn topic_folder(topic: &str) -> String {
    match topic {
        "pipelines" | "dataset.json" => escape(topic, |index, _| index > 0),
        _ => encode(topic),
    }
}

/// The topic whose folder this is; none if no topic has such a one.
pub(crate) fn topic_of_folder(folder: &str) -> Option<String> {
    unescape(folder).filter(|topic| topic_folder(topic) == folder)
}

/// The topic id whose folder this is; none if no id has such a one.
pub(crate) fn id_of_folder(folder: &str) -> Option<String> {
    decode(folder)
}

/// A partition's folder in its topic id's.
pub(crate) fn partition_folder(partition: i32) -> String {
    partition.to_string()
}

/// The partition whose folder this is; none if no partition has such a one.
pub(crate) fn partition_of_folder(folder: &str) -> Option<i32> {
    folder.parse().ok().filter(|partition| *partition >= 0 && partition_folder(*partition) == folder)
}

/// The kind of chain whose folder this is beside the partitions' own, by a weir that has such.
pub(crate) fn other_chain_of_folder(folder: &str) -> Option<&str> {
    let (partition, kind) = folder.split_once('.')?;
    let is_word = !kind.is_empty() && kind.bytes().all(|byte| byte.is_ascii_lowercase());
    (partition_of_folder(partition).is_some() && is_word).then_some(kind)
}

/// Whether a file of rows is of another kind of chain: `…-<random>.<kind>.parquet`.
pub(crate) fn is_of_another_chain(name: &str) -> bool {
    let own = |(name, kind): (&str, &str)| {
        kind.bytes().all(|byte| byte.is_ascii_lowercase()) && published(&format!("{name}.parquet")).is_some()
    };
    name.strip_suffix(".parquet").and_then(|name| name.rsplit_once('.')).is_some_and(own)
}

/// An entry's name in its chain's folder.
pub(crate) fn entry_name(sequence: u64) -> String {
    format!("{sequence:020}.json")
}

/// The sequence that a name in a chain's folder stands for, if it is an entry's.
pub(crate) fn entry_sequence(name: &str) -> Option<u64> {
    twenty_digits(name.strip_suffix(".json")?)
}

/// Whether a name in a partition's folder shows that it has a chain.
pub(crate) fn is_of_a_chain(name: &str) -> bool {
    entry_sequence(name).is_some() || checkpoint_sequence(name).is_some()
}

/// A checkpoint's name in its chain's folder, by the last entry that it covers.
pub(crate) fn checkpoint_name(last: u64) -> String {
    format!("{last:020}.checkpoint.jsonl.gz")
}

/// The last entry that a checkpoint of that name covers, if it is one's.
pub(crate) fn checkpoint_sequence(name: &str) -> Option<u64> {
    twenty_digits(name.strip_suffix(".checkpoint.jsonl.gz")?)
}

fn twenty_digits(text: &str) -> Option<u64> {
    let digits = text.len() == 20 && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten().filter(|number| *number <= SEQUENCE_MAX)
}

/// How the names of one chain's staged files begin. The parts are separated by dots, which no part
/// contains.
pub(crate) fn staged_prefix(topic: &str, topic_id: &str, partition: i32) -> String {
    // Topic ids should be enough, but a broker that gives every topic the same one must not mix two
    // chains up.
    let topic = &hex(&Sha256::digest(topic))[..16];
    format!("{}.{topic}.{partition}.", without_dots(topic_id))
}

pub(crate) fn without_dots(part: &str) -> String {
    encode(part).replace('.', "%2E")
}

/// A new staged name in the chain of `prefix`: `what` is the file's number or `entry`.
pub(crate) fn staged(prefix: &str, sequence: u64, what: &str, random: &str, extension: &str) -> String {
    format!("{STAGING}/{prefix}{sequence:020}.{what}.{}.{random}.{extension}", without_dots(instance()))
}

/// The sequence that a name in `staging/` is for, if it belongs to the chain of `prefix`.
pub(crate) fn staged_sequence(prefix: &str, name: &str) -> Option<u64> {
    twenty_digits(name.strip_prefix(prefix)?.split('.').next()?)
}

/// Both names of a new file.
pub(crate) fn file(
    topic: &str,
    prefix: &str,
    partition: i32,
    sequence: u64,
    tree: &str,
    hive: &str,
    n: u32,
) -> StagedName {
    let random = random();
    let topic = file_topic(topic);
    let hive = if hive.is_empty() { String::new() } else { format!("{hive}/") };
    StagedName {
        staged: staged(prefix, sequence, &n.to_string(), &random, "parquet"),
        path: format!("{tree}/{hive}{topic}-{partition}-{sequence:020}-{n}-{random}.parquet"),
    }
}

/// How the names of a topic's files begin.
pub(crate) fn file_topic(topic: &str) -> String {
    let mut topic = encode(topic);
    topic.truncate(TOPIC_BYTES_MAX);
    topic
}

/// What the name of a published file says: how its topic's names begin, the partition, and the
/// sequence. None if it is no such name.
pub(crate) fn published(name: &str) -> Option<(&str, i32, u64)> {
    let mut parts = name.strip_suffix(".parquet")?.rsplitn(5, '-');
    let (random, n) = (parts.next()?, parts.next()?);
    let (sequence, partition) = (twenty_digits(parts.next()?)?, partition_of_folder(parts.next()?)?);
    let hexadecimal = random.len() == 16 && random.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = n.parse::<u32>().is_ok_and(|number| number.to_string() == n);
    (hexadecimal && number).then_some((parts.next()?, partition, sequence))
}

/// 64 random bits, new for every call.
pub(crate) fn random() -> String {
    #[cfg(test)]
    if let Some(bits) = crate::base::simulated::random_bits() {
        return hex(&bits.to_be_bytes());
    }
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    hex(&bytes)
}

/// This process: host, process id and a random part.
pub(crate) fn instance() -> &'static str {
    // A seed must give the same names in every process.
    #[cfg(test)]
    if crate::base::simulated::is_running() {
        return "simulated";
    }
    static INSTANCE: OnceLock<String> = OnceLock::new();
    INSTANCE.get_or_init(|| {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let host: String = host.trim().chars().take(32).collect();
        let host = if host.is_empty() { "host".to_owned() } else { host };
        format!("{host}-{}-{}", std::process::id(), random())
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_name_comes_back(topic: String, id: String, partition in 0..i32::MAX, sequence in 0..SEQUENCE_MAX) {
            prop_assert_eq!(topic_of_folder(&topic_folder(&topic)), Some(topic.clone()));
            prop_assert_eq!(id_of_folder(&encode(&id)), Some(id.clone()));
            prop_assert_eq!(partition_of_folder(&partition_folder(partition)), Some(partition));
            prop_assert_eq!(entry_sequence(&entry_name(sequence)), Some(sequence));
            prop_assert_eq!(checkpoint_sequence(&checkpoint_name(sequence)), Some(sequence));
            let prefix = staged_prefix(&topic, &id, partition);
            let name = file(&topic, &prefix, partition, sequence, "data", "k=v", 3);
            let staged = name.staged.strip_prefix("staging/").unwrap();
            prop_assert_eq!(staged_sequence(&prefix, staged), Some(sequence));
            let published = published(name.path.rsplit('/').next().unwrap());
            prop_assert_eq!(published, Some((&*file_topic(&topic), partition, sequence)));
        }
    }

    #[test]
    fn a_topic_takes_no_name_of_the_ledger() {
        for topic in ["pipelines", "dataset.json"] {
            assert_ne!(topic_folder(topic), topic);
            assert_eq!(topic_of_folder(&topic_folder(topic)).as_deref(), Some(topic));
        }
    }

    #[test]
    fn a_name_has_one_folder_and_a_folder_one_name() {
        for folder in ["+1", "01", "-1", "2147483648", "", "1 "] {
            assert_eq!(partition_of_folder(folder), None, "{folder}");
        }
        assert_eq!(partition_of_folder("2147483647"), Some(i32::MAX));
        // Another name of the topic `t`, of `pipelines`, and one that is cut.
        for folder in ["%74", "pipelines", "dataset.json", "a%2", "%+1", "a%c3%bc", "..", ""] {
            assert!(topic_of_folder(folder).is_none_or(|topic| topic.is_empty()), "{folder}");
        }
        assert_eq!(entry_sequence("18446744073709551615.json"), None);
    }

    #[test]
    fn a_staged_name_belongs_to_one_chain() {
        // Ids with the separators of other names in them, and a broker that gives two topics one
        // id.
        let chains = [("t", "a", 1), ("t", "a", 11), ("t", "a-1", 1), ("t", "a.1", 1), ("u", "a", 1), ("t", "", 1)];
        for (i, (topic, id, partition)) in chains.iter().enumerate() {
            let name = staged(&staged_prefix(topic, id, *partition), 7, "0", &random(), "parquet");
            let name = name.strip_prefix("staging/").unwrap();
            for (j, (topic, id, partition)) in chains.iter().enumerate() {
                let found = staged_sequence(&staged_prefix(topic, id, *partition), name);
                assert_eq!(found, (i == j).then_some(7), "{name} for {topic} {id} {partition}");
            }
        }
    }

    #[test]
    fn names_of_other_chains_are_of_no_partition() {
        let prefix = staged_prefix("t", "care", 0);
        let name = file("t", &prefix, 0, 5, "data", "", 0);
        let staged = name.staged.strip_prefix("staging/").unwrap();
        let replay = staged.replacen(".0.", ".0.replay.", 1);
        assert_eq!(staged_sequence(&prefix, staged), Some(5));
        for other in [&*replay, "care.00000000000000000005.0.host.0123456789abcdef.parquet"] {
            assert_ne!(other, staged);
            assert_eq!(staged_sequence(&prefix, other), None, "{other}");
        }
        for kind in ["replay", "care"] {
            let other = name.path.replace(".parquet", &format!(".{kind}.parquet"));
            assert_eq!(published(other.rsplit('/').next().unwrap()), None, "{other}");
            assert!(is_of_another_chain(other.rsplit('/').next().unwrap()));
            assert!(!is_of_another_chain(name.path.rsplit('/').next().unwrap()));
            assert_eq!(partition_of_folder(&format!("0.{kind}")), None);
            assert_eq!(other_chain_of_folder(&format!("0.{kind}")), Some(kind));
        }
        for none in ["0", "x.replay", "0.", "0.Replay", ".replay"] {
            assert_eq!(other_chain_of_folder(none), None, "{none}");
        }
    }

    #[test]
    fn the_longest_topic_fits_a_file_name() {
        let topic = "_".repeat(249);
        let name =
            file(&topic, &staged_prefix(&topic, &"_".repeat(22), i32::MAX), i32::MAX, u64::MAX, "data", "", u32::MAX);
        for part in name.staged.split('/').chain(name.path.split('/')).chain([&*topic_folder(&topic)]) {
            assert!(part.len() <= 255, "{} bytes: {part}", part.len());
        }
    }

    #[test]
    fn a_published_name_tells_whose_it_is() {
        for topic in ["t", "a-b-1.c", &"_".repeat(249)] {
            let path = file(topic, "p.", 3, 5, "data", "k=v", 2).path;
            let name = path.rsplit('/').next().unwrap();
            assert_eq!(published(name), Some((&*file_topic(topic), 3, 5)), "{name}");
        }
        let (random, sequence) = ("0123456789abcdef", "00000000000000000001");
        let odd = [format!("t-+1-{sequence}-0-{random}.parquet"), format!("t-0-{sequence}-+1-{random}.parquet")];
        let odd = odd.iter().map(String::as_str);
        for name in
            ["t-0-1-0-r.parquet", "x.parquet", "t-0-00000000000000000001-0-0123456789abcdef", ""].into_iter().chain(odd)
        {
            assert_eq!(published(name), None, "{name}");
        }
    }

    #[test]
    fn names_are_new_each_time() {
        let new = || file("t", "p.", 0, 0, "rejects", "", 0);
        assert_ne!(new(), new());
        let path = file("t", "p.", 3, 5, "data", "station_id=AA-01", 2).path;
        assert!(path.starts_with("data/station_id=AA-01/t-3-00000000000000000005-2-"), "{path}");
    }
}
