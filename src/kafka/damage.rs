//! How far a batch goes that Kafka's client can't read, so that a person can give up just that batch.
//!
//! The client says where such a batch begins, and not where it ends. But a broker sends the whole batch that holds the
//! position it is asked for: as long as the same beginning is told, the position is inside.

use std::time::{Duration, Instant};

use rdkafka::Offset;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::bulk::Messages;
use super::client::{ANSWER_WITHIN, Broker, BrokerError, positions};
use super::ffi::Trouble;
use super::gate::TOO_LARGE;
use crate::model::Partition;

/// How long one look at what the client has may take.
const POLL: Duration = Duration::from_millis(20);
/// What is asked, in errors.
const READING: &str = "the records";

/// What is at a position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    /// A batch that can't be read, which begins there.
    Damaged(i64),
    /// The next record, or the end of the log.
    Readable(i64),
    /// A batch that begins there, and for which there is not enough memory here; with the client's words.
    TooLarge(i64, String),
}

/// Whether an error of the client's says that a batch is damaged: its checksum or its format is wrong. The client asks for
/// it again and again, or leaves it out.
pub(crate) fn is_damage(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode::*;
    matches!(code, BadMessage | BadCompression | NotImplemented | Underflow | InvalidMessage)
}

/// Whether it says that a batch is too large. That is a limit of this process, never damage.
pub(crate) fn is_too_large(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode::*;
    code == TOO_LARGE || matches!(code, InvalidMessageSize | MessageSizeTooLarge)
}

/// Where the damaged batch ends that begins at `first` and holds the position `inside`; it ends before `end`, or there.
pub(crate) fn end_of_batch<E>(
    first: i64,
    mut inside: i64,
    end: i64,
    look: impl Fn(i64) -> Result<Found, E>,
) -> Result<i64, E> {
    let same = |position| Ok::<_, E>(look(position)? == Found::Damaged(first));
    let (mut after, mut step) = (end, 1);
    while inside + step < end {
        if !same(inside + step)? {
            after = inside + step;
            break;
        }
        inside += step;
        step *= 2;
    }
    while after - inside > 1 {
        let middle = inside + (after - inside) / 2;
        if same(middle)? {
            inside = middle;
        } else {
            after = middle;
        }
    }
    Ok(after)
}

impl Broker {
    /// What is at a position. Blocks.
    ///
    /// With a client of its own: after a damaged batch librdkafka reads on from wherever it is by then, takes what it finds there
    /// for an offset, and asks the brokers for that.
    pub(crate) fn look_at(&self, partition: &Partition, position: i64) -> Result<Found, BrokerError> {
        let one = self.another()?;
        let found = one.first_at(partition, position);
        one.close();
        found
    }

    fn first_at(&self, partition: &Partition, position: i64) -> Result<Found, BrokerError> {
        let refused = |cause| BrokerError::Refused { doing: READING, partition: partition.clone(), cause };
        let (consumer, asked) = (self.consumer(), Instant::now());
        let (messages, mut taken) = (Messages::new(&consumer), Vec::new());
        messages.follow(&consumer, partition);
        consumer.assign(&positions([(partition, Offset::Offset(position))])).map_err(refused)?;
        while asked.elapsed() < ANSWER_WITHIN {
            self.listen();
            messages.take(&mut taken, 1, POLL);
            let Some(message) = taken.first() else { continue };
            match message.trouble() {
                None => return Ok(Found::Readable(message.offset())),
                Some(Trouble { code, reason, place, .. }) => match (code, place.and_then(|(_, offset)| offset)) {
                    (RDKafkaErrorCode::PartitionEOF, Some(offset)) => return Ok(Found::Readable(offset)),
                    (code, Some(offset)) if is_damage(code) => return Ok(Found::Damaged(offset)),
                    (code, Some(offset)) if is_too_large(code) => return Ok(Found::TooLarge(offset, reason)),
                    (code, _) if is_damage(code) || code == RDKafkaErrorCode::AutoOffsetReset => {
                        return Err(refused(KafkaError::MessageConsumption(code)));
                    }
                    (code, _) => consumer.context().note(Some(code), &reason),
                },
            }
        }
        let silent = KafkaError::MessageConsumption(RDKafkaErrorCode::OperationTimedOut);
        Err(self.unreachable("reading records", silent))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::cell::Cell;
    use std::convert::Infallible;

    use super::*;

    /// Damaged batches are at 10 to 20 and at 30 to 1000; the log ends there.
    fn look(position: i64) -> Result<Found, Infallible> {
        Ok(match position {
            10..20 => Found::Damaged(10),
            20..30 => Found::Readable(position),
            _ => Found::Damaged(30),
        })
    }

    #[test]
    fn a_batch_ends_where_another_one_begins() {
        for inside in 10..20 {
            assert_eq!(end_of_batch(10, inside, 1_000, look).unwrap(), 20, "from {inside}");
        }
        let looks = Cell::new(0);
        let counted = |position| {
            looks.set(looks.get() + 1);
            look(position)
        };
        assert_eq!(end_of_batch(30, 30, 1_000, counted).unwrap(), 1_000, "the last one ends with the log");
        assert!(looks.get() <= 20, "{} looks", looks.get());
        assert_eq!(end_of_batch(30, 999, 1_000, look).unwrap(), 1_000);
    }
}
