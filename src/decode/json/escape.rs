//! Escapes in JSON strings: what they stand for. Surrogates count only in pairs.

/// The character of a `\u` escape at the start of `bytes`, or of the two that make a surrogate pair, and its length.
pub(crate) fn unicode_escape(bytes: &[u8]) -> Option<(char, usize)> {
    let first = hex(bytes.get(2..6)?)?;
    if let Some(plain) = char::from_u32(first) {
        return Some((plain, 6));
    }
    let second = match bytes.get(6..12)? {
        [b'\\', b'u', digits @ ..] => hex(digits)?,
        _ => return None,
    };
    if first >= 0xDC00 || !(0xDC00..0xE000).contains(&second) {
        return None;
    }
    char::from_u32(0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00)).map(|pair| (pair, 12))
}

fn hex(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |value, digit| Some(value << 4 | char::from(*digit).to_digit(16)?))
}

/// Writes a scanned text without its escapes after what is in `out`.
pub(crate) fn unescape(inner: &str, out: &mut Vec<u8>) {
    let mut rest = inner;
    while let Some(at) = memchr::memchr(b'\\', rest.as_bytes()) {
        out.extend_from_slice(&rest.as_bytes()[..at]);
        let (character, length) = escaped_character(&rest.as_bytes()[at..]);
        out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        rest = &rest[at + length..];
    }
    out.extend_from_slice(rest.as_bytes());
}

/// The character of an escape that the scanner let through.
fn escaped_character(bytes: &[u8]) -> (char, usize) {
    match bytes[1] {
        b'u' => unicode_escape(bytes).expect("the scanner passed this escape"),
        b'b' => ('\u{8}', 2),
        b'f' => ('\u{c}', 2),
        b'n' => ('\n', 2),
        b'r' => ('\r', 2),
        b't' => ('\t', 2),
        other => (char::from(other), 2),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn pairs_of_surrogates_are_one_character() {
        let unescaped = |inner: &str| {
            let mut out = Vec::new();
            unescape(inner, &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(unescaped(r"\ud83d\ude00 \u00e9\n\/"), "😀 é\n/");
        assert_eq!(unescaped(r#"\b\f\r\t\"\\x"#), "\u{8}\u{c}\r\t\"\\x");
    }

    #[test]
    fn halves_of_pairs_are_none() {
        for bad in [r"\ud83d", r"\ude00", r"\ud83d\ud83d", r"\ud83dx", r"\ud83d\n", r"\u12g4", r"\u+123", r"\u12"] {
            assert_eq!(unicode_escape(bad.as_bytes()), None, "{bad}");
        }
    }
}
