//! Receives a whole state, record by record, into a new base beside the live one. Whoever sends it may be wrong, slow, or gone at
//! any moment: until the base is installed nothing of the live state has changed, and unless it is, nothing of it stays. Knows
//! nothing of the wire.

use std::{io, sync::Arc};

use backup_plugin::{
    cluster::ContentDigest,
    record::{MAX_KEY_BYTES, SeqV},
};

use super::{State, StateMachine, View, counts::Busy};
use crate::base::{BaseBuilder, BaseMeta};

/// A state that arrives. Several may at once: each has a base of its own. Dropped before [`Receiving::finish`], it leaves nothing
/// behind; dropping it blocks.
pub struct Receiving {
    builder: BaseBuilder,
    meta: BaseMeta,
    last_key: Option<String>,
    _receiving: Busy,
}

/// Why what arrives is not taken. `number` counts the records from 1.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    #[error("record {number} has a key of {bytes} bytes; a key has 1 to {MAX_KEY_BYTES}")]
    KeyLength { number: u64, bytes: usize },
    #[error("the key of record {number} does not come after the one before it")]
    Order { number: u64 },
    #[error("record {number} has the sequence number {seq}; the last one given out is {sequence}")]
    Seq { number: u64, seq: u64, sequence: u64 },
    #[error("{received} records arrived and {sent} were sent")]
    Count { sent: u64, received: u64 },
    #[error("the records that arrived have the digest {received}, those that were sent {sent}")]
    Digest { sent: ContentDigest, received: ContentDigest },
    #[error("cannot store what arrives: {0}")]
    Store(#[from] io::Error),
}

impl StateMachine {
    /// Begins to receive a state; `meta.keys` is counted here. The live state goes on, and is compacted, as if nothing were.
    /// Blocks.
    pub fn receive(&self, meta: BaseMeta) -> io::Result<Receiving> {
        let receiving = Busy::with(&self.tally().receiving);
        let builder = BaseBuilder::create(&self.next_base_dir())?;
        Ok(Receiving { builder, meta, last_key: None, _receiving: receiving })
    }
}

impl Receiving {
    /// Adds a record; keys come in strictly ascending byte order. Blocks.
    pub fn push(&mut self, key: String, value: SeqV) -> Result<(), ReceiveError> {
        let number = self.builder.keys() + 1;
        if key.is_empty() || key.len() > MAX_KEY_BYTES {
            return Err(ReceiveError::KeyLength { number, bytes: key.len() });
        }
        if self.last_key.as_ref().is_some_and(|last| *last >= key) {
            return Err(ReceiveError::Order { number });
        }
        if value.seq > self.meta.sequence {
            return Err(ReceiveError::Seq { number, seq: value.seq, sequence: self.meta.sequence });
        }
        self.last_key = Some(key.clone());
        Ok(self.builder.push(key, value)?)
    }

    /// Compares what arrived with what was sent, and completes the base. Returns a view of just that, to be installed: with the last
    /// handle of a view that never was, the base goes. Blocks.
    pub fn finish(self, records: u64, digest: ContentDigest) -> Result<View, ReceiveError> {
        let received = self.builder.keys();
        if received != records {
            return Err(ReceiveError::Count { sent: records, received });
        }
        let (base, received) = self.builder.finish(self.meta)?;
        base.retire();
        if received != digest {
            return Err(ReceiveError::Digest { sent: digest, received });
        }
        Ok(Arc::new(State::of_base(Arc::new(base))?))
    }
}

#[cfg(test)]
mod tests {
    use std::{io::ErrorKind, path::Path};

    use backup_plugin::cluster::ContentHasher;

    use super::*;
    use crate::{
        base::Base,
        state::{
            StateOptions,
            tests::{Names, apply, bases, log_id, machine, put, records},
        },
    };

    fn record(seq: u64, data: &str) -> SeqV {
        SeqV { seq, meta: None, data: data.as_bytes().to_vec() }
    }

    fn meta(index: u64) -> BaseMeta {
        BaseMeta { last_applied: Some(log_id(index)), sequence: 100, ..BaseMeta::default() }
    }

