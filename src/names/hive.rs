//! The text of a hive path: how a key's value becomes one folder's name.
//!
//! Promises, for any value whatever: the folder's name is one path part of 255 bytes at the most; it can't be `.` or `..`, hold a
//! separator, a control character, a glob or anything else that a shell, a URL or another system reads; and two
//! values never share a name (on a file system that tells upper from lower case).
//!
//! - Letters and digits (of any script), `-`, `_` and `.` stand for themselves. Every other byte is percent-encoded.
//!   pyarrow, pandas, polars and DuckDB decode this, and read `key=` as the empty string.
//! - No value is `__HIVE_DEFAULT_PARTITION__`, which these readers take for null. (pandas 3.1 can't open a dataset that
//!   has such a folder and another one, so a key is better `required` or given a `default`.)
//! - A value that a name can't hold, because it is too long or equal to that word, is cut to what fits, then `~` and
//!   128 bits of its SHA-256. Only such names have a bare `~`. They keep rows apart and never fail a lane, but readers
//!   can't give the whole value back: limit a key by `max_length`.

use sha2::{Digest, Sha256};

/// Bytes that common file systems allow in one path part.
pub const SEGMENT_BYTES_MAX: usize = 255;

/// Bytes of a key's name: half of a path part stays for its value.
pub const NAME_BYTES_MAX: usize = 127;

/// Whether a key of this name is seen, and under this name, by every reader.
///
/// polars and DuckDB decode values but not names. pyarrow and pandas pass over folders that begin with `_` or `.`, without
/// a word.
pub fn is_name(name: &str) -> bool {
    name.starts_with(char::is_alphanumeric) && name.len() <= NAME_BYTES_MAX && encode(name) == name
}

/// The value of null.
const NULL: &str = "__HIVE_DEFAULT_PARTITION__";

/// Bytes of a digest in a name: 128 bits as hexadecimal digits.
const DIGEST_DIGITS: usize = 32;

/// `name=value`, for a name that [`is_name`].
pub fn segment(name: &str, value: Option<&str>) -> String {
    let room = SEGMENT_BYTES_MAX - name.len() - 1;
    match value {
        None => format!("{name}={NULL}"),
        Some(value) => format!("{name}={}", fit(value, room)),
    }
}

/// Percent-encodes all but letters, digits, `-`, `_` and `.`.
fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    text.chars().for_each(|char| encode_char(char, &mut encoded));
    encoded
}

/// A value's encoded text, or where that can't be its name, a shorter one with a digest.
fn fit(value: &str, room: usize) -> String {
    let whole = encode(value);
    if whole.len() <= room && whole != NULL {
        return whole;
    }
    let mut cut = String::with_capacity(room);
    for char in value.chars() {
        let kept = cut.len();
        encode_char(char, &mut cut);
        if cut.len() > room - 1 - DIGEST_DIGITS {
            cut.truncate(kept);
            break;
        }
    }
    cut.push('~');
    cut.push_str(&crate::ledger::hex(&Sha256::digest(value))[..DIGEST_DIGITS]);
    cut
}

fn encode_char(char: char, encoded: &mut String) {
    if char.is_alphanumeric() || matches!(char, '-' | '_' | '.') {
        encoded.push(char);
        return;
    }
    for byte in char.encode_utf8(&mut [0; 4]).bytes() {
        encoded.push('%');
        encoded.push_str(&crate::ledger::hex(&[byte]).to_uppercase());
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::path::{Component, Path};

    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(value: &str, expected: &str) {
        assert_eq!(segment("k", Some(value)), expected);
    }

    #[test]
    fn values_become_one_folder() {
        check("IT-01", "k=IT-01");
        check("", "k=");
        check("..", "k=..");
        check("../../etc/passwd", "k=..%2F..%2Fetc%2Fpasswd");
        check("a=b", "k=a%3Db");
        check("100%", "k=100%25");
        check("%2F", "k=%252F");
        check("12:00 +1", "k=12%3A00%20%2B1");
        check("a\0\n\u{7f}\\", "k=a%00%0A%7F%5C");
        check("São Paulo", "k=São%20Paulo");
        check("a\u{301}", "k=a%CC%81");
        check("*?[x]~", "k=%2A%3F%5Bx%5D%7E");
        assert_eq!(segment("k", None), "k=__HIVE_DEFAULT_PARTITION__");
        check("__HIVE_DEFAULT_PARTITION__", "k=__HIVE_DEFAULT_PARTITION__~8ec3cd044a1b2ac4a73503dcafed3827");
    }

    #[test]
    fn names_are_plain() {
        assert!(["k", "station_id", "k-1.x", "città", &"k".repeat(127)].map(is_name).iter().all(|is| *is));
        assert!(!["", "_k", ".k", "a b", "a=b", "a/b", "a%20b", &"k".repeat(128)].map(is_name).iter().any(|is| *is));
    }

    #[test]
    fn long_values_are_cut_and_told_apart() {
        let (a, b) = ("é".repeat(1000) + "a", "é".repeat(1000) + "b");
        let (name_a, name_b) = (segment("k", Some(&a)), segment("k", Some(&b)));
        assert_ne!(name_a, name_b);
        assert!((250..=255).contains(&name_a.len()), "{}", name_a.len());
        let fits = "x".repeat(253);
        check(&fits, &format!("k={fits}"));
        assert!(segment("k", Some(&(fits + "x"))).contains('~'));
    }

    fn decode(name: &str) -> String {
        let (mut bytes, mut rest) = (Vec::new(), name.as_bytes());
        while let Some((&byte, after)) = rest.split_first() {
            if byte == b'%' {
                bytes.push(u8::from_str_radix(std::str::from_utf8(&after[..2]).unwrap(), 16).unwrap());
                rest = &after[2..];
            } else {
                bytes.push(byte);
                rest = after;
            }
        }
        String::from_utf8(bytes).unwrap()
    }

    proptest! {
        #[test]
        fn no_value_leaves_its_folder(value: String, name in "[a-z][a-z_]{0,126}") {
            let segment = segment(&name, Some(&value));
            prop_assert!(segment.len() <= SEGMENT_BYTES_MAX);
            prop_assert!(!segment.chars().any(|char| char.is_control() || "/\\:*?\"'<>| ".contains(char)));
            let parts: Vec<_> = Path::new(&segment).components().collect();
            prop_assert!(matches!(parts[..], [Component::Normal(_)]));
            let (_, text) = segment.split_once('=').unwrap();
            prop_assert!(text.contains('~') || decode(text) == value);
        }
    }
}
