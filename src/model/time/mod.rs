//! Instants and dates: the calendar, and times as text.
//!
//! Instants are microseconds since 1970 UTC from the year 1 to 9999, which every reader of the dataset can show.

pub(crate) mod civil;
pub(crate) mod strptime;

use jiff::SignedDuration;
use jiff::civil::DateTime;

use civil::SECOND;

/// 0001-01-01T00:00:00Z
pub(crate) const INSTANT_MIN: i64 = -62_135_596_800 * SECOND;
/// 9999-12-31T23:59:59.999999Z
pub(crate) const INSTANT_MAX: i64 = 253_402_300_800 * SECOND - 1;
/// 0001-01-01
pub(crate) const DAY_MIN: i32 = -719_162;
/// 9999-12-31
pub(crate) const DAY_MAX: i32 = 2_932_896;

/// A Kafka timestamp in microseconds, where a column can hold it.
///
/// Producers choose it, and brokers take what they are given: microseconds in the place of milliseconds are a common mistake.
pub(crate) fn kafka_instant(millis: i64) -> Option<i64> {
    millis.checked_mul(1000).filter(|micros| (INSTANT_MIN..=INSTANT_MAX).contains(micros))
}

/// An instant as people write it.
pub(crate) fn show(micros: i64) -> String {
    clock(micros).map_or_else(|_| micros.to_string(), |clock| format!("{clock}Z"))
}

/// What a clock shows so many microseconds after 1970-01-01T00:00:00 on it.
pub(crate) fn clock(micros: i64) -> Result<DateTime, jiff::Error> {
    DateTime::constant(1970, 1, 1, 0, 0, 0, 0).checked_add(SignedDuration::from_micros(micros))
}
