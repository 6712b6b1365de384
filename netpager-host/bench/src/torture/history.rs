//! Whether what many clients saw of one register can be explained by one order of their operations.
//!
//! A sector of an export is a register: operations on it overlap in time, and a correct server behaves as if each took
//! place at one moment between its call and its answer (linearizability, Herlihy and Wing 1990). As every write writes a
//! value of its own, each read says which write it saw, and the question can be decided by sorting (Gibbons and Korach,
//! "Testing shared memories", 1997): an operation and the reads of its value form a zone; a value must live at least from
//! the first answer to the last call of its zone. Two values that must live at the same time, or one that must fit inside
//! another's life, have no explanation.

use std::collections::HashMap;

/// A moment; whatever unit, as long as it is the same for all.
pub type Moment = u64;

/// The value of a register that nobody has written.
pub const INITIAL: u64 = 0;

/// What one client did to a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Whether it wrote the value, or read it.
    pub is_write: bool,
    /// The value; no two writes have the same, and none is [`INITIAL`].
    pub value: u64,
    /// When it was called.
    pub call: Moment,
    /// When it was answered; [`Moment::MAX`] for a write that failed or was never answered: it may take place at any time.
    pub answer: Moment,
}

/// Why there is no explanation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages are the documentation")]
pub enum Inconsistency {
    #[error("value {0:#x} was read, and nobody wrote it")]
    NeverWritten(u64),
    #[error("value {0:#x} was written twice: the history is of no use")]
    WrittenTwice(u64),
    #[error("value {0:#x} was read before it was written")]
    FromTheFuture(u64),
    #[error("value {0:#x} came back after {1:#x} had replaced it")]
    Revived(u64, u64),
    #[error("value {0:#x} was seen, but only inside the time in which {1:#x} must have been there")]
    Inside(u64, u64),
}

/// A value's operations: the moments between which it must be there, or a span in which it may be for a moment.
#[derive(Clone, Copy, Debug)]
struct Zone {
    value: u64,
    write_call: Option<Moment>,
    first_answer: Moment,
    last_call: Moment,
    first_read_answer: Moment,
}

impl Zone {
    const fn must_live(&self) -> bool {
        self.first_answer < self.last_call
    }
}

/// Looks for an explanation of all that was done to one register.
///
/// # Errors
/// There is none.
pub fn explain(operations: &[Operation]) -> Result<(), Inconsistency> {
    let zones = zones(operations)?;
    let (mut lives, moments): (Vec<Zone>, Vec<Zone>) = zones.into_iter().partition(Zone::must_live);
    lives.sort_by_key(|zone| zone.first_answer);
    for pair in lives.windows(2) {
        if pair[1].first_answer < pair[0].last_call {
            return Err(Inconsistency::Revived(pair[0].value, pair[1].value));
        }
    }
    for zone in moments {
        // The only life that can hold it is the last one that begins before it.
        let before = lives.partition_point(|life| life.first_answer < zone.last_call);
        if let Some(life) = before.checked_sub(1).map(|index| lives[index])
            && zone.first_answer < life.last_call
        {
            return Err(Inconsistency::Inside(zone.value, life.value));
        }
    }
    Ok(())
}

