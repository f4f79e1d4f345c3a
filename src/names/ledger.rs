//! Names of files and folders in a dataset: pure text, no disk.
//!
//! A topic or topic id may hold any character; it is percent-encoded wherever it becomes part of a path, so that no value
//! can leave the dataset's folder. A staged name tells which chain and sequence it is for, because the sweep must know.

use std::fmt::Write as _;
use std::sync::OnceLock;

use sha2::{Digest, Sha256};

use super::entry::{Side, StagedName};

/// The folder of files that are being made.
pub(super) const STAGING: &str = "staging";

/// File names end at 255 bytes; a topic's name may have 249, so in file names it is cut: the random part makes them unique.
const TOPIC_BYTES_MAX: usize = 120;

/// `part` as one part of a path: only letters, digits, `-`, `.` and `_` stay. A leading `.` or `_` goes too, because
/// readers take files that start so for hidden ones.
pub fn encode(part: &str) -> String {
    let mut out = String::with_capacity(part.len());
    for (index, byte) in part.bytes().enumerate() {
        let plain = byte.is_ascii_alphanumeric() || byte == b'-' || (matches!(byte, b'.' | b'_') && index > 0);
        if plain {
            out.push(char::from(byte));
        } else {
            push_escaped(&mut out, byte);
        }
    }
    out
}

fn push_escaped(out: &mut String, byte: u8) {
    write!(out, "%{byte:02X}").expect("writing to a String does not fail");
}

/// What [`encode`] made of it, back.
pub(super) fn decode(part: &str) -> Option<String> {
    let mut out = Vec::with_capacity(part.len());
    let mut bytes = part.as_bytes();
    while let Some((&first, rest)) = bytes.split_first() {
        if first == b'%' {
            let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
            out.push(u8::from_str_radix(digits, 16).ok()?);
            bytes = &rest[2..];
        } else {
            out.push(first);
            bytes = rest;
        }
    }
    String::from_utf8(out).ok()
}

/// A topic's folder in `ledger/`, which has names of its own that a topic must not take.
pub(super) fn topic_folder(topic: &str) -> String {
    match topic {
        "pipelines" | "dataset.json" => {
            let mut out = String::new();
            push_escaped(&mut out, topic.as_bytes()[0]);
            out + &topic[1..]
        }
        _ => encode(topic),
    }
}

/// An entry's name in its chain's folder.
pub(super) fn entry_name(sequence: u64) -> String {
    format!("{sequence:020}.json")
}

/// The sequence that a name in a chain's folder stands for, if it is an entry's.
pub(super) fn entry_sequence(name: &str) -> Option<u64> {
    twenty_digits(name.strip_suffix(".json")?)
}

/// Whether a name in a partition's folder shows that it has a chain.
pub(super) fn is_of_a_chain(name: &str) -> bool {
    entry_sequence(name).is_some() || checkpoint_sequence(name).is_some()
}

/// A checkpoint's name in its chain's folder, by the last entry that it covers.
pub(super) fn checkpoint_name(last: u64) -> String {
    format!("{last:020}.checkpoint.jsonl.gz")
}

/// The last entry that a checkpoint of that name covers, if it is one's.
pub(super) fn checkpoint_sequence(name: &str) -> Option<u64> {
    twenty_digits(name.strip_suffix(".checkpoint.jsonl.gz")?)
}

