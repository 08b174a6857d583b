//! Takes what an import would be given, and keeps none of it: checks it as a store would, as far as that goes without
//! one, and says whether it went all the way. Writes nothing anywhere.

use std::{cell::Cell, rc::Rc};

use backup_plugin::{
    cluster::ContentHasher,
    record::{LogEntry, LogId, StateRecord},
    target::{RestoreError, RestoreGeneration, RestoreTarget, RestoredState, Seed, Source},
};

use super::target::{checked_entry, key_twice};

/// Where an import can be tried that is not to be done.
///
/// It comes to what a store comes to, unless it has a [`Doubt`]: whatever was said then, good or bad, a store has the
/// last word.
#[derive(Debug, Default)]
pub struct CheckTarget {
    doubt: Rc<Cell<Option<Doubt>>>,
}

/// What can not be checked without keeping what went by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doubt {
    /// Keys came out of order: one may have been there before, and the content digest is not that of the state.
    Unsorted,
    /// There is a log tail to apply.
    Tail,
}

impl CheckTarget {
    /// The first one; `None`: what was said is so.
    pub fn doubt(&self) -> Option<Doubt> {
        self.doubt.get()
    }
}

impl RestoreTarget for CheckTarget {
    type Generation = CheckGeneration;

    fn begin(&self) -> Result<CheckGeneration, RestoreError> {
        Ok(CheckGeneration {
            doubt: self.doubt.clone(),
            last_key: None,
            keys: 0,
            sequence: 0,
            last_applied: None,
            last_log: None,
            content: ContentHasher::new(),
        })
    }
}

/// What has gone by.
pub struct CheckGeneration {
    doubt: Rc<Cell<Option<Doubt>>>,
    last_key: Option<String>,
    keys: u64,
    sequence: u64,
    last_applied: Option<LogId>,
    last_log: Option<LogId>,
    content: ContentHasher,
}

impl CheckGeneration {
    fn doubt(&self, doubt: Doubt) {
        self.doubt.set(self.doubt.get().or(Some(doubt)));
    }
}

impl RestoreGeneration for CheckGeneration {
    fn log_entry(&mut self, line: u64, entry: LogEntry) -> Result<(), RestoreError> {
        checked_entry(line, &entry)?;
        self.last_log = Some(entry.log_id);
        Ok(())
    }

    fn state_record(&mut self, line: u64, record: StateRecord) -> Result<(), RestoreError> {
        match record {
            StateRecord::Kv { key, value } => {
                match &self.last_key {
                    Some(last) if *last == key => return Err(key_twice(line, &key)),
                    Some(last) if *last > key => self.doubt(Doubt::Unsorted),
                    _ => {}
                }
                self.content.push(&key, &value);
                self.keys += 1;
                self.last_key = Some(key);
            }
            StateRecord::Sequence(sequence) => self.sequence = sequence,
            StateRecord::LastApplied(log_id) => self.last_applied = Some(log_id),
            StateRecord::LastMembership(_)
            | StateRecord::Node { .. }
            | StateRecord::Expire { .. }
            | StateRecord::Ignored => {}
        }
        Ok(())
    }

    fn finish_state(&mut self, replay: bool) -> Result<RestoredState, RestoreError> {
        let index = |log_id: Option<LogId>| log_id.map(|log_id| log_id.index);
        let has_tail = index(self.last_log) > index(self.last_applied);
        if replay && has_tail {
            self.doubt(Doubt::Tail);
            self.last_applied = self.last_log;
        }
        Ok(RestoredState {
            last_applied: self.last_applied,
            sequence: self.sequence,
            keys: self.keys,
            digest: std::mem::take(&mut self.content).finish(),
        })
    }

