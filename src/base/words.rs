//! How numbers, sizes, times, errors and payloads are written for people.

use std::time::Duration;

/// `1234567` as `1,234,567`.
pub(crate) fn number(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number and what is counted: `1 partition`, `2 partitions`, `3 entries`. The word is in the singular.
pub(crate) fn plural(count: u64, word: &str) -> String {
    let count_text = number(count);
    match word.strip_suffix("try") {
        _ if count == 1 => format!("{count_text} {word}"),
        Some(stem) => format!("{count_text} {stem}tries"),
        None => format!("{count_text} {word}s"),
    }
}

/// Bytes in the largest binary unit that leaves a number above one.
pub(crate) fn bytes(value: u64) -> String {
    indicatif::BinaryBytes(value).to_string()
}

/// Seconds with a digit or two that matter.
pub(crate) fn duration(value: Duration) -> String {
    match value.as_secs_f64() {
        seconds if seconds < 10.0 => format!("{seconds:.2} s"),
        seconds if seconds < 120.0 => format!("{seconds:.1} s"),
        seconds => format!("{} min {:.0} s", seconds as u64 / 60, seconds % 60.0),
    }
}

/// A path as one word of a shell's command line.
pub(crate) fn shell(path: &std::path::Path) -> String {
    let text = path.display().to_string();
    let plain = |letter: char| letter.is_alphanumeric() || "/._-+=:@%,".contains(letter);
    if !text.is_empty() && text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

/// An error and what caused it, in one line; a cause that its error already quotes is not said twice.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        cause = error.source();
    }
    text
}

/// Returns the beginning of a payload as text that is safe to print. What is cut ends in `…`.
pub(crate) fn shorten(payload: &[u8], chars: usize) -> String {
    match beginning(payload, chars) {
        (text, true) => text + "…",
        (text, false) => text,
    }
}

/// Returns the beginning of a payload, and whether there is more of it. Control characters and
/// bytes that are no text are escaped.
pub(crate) fn beginning(payload: &[u8], chars: usize) -> (String, bool) {
    // No character has more than four bytes: what comes after these is not shown, and not looked
    // at.
    let looked_at = &payload[..payload.len().min((chars + 1).saturating_mul(4))];
    let (mut text, mut shown) = (String::new(), 0);
    for chunk in looked_at.utf8_chunks() {
        for letter in chunk.valid().chars() {
            match letter {
                _ if shown == chars => return (text, true),
                control if control.is_control() => text.extend(control.escape_default()),
                plain => text.push(plain),
            }
            shown += 1;
        }
        for byte in chunk.invalid() {
            if shown == chars {
                return (text, true);
            }
            text.push_str(&format!("\\x{byte:02x}"));
            shown += 1;
        }
    }
    (text, false)
}

/// Returns a text whole, or its beginning and how long it was, if it has more bytes than that.
pub(crate) fn cut(text: &str, bytes_max: usize) -> std::borrow::Cow<'_, str> {
    if text.len() <= bytes_max {
        return text.into();
    }
    let end = (0..=bytes_max).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default();
    let beginning = &text[..end];
    format!("{beginning}… (the first of {} bytes)", number(text.len() as u64)).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(number), ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn one_is_no_plural() {
        let words = [0, 1, 2, 1000].map(|count| plural(count, "partition"));
        assert_eq!(words, ["0 partitions", "1 partition", "2 partitions", "1,000 partitions"]);
        assert_eq!([1, 2].map(|count| plural(count, "entry")), ["1 entry", "2 entries"]);
    }

    #[test]
    fn paths_are_one_word() {
        let words = ["p/a_b-1.toml", "my file.toml", "it's", "$HOME", ""].map(|path| shell(path.as_ref()));
        assert_eq!(words, ["p/a_b-1.toml", "'my file.toml'", r"'it'\''s'", "'$HOME'", "''"]);
    }

    #[test]
    fn payloads_are_safe_to_print() {
        assert_eq!(shorten(b"{\"a\":\xff\x1b[31m}", 60), "{\"a\":\\xff\\u{1b}[31m}");
        assert_eq!(shorten("é".repeat(100).as_bytes(), 60), "é".repeat(60) + "…");
        assert_eq!(shorten("é".repeat(60).as_bytes(), 60), "é".repeat(60));
        assert_eq!(shorten(&[0xff; 61], 60), "\\xff".repeat(60) + "…");
        assert_eq!(shorten("🦀".repeat(61).as_bytes(), 60), "🦀".repeat(60) + "…");
        assert_eq!(shorten(b"", 0), "");
    }

    #[test]
    fn a_large_payload_costs_no_more_than_what_is_shown() {
        // Text of any length, and bytes that are no text at its end, give the same beginning.
        let mut payload = vec![b'x'; 40 << 20];
        payload.push(0xff);
        let shown = shorten(&payload, 1024);
        assert_eq!(shown, "x".repeat(1024) + "…");
        assert!(shown.capacity() < 8 * 1024, "{}", shown.capacity());
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        assert_eq!(cut("abc", 3), "abc");
        assert_eq!(cut("aéé", 2), "a… (the first of 5 bytes)");
    }
}