    /// The records `k0000`, `k0001`, …, each with `data`, received whole.
    fn received(machine: &StateMachine, index: u64, count: u64, data: &str) -> View {
        let mut receiving = machine.receive(meta(index)).unwrap();
        let mut hasher = ContentHasher::new();
        for number in 0..count {
            let (key, value) = (format!("k{number:04}"), record(number % 100, data));
            hasher.push(&key, &value);
            receiving.push(key, value).unwrap();
        }
        receiving.finish(count, hasher.finish()).unwrap()
    }

    /// The base that is named, opened as after a restart.
    fn reopened(dir: &Path, names: &Names) -> StateMachine {
        let base = Base::open(&dir.join(names.0.lock().unwrap().clone().unwrap())).unwrap();
        StateMachine::new(base, dir, names.clone(), StateOptions::default()).unwrap()
    }

    #[test]
    fn an_installed_state_replaces_the_old_one_and_is_there_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let (machine, names) = machine(dir.path());
        apply(&machine, 1, &put("old", "1"));
        let old_view = machine.view();
        let view = received(&machine, 50, 1_000, "new");
        assert_eq!(bases(dir.path()), ["base-000001", "base-000002"]);
        assert_eq!(machine.view().last_applied(), Some(log_id(1)), "nothing has changed yet");

        machine.install(&view).unwrap();
        let expected = records(&view);
        assert_eq!(
            bases(dir.path()),
            ["base-000001", "base-000002"],
            "nothing was copied, and the old one is still read"
        );
        drop((old_view, view));
        assert_eq!(bases(dir.path()), ["base-000002"]);
        assert_eq!(records(&machine.view()), expected);
        apply(&machine, 51, &put("later", "2"));
        drop(machine);

