//! Where the event times of rows are.

/// Where a row's event time is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventTime {
    /// A timestamp column of the definition.
    Column(String),
    /// The record's Kafka timestamp.
    Kafka,
}

impl EventTime {
    /// The Kafka timestamp's column.
    pub const KAFKA: &str = "_kafka_timestamp";

    /// The column of the rows that has it.
    pub fn column(&self) -> &str {
        match self {
            EventTime::Column(name) => name,
            EventTime::Kafka => EventTime::KAFKA,
        }
    }
}