fn zones(operations: &[Operation]) -> Result<Vec<Zone>, Inconsistency> {
    let mut zones = HashMap::new();
    let first = Operation { is_write: true, value: INITIAL, call: 0, answer: 0 };
    for operation in std::iter::once(&first).chain(operations) {
        let Operation { is_write, value, call, answer } = *operation;
        let empty = Zone { value, write_call: None, first_answer: Moment::MAX, last_call: 0, first_read_answer: Moment::MAX };
        let zone: &mut Zone = zones.entry(value).or_insert(empty);
        zone.first_answer = zone.first_answer.min(answer);
        zone.last_call = zone.last_call.max(call);
        if !is_write {
            zone.first_read_answer = zone.first_read_answer.min(answer);
        } else if zone.write_call.replace(call).is_some() {
            return Err(Inconsistency::WrittenTwice(value));
        }
    }
    for zone in zones.values() {
        match zone.write_call {
            None => return Err(Inconsistency::NeverWritten(zone.value)),
            Some(call) if zone.first_read_answer < call => return Err(Inconsistency::FromTheFuture(zone.value)),
            Some(_) => {}
        }
    }
    // A write of unknown outcome that nobody saw explains itself: it has not taken place.
    Ok(zones.into_values().filter(|zone| zone.first_answer != Moment::MAX).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn write(value: u64, call: Moment, answer: Moment) -> Operation {
        Operation { is_write: true, value, call, answer }
    }

    fn read(value: u64, call: Moment, answer: Moment) -> Operation {
        Operation { is_write: false, value, call, answer }
    }

    #[test]
    fn every_kind_of_lie_is_found() {
        assert_eq!(explain(&[read(9, 1, 2)]), Err(Inconsistency::NeverWritten(9)));
        assert_eq!(explain(&[write(1, 1, 2), write(1, 3, 4)]), Err(Inconsistency::WrittenTwice(1)));
        assert_eq!(explain(&[read(1, 1, 2), write(1, 3, 4)]), Err(Inconsistency::FromTheFuture(1)));
        // An acknowledged write was lost.
        assert!(explain(&[write(1, 1, 2), write(2, 3, 4), read(1, 5, 6)]).is_err());
        assert!(explain(&[write(1, 1, 2), read(INITIAL, 3, 4)]).is_err());
        // Two reads, one after the other, saw two writes in the wrong order.
        assert!(explain(&[write(1, 1, 10), write(2, 1, 10), read(1, 11, 12), read(2, 13, 14)]).is_err());
    }

    #[test]
    fn overlap_and_doubt_are_allowed() {
        assert_eq!(explain(&[write(1, 1, 10), read(INITIAL, 2, 9), read(1, 3, 4), write(2, 5, 6), read(2, 11, 12)]), Ok(()));
        // A write that failed took place after all, later than its error; another never did.
        assert_eq!(explain(&[write(1, 1, 2), write(2, 3, Moment::MAX), read(1, 5, 6), read(2, 7, 8), write(3, 1, Moment::MAX)]), Ok(()));
        // But not twice.
        assert!(explain(&[write(1, 1, 2), write(2, 3, Moment::MAX), read(2, 5, 6), read(1, 7, 8)]).is_err());
    }

    /// Tries all orders.
    fn by_force(operations: &[Operation]) -> bool {
        fn go(left: &[Operation], value: u64) -> bool {
            if left.iter().all(|operation| operation.answer == Moment::MAX) {
                return true;
            }
            (0..left.len()).any(|index| {
                let next = left[index];
                let too_early = left.iter().any(|other| other.answer < next.call);
                let mut rest = left.to_vec();
                rest.remove(index);
                !too_early && (next.is_write || next.value == value) && go(&rest, next.value)
            })
        }
        go(operations, INITIAL)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn agrees_with_trying_all_orders(shapes in prop::collection::vec((any::<bool>(), 0u64..4, 1u64..60, 1u64..30, 0u8..8), 1..7)) {
            let mut operations = Vec::new();
            for (index, (is_write, seen, call, time, doubt)) in shapes.into_iter().enumerate() {
                // All moments differ, as the sorting takes "at the same time" for an overlap.
                let (call, end) = (call * 64 + index as u64, (call + time) * 64 + 32 + index as u64);
                let value = if is_write { index as u64 + 1 } else { seen };
                let answer = if is_write && doubt == 0 { Moment::MAX } else { end };
                operations.push(Operation { is_write, value, call, answer });
            }
            prop_assert_eq!(explain(&operations).is_ok(), by_force(&operations), "{:?}", operations);
        }
    }
}