        let machine = reopened(dir.path(), &names);
        assert_eq!(machine.view().last_applied(), Some(log_id(50)));
        assert_eq!(records(&machine.view()), expected);
    }

    #[test]
    fn a_state_that_is_never_installed_goes_with_its_last_view() {
        let dir = tempfile::tempdir().unwrap();
        let (machine, names) = machine(dir.path());
        let view = received(&machine, 50, 10, "new");
        let other = view.clone();
        drop(view);
        assert_eq!(other.get("k0003").unwrap().unwrap().data, b"new");
        drop(other);
        assert_eq!(bases(dir.path()), ["base-000001"]);
        assert_eq!(*names.0.lock().unwrap(), None);
    }

    #[test]
    fn what_is_interrupted_leaves_everything_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let (machine, names) = machine(dir.path());
        apply(&machine, 1, &put("a", "1"));
        let before = records(&machine.view());
        for count in [0_u64, 1, 10_000] {
            let mut receiving = machine.receive(meta(50)).unwrap();
            for number in 0..count {
                receiving.push(format!("k{number:06}"), record(1, "x")).unwrap();
            }
            drop(receiving);
            assert_eq!(bases(dir.path()), ["base-000001"], "after {count} records");
        }
        assert_eq!(records(&machine.view()), before);
        assert_eq!(*names.0.lock().unwrap(), None);
    }

    #[test]
    fn what_is_not_what_was_sent_is_refused_and_leaves_nothing() {
        type Send = fn(&mut Receiving) -> Result<(), ReceiveError>;
        let push = |receiving: &mut Receiving, key: &str| receiving.push(key.to_owned(), record(1, "x"));
        let digest = {
            let mut hasher = ContentHasher::new();
            hasher.push("a", &record(1, "x"));
            hasher.finish()
        };
        let cases: [(&str, Send); 4] = [
            ("the key of record 2 does not come after the one before it", |r| r.push("a".into(), record(2, "y"))),
            ("the key of record 2 does not come after the one before it", |r| r.push("Z".into(), record(2, "y"))),
            ("record 2 has a key of 0 bytes; a key has 1 to 65000", |r| r.push(String::new(), record(2, "y"))),
            ("record 2 has the sequence number 101; the last one given out is 100", |r| {
                r.push("b".into(), record(101, "y"))
            }),
        ];
        let dir = tempfile::tempdir().unwrap();
        let (machine, _) = machine(dir.path());
        for (expected, send) in cases {
            let mut receiving = machine.receive(meta(50)).unwrap();
            push(&mut receiving, "a").unwrap();
            assert_eq!(send(&mut receiving).unwrap_err().to_string(), expected);
            drop(receiving);
            assert_eq!(bases(dir.path()), ["base-000001"], "{expected}");
        }
        let long = machine.receive(meta(50)).unwrap().push("x".repeat(MAX_KEY_BYTES + 1), record(1, "x"));
        assert!(matches!(long, Err(ReceiveError::KeyLength { number: 1, bytes: 65_001 })));

        for (count, digest, expected) in [
            (2, digest, "1 records arrived and 2 were sent"),
            (0, digest, "1 records arrived and 0 were sent"),
            (1, ContentDigest([7; 32]), "the records that arrived have the digest "),
        ] {
            let mut receiving = machine.receive(meta(50)).unwrap();
            push(&mut receiving, "a").unwrap();
            let refused = receiving.finish(count, digest).err().unwrap().to_string();
            assert!(refused.starts_with(expected), "{refused}");
            assert_eq!(bases(dir.path()), ["base-000001"], "{expected}");
        }
    }

    #[test]
    fn two_senders_at_once_do_not_meet() {
        let dir = tempfile::tempdir().unwrap();
        let (machine, names) = machine(dir.path());
        let mut slow = machine.receive(meta(40)).unwrap();
        slow.push("a".to_owned(), record(1, "slow")).unwrap();
        let view = received(&machine, 50, 10, "fast");
        machine.install(&view).unwrap();
        drop(view);
        slow.push("b".to_owned(), record(2, "slow")).unwrap();
        drop(slow);
        assert_eq!(bases(dir.path()), ["base-000003"]);
        assert_eq!(names.0.lock().unwrap().as_deref(), Some("base-000003"));
        assert_eq!(machine.view().get("k0001").unwrap().unwrap().data, b"fast");
    }

    /// Whichever ends first: what was installed is never replaced by what was compacted from the state before it.
    #[test]
    fn a_state_installed_during_a_compaction_stays() {
        for round in 0..6_u64 {
            let dir = tempfile::tempdir().unwrap();
            let (machine, names) = machine(dir.path());
            for index in 1..=2_000 {
                apply(&machine, index, &put(&format!("k{index:05}"), "before"));
            }
            let view = received(&machine, 5_000, 10, "installed");
            let expected = records(&view);
            let compacting = machine.clone();
            let thread = std::thread::spawn(move || compacting.compact().unwrap());
            // The layer is closed while the base is built, and gone after: wait for either.
            if round % 2 == 0 {
                let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
                while bases(dir.path()).len() < 3 && !thread.is_finished() && std::time::Instant::now() < deadline {
                    std::thread::yield_now();
                }
            }
            machine.install(&view).unwrap();
            drop(view);
            drop(thread.join().unwrap());
            assert_eq!(records(&machine.view()), expected);
            assert_eq!(bases(dir.path()), ["base-000002"], "what was compacted is gone");
            assert_eq!(names.0.lock().unwrap().as_deref(), Some("base-000002"));
            apply(&machine, 5_001, &put("later", "1"));
            machine.compact().unwrap();
            assert_eq!(reopened(dir.path(), &names).view().last_applied(), Some(log_id(5_001)));
        }
    }

    /// A sender that stalls must not keep the overlay from being written out.
    #[test]
    fn a_compaction_does_not_wait_for_a_sender() {
        let dir = tempfile::tempdir().unwrap();
        let (machine, names) = machine(dir.path());
        let stalled = machine.receive(meta(50)).unwrap();
        apply(&machine, 1, &put("a", "1"));
        machine.compact().unwrap();
        assert_eq!(names.0.lock().unwrap().as_deref(), Some("base-000003"));
        drop(stalled);
        assert_eq!(bases(dir.path()), ["base-000003"]);
    }

    #[test]
    fn where_the_base_can_not_be_made_nothing_has_happened() {
        let dir = tempfile::tempdir().unwrap();
        let (machine, _) = machine(dir.path());
        std::fs::write(dir.path().join("base-000002"), "in the way").unwrap();
        assert_eq!(machine.receive(meta(50)).err().unwrap().kind(), ErrorKind::AlreadyExists);
        // The next one has the next number.
        machine.install(&received(&machine, 50, 10, "new")).unwrap();
        assert_eq!(machine.view().last_applied(), Some(log_id(50)));
    }
}
