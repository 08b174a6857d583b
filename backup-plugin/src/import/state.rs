//! The state machine's records as they go by: what must be there once, sequence numbers, key lengths, nodes.

use std::collections::BTreeMap;

use roaring::RoaringTreemap;

use super::{At, Once, Refusal, log::check_membership};
use crate::record::{LogId, MAX_KEY_BYTES, Node, SeqV, StateRecord, StoredMembership};

#[derive(Debug, Default)]
pub(super) struct StateCheck {
    pub(super) applied: Once<LogId>,
    pub(super) membership: Once<StoredMembership>,
    sequence: Once<u64>,
    pub(super) nodes: BTreeMap<u64, Node>,
    seqs: RoaringTreemap,
    /// The largest sequence number of a record.
    largest: Option<At<u64>>,
    records: u64,
    /// Of them, those that something must have been applied for.
    applied_records: u64,
}

impl StateCheck {
    pub(super) fn push(&mut self, line: u64, record: &StateRecord) -> Result<(), Refusal> {
        self.records += 1;
        self.applied_records += u64::from(!record.is_blank());
        match record {
            StateRecord::Sequence(sequence) => self.sequence.set("Sequences", line, *sequence),
            StateRecord::LastApplied(log_id) => self.applied.set("LastApplied", line, *log_id),
            StateRecord::LastMembership(stored) => {
                // One of nobody is well where nothing was applied, which is known at the end.
                if !record.is_blank() {
                    check_membership(&stored.membership)?;
                }
                self.membership.set("LastMembership", line, stored.clone())
            }
            StateRecord::Node { id, node } => match self.nodes.insert(*id, node.clone()) {
                Some(_) => Err(Refusal::NodeTwice { id: *id }),
                None => Ok(()),
            },
            StateRecord::Kv { key, value } => self.push_kv(line, key, value),
            StateRecord::Expire { .. } | StateRecord::Ignored => Ok(()),
        }
    }

    fn push_kv(&mut self, line: u64, key: &str, value: &SeqV) -> Result<(), Refusal> {
        let seq = value.seq;
        if !(1..=MAX_KEY_BYTES).contains(&key.len()) {
            return Err(Refusal::KeyLength { len: key.len() });
        }
        if seq == 0 {
            return Err(Refusal::SeqZero);
        }
        if !self.seqs.insert(seq) {
            return Err(Refusal::SeqTwice { seq });
        }
        if self.largest.is_none_or(|largest| seq > largest.value) {
            self.largest = Some(At { line, value: seq });
        }
        Ok(())
    }

    /// Whether the input has a state machine at all.
    pub(super) fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// Whether it is the state of a node that has applied nothing: its membership is nobody's, and there is nothing
    /// else.
    pub(super) fn is_blank(&self) -> bool {
        self.applied_records == 0 && self.membership.get().is_some()
    }

    /// Whether the counter covers every sequence number. The line is that of the record it does not cover.
    pub(super) fn check_sequence(&self) -> Result<(), At<Refusal>> {
        let refuse = |at: At<u64>, refusal| Err(At { line: at.line, value: refusal });
        match (self.largest, self.sequence.get()) {
            (Some(largest), None) => refuse(largest, Refusal::NoSequence),
            (Some(largest), Some(counter)) if largest.value > *counter => {
                refuse(largest, Refusal::SeqAboveCounter { seq: largest.value, counter: *counter })
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::StateCheck;
    use crate::record::{LogId, MAX_KEY_BYTES, Node, SeqV, StateRecord, StoredMembership};

    fn kv(key: &str, seq: u64) -> StateRecord {
        StateRecord::Kv { key: key.to_owned(), value: SeqV { seq, ..SeqV::default() } }
    }

    /// The first refusal, with the line it belongs to.
    fn check(records: &[StateRecord]) -> Result<(), String> {
        let mut state = StateCheck::default();
        for (line, record) in (1..).zip(records) {
            state.push(line, record).map_err(|refusal| format!("{line}: {refusal}"))?;
        }
        state.check_sequence().map_err(|at| format!("{}: {}", at.line, at.value))
    }

    #[test]
    fn records_that_can_not_be_are_refused() {
        let node = StateRecord::Node { id: 3, node: Node::default() };
        let long = "k".repeat(MAX_KEY_BYTES + 1);
        let cases = [
            (vec![kv("", 1)], "1: a key of 0 bytes: a key has 1 to 65000 bytes"),
            (vec![kv(&long, 1)], "1: a key of 65001 bytes: a key has 1 to 65000 bytes"),
            (vec![kv("a", 0)], "1: seq 0: sequence numbers start at 1"),
            (vec![kv("a", 7), kv("b", 7)], "2: seq 7 belongs to an earlier record already"),
            (vec![node.clone(), node], "2: node 3 has a record already"),
            (
                vec![StateRecord::Sequence(9), StateRecord::Sequence(9)],
                "2: a second `Sequences` record; the first is in line 1",
            ),
            (
                vec![kv("a", 7), kv("b", 9), kv("c", 3), StateRecord::Sequence(8)],
                "2: seq 9 is above 8, the last one given out according to `Sequences`",
            ),
            (vec![kv("a", 7)], "1: there are keys but no `Sequences` record"),
        ];
        for (records, expected) in cases {
            assert_eq!(check(&records).unwrap_err(), expected);
        }
    }

    #[test]
    fn any_order_and_a_counter_that_is_ahead_are_fine() {
        let cases = [
            vec![],
            vec![StateRecord::Sequence(0)],
            vec![StateRecord::Sequence(9), kv("b", 9), kv("a", 2)],
            vec![kv(&"k".repeat(MAX_KEY_BYTES), 1), kv("é", 2), StateRecord::Sequence(100)],
        ];
        for records in cases {
            assert_eq!(check(&records), Ok(()));
        }
    }

    #[test]
    fn the_state_of_a_node_that_has_applied_nothing_is_known() {
        let nobody = || StateRecord::LastMembership(StoredMembership::default());
        let node = StateRecord::Node { id: 1, node: Node::default() };
        for (records, blank) in [
            (vec![StateRecord::Sequence(0), nobody()], true),
            (vec![nobody()], true),
            (vec![StateRecord::Ignored, nobody()], true),
            (vec![], false),
            (vec![StateRecord::Sequence(0)], false),
            (vec![StateRecord::Sequence(1), nobody()], false),
            (vec![nobody(), node], false),
            (vec![StateRecord::Sequence(1), nobody(), kv("a", 1)], false),
            (vec![nobody(), StateRecord::LastApplied(LogId::default())], false),
        ] {
            let mut state = StateCheck::default();
            for (line, record) in (1..).zip(&records) {
                state.push(line, record).unwrap();
            }
            assert_eq!(state.is_blank(), blank, "{records:?}");
        }
    }
}
