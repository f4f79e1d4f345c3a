//! The text of a hive path: how a key's value becomes one folder's name, and back.
//!
//! Promises, for any value whatever: the folder's name is one path part of 255 bytes at the most; it can't be `.` or `..`, hold a
//! separator, a control character, a glob or anything else that a shell, a URL or another system reads; and the value
//! comes back whole.
//!
//! - Letters and digits (of any script), `-`, `_` and `.` stand for themselves. Every other byte is percent-encoded.
//!   pyarrow, pandas, polars and DuckDB decode this, and read `key=` as the empty string.
//! - `__HIVE_DEFAULT_PARTITION__` is null for these readers. (pandas 3.1 can't open a dataset that has such a folder and
//!   another one, so a key is better `required` or given a `default`.)
//! - A value that a name can't hold ([`is_value`]), because it is too long or equal to that word, has no folder. The
//!   validator rejects its record by the rule `folder_name`.
//! - Early datasets have folders of such values: what fits, then `~` and 128 bits of the value's SHA-256
//!   ([`Value::Digest`]). They are read and verified; none are made any more. Only such names have a bare `~`.

use super::{escape, unescape};

/// Limits the hive keys of a dataset: the names of their folders leave half of a path's 4096 bytes.
pub const KEYS_MAX: usize = 8;

/// The hive key of windows of time.
pub const WINDOW: &str = "window";

/// Bytes that common file systems allow in one path part.
pub const SEGMENT_BYTES_MAX: usize = 255;

/// Bytes of a key's name: half of a path part stays for its value.
pub const NAME_BYTES_MAX: usize = 127;

/// Bytes of a digest in a name: 128 bits as hexadecimal digits.
const DIGEST_DIGITS: usize = 32;

/// The value of null.
const NULL: &str = "__HIVE_DEFAULT_PARTITION__";

/// What a folder's name says of its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// No value.
    Null,
    /// This one.
    Text(String),
    /// One that begins so, and doesn't fit. Of an early dataset.
    Digest(String),
}

/// Whether a key of this name is seen, and under this name, by every reader.
///
/// polars and DuckDB decode values but not names. pyarrow and pandas pass over folders that begin with `_` or `.`, without
/// a word.
pub fn is_name(name: &str) -> bool {
    name.starts_with(char::is_alphanumeric) && name.len() <= NAME_BYTES_MAX && name.chars().all(is_plain)
}

/// Bytes that a key's encoded value may have in a folder's name.
pub fn room(name: &str) -> usize {
    SEGMENT_BYTES_MAX - 1 - name.len().min(NAME_BYTES_MAX)
}

/// Whether a value can be whole in a folder's name that has so much [`room`].
pub fn is_value(value: &str, room: usize) -> bool {
    // An encoded byte has three.
    is_short_value(value.as_bytes(), room) || encoded_length(value) <= room && value != NULL
}

/// The same where it is plain at a look: most values are far shorter than a name.
#[inline]
pub fn is_short_value(value: &[u8], room: usize) -> bool {
    value.len() * 3 <= room && value.first() != Some(&b'_')
}

/// `name=value`, for a name that [`is_name`]; none for a value that [`is_value`] denies.
pub fn segment(name: &str, value: Option<&str>) -> Option<String> {
    match value {
        None => Some(format!("{name}={NULL}")),
        Some(value) if is_value(value, room(name)) => {
            Some(format!("{name}={}", escape(value, |_, char| is_plain(char))))
        }
        Some(_) => None,
    }
}

/// The key and the value of a folder's name; none if no weir makes such a one.
pub fn parse(segment: &str) -> Option<(&str, Value)> {
    let (name, text) = segment.split_once('=').filter(|(name, _)| is_name(name))?;
    let value = match text.rsplit_once('~') {
        _ if text == NULL => Value::Null,
        Some((start, digest)) => {
            let hexadecimal = digest.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
            Value::Digest(unescape(start).filter(|_| hexadecimal && digest.len() == DIGEST_DIGITS)?)
        }
        None => Value::Text(unescape(text)?),
    };
    Some((name, value))
}

fn is_plain(char: char) -> bool {
    char.is_alphanumeric() || matches!(char, '-' | '_' | '.')
}

