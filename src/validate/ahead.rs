//! The guard of event time: a row must have one, and it can't be far in the future.
//!
//! One record from the year 9999 would close every window there is. What "future" is must not depend on when weir reads a
//! record, so it is measured against the time that Kafka has for it.

use crate::decode::{Problem, Rule};
use crate::model::pipeline::Column;
use crate::model::time::{kafka_instant, show};
use crate::model::window::EventTime;
use crate::model::window::Window;
use crate::validate::row::Fault;

/// What a pipeline asks of event times.
#[derive(Debug)]
pub(crate) struct Ahead {
    /// The column of event times; none for the Kafka timestamp.
    column: Option<usize>,
    max_ahead: i64,
}

impl Ahead {
    /// None where windows have nothing to do with time.
    ///
    /// # Panics
    /// When the definition has no such column; reading it refuses that.
    pub(crate) fn new(window: &Window, columns: &[Column]) -> Option<Self> {
        let kind = window.kind();
        let column = match kind.event_time()? {
            EventTime::Kafka => None,
            EventTime::Column(name) => {
                let at = columns.iter().position(|column| column.name == *name);
                Some(at.unwrap_or_else(|| panic!("window.time names {name}, which is no column")))
            }
        };
        Some(Ahead { column, max_ahead: kind.max_ahead() })
    }

    /// Whether a row has an event time that windows can be made of. `instant` answers with a column's
    /// instant in the row; `kafka_ms` is the record's Kafka timestamp.
    pub(crate) fn check(&self, instant: impl Fn(usize) -> Option<i64>, kafka_ms: Option<i64>) -> Result<(), Fault> {
        let fault = |problem| Err(Fault { column: self.column, problem });
        let Some(kafka_ms) = kafka_ms else {
            let found = "a record that Kafka has no timestamp for";
            return fault(Problem::expected(
                Rule::Required,
                "a Kafka timestamp, to compare the event time with",
                found,
            ));
        };
        // Measured against a nonsense time, nothing would be far in the future.
        let Some(kafka) = kafka_instant(kafka_ms) else {
            let expected = "a Kafka timestamp from the year 1 to 9999, in milliseconds since 1970";
            return fault(Problem::expected(Rule::Range, expected, &kafka_ms.to_string()));
        };
        let Some(column) = self.column else { return Ok(()) };
        match instant(column) {
            None => fault(Problem::expected(Rule::Required, "an event time", "none")),
            Some(time) if time > kafka.saturating_add(self.max_ahead) => {
                let limit = show(kafka.saturating_add(self.max_ahead));
                let expected = format!("at most {limit}, which is window.max_ahead after the record's Kafka timestamp");
                fault(Problem::expected(Rule::MaxAhead, &expected, &show(time)))
            }
            Some(_) => Ok(()),
        }
    }
}
