//! Sizes like `128MiB` and durations like `1m`: a whole number and a unit, nothing else.

use std::time::Duration;

const SIZES: [(&str, u64); 9] = [
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
];

const DURATIONS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// A kind of amount: how it is read and written.
pub(crate) struct Amount<T> {
    /// What it looks like, for messages.
    pub(crate) what: &'static str,
    pub(crate) read: fn(&str) -> Option<T>,
    pub(crate) show: fn(T) -> String,
}

/// Sizes in bytes.
pub(crate) const SIZE: Amount<u64> = Amount {
    what: "a size such as \"128MiB\" (a whole number and B, KiB, MiB, GiB, TiB, kB, MB, GB or TB)",
    read: size,
    show: show_size,
};

/// Durations.
pub(crate) const DURATION: Amount<Duration> = Amount {
    what: "a duration such as \"30s\" (a whole number and ms, s, m, h or d)",
    read: duration,
    show: show_duration,
};

/// Bytes of a size such as `128MiB`.
pub(crate) fn size(text: &str) -> Option<u64> {
    amount(text, &SIZES)
}

/// A duration such as `500ms`.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    amount(text, &DURATIONS).map(Duration::from_millis)
}

/// The size that [`size`] reads as `bytes`, in the largest binary unit that holds it exactly.
pub(crate) fn show_size(bytes: u64) -> String {
    let fits = |(_, factor): &&(&str, u64)| bytes >= *factor && bytes.is_multiple_of(*factor);
    let (unit, factor) = SIZES[..5].iter().rev().find(fits).unwrap_or(&SIZES[0]);
    format!("{}{unit}", bytes / factor)
}

/// The duration in the largest unit that holds it exactly.
pub(crate) fn show_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    let fits = |(_, factor): &&(&str, u64)| millis >= u128::from(*factor) && millis.is_multiple_of(u128::from(*factor));
    let (unit, factor) = DURATIONS.iter().rev().find(fits).unwrap_or(&DURATIONS[0]);
    format!("{}{unit}", millis / u128::from(*factor))
}

fn amount(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let unit_start = text.find(|character: char| !character.is_ascii_digit())?;
    let (number, unit) = text.split_at(unit_start);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit.trim_start())?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [("1B", 1), ("128MiB", 128 << 20), ("64 KiB", 64 << 10), ("1GB", 1_000_000_000), ("0B", 0)]
        {
            assert_eq!(size(text), Some(bytes), "{text}");
        }
        for text in
            ["", "128", "MiB", "1.5MiB", "-1B", "128mib", "128M", "20000000TiB", "99999999999999999999B", "1MiB "]
        {
            assert_eq!(size(text), None, "{text}");
        }
    }

    #[test]
    fn durations() {
        for (text, millis) in [("500ms", 500), ("1m", 60_000), ("2h", 7_200_000), ("1d", 86_400_000), ("30 s", 30_000)]
        {
            assert_eq!(duration(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "1", "s", "1min", "1m30s", "0.5s", "-1s"] {
            assert_eq!(duration(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_shown_is_read_back() {
        for bytes in [0, 1, 1023, 1024, 1536, 128 << 20, 1_000_000] {
            assert_eq!(size(&show_size(bytes)), Some(bytes));
        }
        for millis in [0, 1, 1500, 60_000, 90_000, 86_400_000] {
            let given = Duration::from_millis(millis);
            assert_eq!(duration(&show_duration(given)), Some(given));
        }
    }
}