fn encoded_length(value: &str) -> usize {
    value.chars().map(|char| if is_plain(char) { char.len_utf8() } else { 3 * char.len_utf8() }).sum()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::path::{Component, Path};

    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(value: &str, expected: &str) {
        assert_eq!(segment("k", Some(value)).as_deref(), Some(expected));
        assert_eq!(parse(expected), Some(("k", Value::Text(value.to_owned()))));
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
        assert_eq!(segment("k", None).as_deref(), Some("k=__HIVE_DEFAULT_PARTITION__"));
        assert_eq!(parse("k=__HIVE_DEFAULT_PARTITION__"), Some(("k", Value::Null)));
        assert_eq!(segment("k", Some("__HIVE_DEFAULT_PARTITION__")), None);
    }

    #[test]
    fn names_are_plain() {
        assert!(["k", "station_id", "k-1.x", "città", &"k".repeat(127)].map(is_name).iter().all(|is| *is));
        assert!(!["", "_k", ".k", "a b", "a=b", "a/b", "a%20b", &"k".repeat(128)].map(is_name).iter().any(|is| *is));
    }

    #[test]
    fn a_value_that_does_not_fit_has_no_folder() {
        let fits = "x".repeat(253);
        check(&fits, &format!("k={fits}"));
        assert_eq!(segment("k", Some(&(fits + "x"))), None);
        // Each is nine bytes in the name.
        assert!(is_value(&"€".repeat(28), room("k")) && !is_value(&"€".repeat(29), room("k")));
        assert!(is_value(&"é".repeat(126), room("k")) && !is_value(&"é".repeat(127), room("k")));
    }

    #[test]
    fn folders_of_early_datasets_are_read() {
        let null = "k=__HIVE_DEFAULT_PARTITION__~8ec3cd044a1b2ac4a73503dcafed3827";
        assert_eq!(parse(null), Some(("k", Value::Digest("__HIVE_DEFAULT_PARTITION__".into()))));
        let long = format!("città={}%20~{}", "x".repeat(200), "0".repeat(32));
        assert_eq!(parse(&long), Some(("città", Value::Digest("x".repeat(200) + " "))));
        for none in ["k=a~", "k=a~0123", "k=~zz", "k", "=v", "_k=v", "k=%2", "k=%FF", "a b=c"] {
            assert_eq!(parse(none), None, "{none}");
        }
    }

    /// Names of keys: letters and digits of any script, and `-`, `_`, `.`.
    fn name() -> impl Strategy<Value = String> {
        prop::collection::vec(any::<char>().prop_filter("plain", |char| is_plain(*char)), 1..30)
            .prop_map(|chars| chars.into_iter().collect::<String>())
            .prop_filter("a name", |name| is_name(name))
    }

    proptest! {
        #[test]
        fn every_value_comes_back(value: String, name in name()) {
            let Some(segment) = segment(&name, Some(&value)) else {
                prop_assert!(value == NULL || encoded_length(&value) > room(&name));
                return Ok(());
            };
            prop_assert_eq!(parse(&segment), Some((name.as_str(), Value::Text(value))));
            prop_assert!(segment.len() <= SEGMENT_BYTES_MAX);
            prop_assert!(!segment.chars().any(|char| char.is_control() || "/\\:*?\"'<>| ".contains(char)));
            let parts: Vec<_> = Path::new(&segment).components().collect();
            prop_assert!(matches!(parts[..], [Component::Normal(_)]));
        }

        /// Any bytes that a folder may be called by: nothing panics, and nothing is read as two things.
        #[test]
        fn any_folder_is_read_or_refused(folder: String) {
            if let Some((name, Value::Text(value))) = parse(&folder) {
                prop_assert!(is_name(name));
                let again = segment(name, Some(&value));
                prop_assert!(again.is_none_or(|again| parse(&again) == Some((name, Value::Text(value)))));
            }
        }
    }

    /// Each character of Unicode, alone and between others.
    #[test]
    fn every_character_comes_back() {
        for char in '\0'..=char::MAX {
            let value = format!("{char}a{char}");
            let folder = segment("k", Some(&value)).unwrap();
            assert_eq!(parse(&folder), Some(("k", Value::Text(value))), "{folder}");
        }
    }
}