fn twenty_digits(text: &str) -> Option<u64> {
    let digits = text.len() == 20 && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

/// How the names of one chain's staged files begin. The parts are separated by dots, which no part contains.
pub(super) fn staged_prefix(topic: &str, topic_id: &str, partition: i32) -> String {
    // Topic ids should be enough, but a broker that gives every topic the same one must not mix two chains up.
    let topic = &hex(&Sha256::digest(topic))[..16];
    format!("{}.{topic}.{partition}.", without_dots(topic_id))
}

pub(super) fn without_dots(part: &str) -> String {
    encode(part).replace('.', "%2E")
}

/// A new staged name in the chain of `prefix`: `what` is the file's number or `entry`.
pub(super) fn staged(prefix: &str, sequence: u64, what: &str, random: &str, extension: &str) -> String {
    format!("{STAGING}/{prefix}{sequence:020}.{what}.{}.{random}.{extension}", without_dots(instance()))
}

/// The sequence that a name in `staging/` is for, if it belongs to the chain of `prefix`.
pub(super) fn staged_sequence(prefix: &str, name: &str) -> Option<u64> {
    twenty_digits(name.strip_prefix(prefix)?.split('.').next()?)
}

/// Both names of a new file.
pub(super) fn file(
    topic: &str,
    prefix: &str,
    partition: i32,
    sequence: u64,
    side: Side,
    hive: &str,
    n: u32,
) -> StagedName {
    let random = random();
    let topic = file_topic(topic);
    let hive = if hive.is_empty() { String::new() } else { format!("{hive}/") };
    StagedName {
        staged: staged(prefix, sequence, &n.to_string(), &random, "parquet"),
        path: format!("{}/{hive}{topic}-{partition}-{sequence:020}-{n}-{random}.parquet", side.folder()),
    }
}

/// How the names of a topic's files begin.
pub(super) fn file_topic(topic: &str) -> String {
    let mut topic = encode(topic);
    topic.truncate(TOPIC_BYTES_MAX);
    topic
}

/// What the name of a published file says: how its topic's names begin, the partition, and the sequence. None if it is no
/// such name.
pub(super) fn published(name: &str) -> Option<(&str, i32, u64)> {
    let mut parts = name.strip_suffix(".parquet")?.rsplitn(5, '-');
    let (random, n) = (parts.next()?, parts.next()?);
    let (sequence, partition) = (twenty_digits(parts.next()?)?, parts.next()?.parse().ok()?);
    let hexadecimal = random.len() == 16 && random.bytes().all(|byte| byte.is_ascii_hexdigit());
    (hexadecimal && n.parse::<u32>().is_ok()).then_some((parts.next()?, partition, sequence))
}

/// 64 random bits, new for every call.
pub(super) fn random() -> String {
    #[cfg(test)]
    if let Some(bits) = crate::simulation::random_bits() {
        return hex(&bits.to_be_bytes());
    }
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    hex(&bytes)
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut out, byte| {
        write!(out, "{byte:02x}").expect("writing to a String does not fail");
        out
    })
}

/// This process: host, process id and a random part.
pub(super) fn instance() -> &'static str {
    // A seed must give the same names in every process.
    #[cfg(test)]
    if crate::simulation::is_running() {
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
    use super::*;

    #[test]
    fn no_value_leaves_its_folder() {
        for (part, want) in [
            ("orders.v1", "orders.v1"),
            ("../../etc", "%2E.%2F..%2Fetc"),
            ("..", "%2E."),
            ("_hidden", "%5Fhidden"),
            ("a%b c\0ü", "a%25b%20c%00%C3%BC"),
            ("-_AbC", "-_AbC"),
        ] {
            assert_eq!(encode(part), want);
            assert_eq!(decode(want).as_deref(), Some(part));
        }
        assert_eq!(decode("%2"), None);
        assert_eq!(decode("%zz"), None);
    }

    #[test]
    fn a_topic_takes_no_name_of_the_ledger() {
        for topic in ["pipelines", "dataset.json"] {
            assert_ne!(topic_folder(topic), topic);
            assert_eq!(decode(&topic_folder(topic)).as_deref(), Some(topic));
        }
    }

    #[test]
    fn a_staged_name_belongs_to_one_chain() {
        // Ids with the separators of other names in them, and a broker that gives two topics one id.
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
    fn the_longest_topic_fits_a_file_name() {
        let topic = "_".repeat(249);
        let name = file(
            &topic,
            &staged_prefix(&topic, &"_".repeat(22), i32::MAX),
            i32::MAX,
            u64::MAX,
            Side::Data,
            "",
            u32::MAX,
        );
        for part in name.staged.split('/').chain(name.path.split('/')).chain([&*topic_folder(&topic)]) {
            assert!(part.len() <= 255, "{} bytes: {part}", part.len());
        }
    }

    #[test]
    fn a_published_name_tells_whose_it_is() {
        for topic in ["t", "a-b-1.c", &"_".repeat(249)] {
            let path = file(topic, "p.", 3, 5, Side::Data, "k=v", 2).path;
            let name = path.rsplit('/').next().unwrap();
            assert_eq!(published(name), Some((&*file_topic(topic), 3, 5)), "{name}");
        }
        for name in ["t-0-1-0-r.parquet", "x.parquet", "t-0-00000000000000000001-0-0123456789abcdef", ""] {
            assert_eq!(published(name), None, "{name}");
        }
    }

    #[test]
    fn names_are_new_each_time() {
        let new = || file("t", "p.", 0, 0, Side::Rejects, "", 0);
        assert_ne!(new(), new());
        let path = file("t", "p.", 3, 5, Side::Data, "station_id=AA-01", 2).path;
        assert!(path.starts_with("data/station_id=AA-01/t-3-00000000000000000005-2-"), "{path}");
    }
}