    /// There is nothing to make live.
    fn commit(self, _: Seed, _: Source) -> Result<(), RestoreError> {
        Err(RestoreError::Folder("what is only checked is not kept".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use backup_plugin::{
        cluster::MemberList,
        export::MAX_LINE_BYTES,
        import::{self, ImportOptions, PlannedImport},
    };
    use proptest::{collection, prelude::*};
    use serde_json::Value;

    use super::*;
    use crate::{backup::target::StoreTarget, command::fixtures};

    fn same_node() -> ImportOptions {
        ImportOptions::new(None, None).unwrap()
    }

    fn new_cluster() -> ImportOptions {
        let list = MemberList::new(["7=a:1", "8=b:1"].map(|entry| entry.parse().unwrap())).unwrap();
        ImportOptions::new(Some(7), Some(list)).unwrap()
    }

    fn planned(text: &str, target: &impl RestoreTarget, options: &ImportOptions) -> Result<PlannedImport, String> {
        import::plan(text.as_bytes(), "x", target, options, &mut |_| ()).map_err(|error| error.to_string())
    }

    /// What was said, and the doubt, once a store that has seen the same has agreed to what is beyond doubt.
    fn checked(text: &str, options: &ImportOptions) -> (Result<PlannedImport, String>, Option<Doubt>) {
        let temp = tempfile::tempdir().unwrap();
        let store = planned(text, &StoreTarget::new(temp.path().join("meta")), options);
        let target = CheckTarget::default();
        let checked = planned(text, &target, options);
        if target.doubt().is_none() {
            assert_eq!(checked, store);
        }
        (checked, target.doubt())
    }

    fn lines(name: &str) -> Vec<String> {
        fixtures::text(name).lines().map(str::to_owned).collect()
    }

    /// Where the key-value records begin.
    fn keys_begin(lines: &[String]) -> usize {
        lines.iter().position(|line| line.contains("{\"GenericKV\":")).unwrap()
    }

    /// The keys of the key-value records, as they come.
    fn keys(lines: &[String]) -> Vec<String> {
        let key = |line: &String| -> Option<String> {
            let line: Value = serde_json::from_str(line).unwrap();
            Some(line[1].get("GenericKV")?["key"].as_str()?.to_owned())
        };
        lines.iter().filter_map(key).collect()
    }

    #[test]
    fn what_is_in_order_is_checked_without_a_doubt() {
        for name in ["v0-2022-05.ndjson", "v0-2022-11.ndjson", "v002.ndjson", "v004.ndjson", "v004-tail.ndjson"] {
            let text = fixtures::text(name);
            let (checked, doubt) = self::checked(&text, &same_node());
            assert!(checked.is_ok() && doubt.is_none(), "{name}: {checked:?}");
            let (checked, doubt) = self::checked(&text, &new_cluster());
            let expected = (name == "v004-tail.ndjson").then_some(Doubt::Tail);
            assert_eq!(doubt, expected, "{name}: {checked:?}");
        }
    }

    #[test]
    fn a_key_twice_in_a_row_is_certain_and_one_out_of_order_is_not() {
        let lines = lines("v004.ndjson");
        let first = keys_begin(&lines);
        let again = |of: usize, at: usize| {
            let mut lines = lines.clone();
            // Another seq, so that it is the key alone that was there before.
            lines.insert(at, lines[of].replace("\"seq\":", "\"seq\":10"));
            lines.join("\n").replace("\"generic-kv\",\"value\":159", "\"generic-kv\",\"value\":999999")
        };
        let (checked, doubt) = self::checked(&again(first, first + 1), &same_node());
        assert!(checked.unwrap_err().ends_with("is in the file twice"));
        assert_eq!(doubt, None);
        let (_, doubt) = self::checked(&again(first, first + 2), &same_node());
        assert_eq!(doubt, Some(Doubt::Unsorted));
    }

    #[test]
    fn a_command_that_nobody_can_apply_is_refused() {
        let text = fixtures::text("v004-tail.ndjson").replacen("\"AddNode\"", "\"AddNodes\"", 1);
        let (checked, doubt) = checked(&text, &same_node());
        assert!(checked.unwrap_err().contains("cannot read the command: unknown variant `AddNodes`"));
        assert_eq!(doubt, None);
    }

    #[test]
    fn a_command_that_could_not_be_written_again_is_refused_by_its_line() {
        let mut lines = lines("v004-tail.ndjson");
        let at = lines.iter().rposition(|line| line.contains("{\"LogEntry\":")).unwrap();
        let head = lines[at].split_once("\"payload\":").unwrap().0.to_owned();
        let entry = |missing: &str, bytes: usize| {
            let put = r#"{"Normal":{"time_ms":1,"cmd":{"Transaction":{"condition":[],"if_then":[{"request":{"Put":{"key":"a","value":["#;
            let end = format!("]{missing}{}", r#"}}}],"else_then":[]}}}}}}]"#);
            let numbers = "25,".repeat((bytes - head.len() - put.len() - end.len() - 10) / 3);
            format!("{head}\"payload\":{put}{}{end}", numbers.trim_end_matches(','))
        };
        let all = r#","expire_at":null,"match_seq":null"#;
        for (missing, bytes, taken) in
            [(all, MAX_LINE_BYTES, true), ("", MAX_LINE_BYTES - 60, true), ("", MAX_LINE_BYTES, false)]
        {
            lines[at] = entry(missing, bytes);
            assert!(lines[at].len() <= bytes, "a line that is read");
            let target = CheckTarget::default();
            match planned(&lines.join("\n"), &target, &same_node()) {
                Ok(_) => assert!(taken, "{bytes}"),
                Err(error) => {
                    let says = format!("x, line {}: log entry 125: its record would be written as a line of ", at + 1);
                    assert!(!taken && error.starts_with(&says), "{error}");
                }
            }
        }
    }

    #[test]
    fn nothing_that_was_only_checked_can_be_imported() {
        let text = fixtures::text("v004.ndjson");
        let done = import::run(text.as_bytes(), "x", &CheckTarget::default(), &same_node(), &mut |_| ());
        assert!(done.is_err());
    }

    #[derive(Debug, Clone)]
    enum Change {
        Swap(prop::sample::Index, prop::sample::Index),
        Remove(prop::sample::Index),
        Double(prop::sample::Index, prop::sample::Index),
    }

    fn change() -> impl Strategy<Value = Change> {
        let at = any::<prop::sample::Index>;
        prop_oneof![
            (at(), at()).prop_map(|(a, b)| Change::Swap(a, b)),
            at().prop_map(Change::Remove),
            (at(), at()).prop_map(|(a, b)| Change::Double(a, b)),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        /// Lines swapped, removed and doubled, anywhere or among the keys: a check says what the store says, or has a
        /// doubt.
        #[test]
        fn it_agrees_with_a_store(
            tail in any::<bool>(),
            among_keys in any::<bool>(),
            new in any::<bool>(),
            changes in collection::vec(change(), 1..3),
        ) {
            let mut lines = lines(if tail { "v004-tail.ndjson" } else { "v004.ndjson" });
            let from = if among_keys { keys_begin(&lines) } else { 0 };
            for change in changes {
                let len = lines.len() - from;
                match change {
                    Change::Swap(a, b) => lines.swap(from + a.index(len), from + b.index(len)),
                    Change::Remove(a) => drop(lines.remove(from + a.index(len))),
                    Change::Double(a, b) => lines.insert(from + b.index(len), lines[from + a.index(len)].clone()),
                }
            }
            let text = lines.join("\n");
            let (checked, doubt) = checked(&text, &if new { new_cluster() } else { same_node() });
            // Doubts have their reasons.
            let keys = keys(&lines);
            match doubt {
                Some(Doubt::Unsorted) => prop_assert!(!keys.is_sorted()),
                Some(Doubt::Tail) => prop_assert!(tail && new),
                None if checked.is_ok() => prop_assert!(keys.is_sorted_by(|a, b| a < b)),
                None => {}
            }
        }
    }
}
