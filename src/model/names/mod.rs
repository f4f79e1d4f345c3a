//! Names: how texts become parts of paths, and back. Nothing else builds or reads such a part. Pure text, no disk.
//!
//! | file | which names |
//! |---|---|
//! | `hive.rs` | `key=value` folders, which readers of the dataset decode |
//! | `ledger.rs` | topics, ids, partitions, entries, staged and published files |
//!
//! No text can leave its folder, and what was encoded comes back as it was: who reads a name uses the function that
//! stands beside the one that made it.

pub mod hive;
mod ledger;

use std::fmt::Write as _;

pub use ledger::StagedName;
#[cfg(test)]
pub(crate) use ledger::without_dots;
pub(crate) use ledger::{
    STAGING, checkpoint_name, checkpoint_sequence, entry_name, entry_sequence, file, file_topic, id_of_folder,
    instance, is_of_a_chain, is_of_another_chain, other_chain_of_folder, partition_folder, partition_of_folder,
    published, random, staged, staged_prefix, staged_sequence, topic_folder, topic_of_folder,
};

/// `part` as one part of a path: only letters, digits, `-`, `.` and `_` stay. A leading `.` or `_` goes too, because
/// readers take files that start so for hidden ones.
pub fn encode(part: &str) -> String {
    let plain = |char: char| char.is_ascii_alphanumeric() || char == '-';
    escape(part, |index, char| plain(char) || (matches!(char, '.' | '_') && index > 0))
}

/// What [`encode`] made this of; none if it makes it of nothing.
pub(crate) fn decode(part: &str) -> Option<String> {
    unescape(part).filter(|text| encode(text) == part)
}

/// Percent-encodes all characters but the plain ones, which are told with their places.
fn escape(text: &str, plain: impl Fn(usize, char) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    for (index, char) in text.char_indices() {
        if plain(index, char) {
            out.push(char);
        } else {
            for byte in char.encode_utf8(&mut [0; 4]).bytes() {
                write!(out, "%{byte:02X}").expect("writing to a String does not fail");
            }
        }
    }
    out
}

/// Percent-decodes; none where that is no text, or cut.
fn unescape(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    let digit = |byte: u8| char::from(byte).to_digit(16);
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let (high, low) = (digit(bytes.next()?)?, digit(bytes.next()?)?);
        out.push(u8::try_from(high << 4 | low).ok()?);
    }
    String::from_utf8(out).ok()
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut out, byte| {
        write!(out, "{byte:02x}").expect("writing to a String does not fail");
        out
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
        for none in ["%2", "%zz", "%+1", "%2e.", "a b", "%FF"] {
            assert_eq!(decode(none), None, "{none}");
        }
    }
}
