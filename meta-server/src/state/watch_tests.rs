//! A watcher that comes in at any moment: what it was shown and every change since are the state, whatever is written and
//! compacted meanwhile.

use std::{collections::BTreeMap, sync::Arc};

use backup_plugin::record::SeqV;
use futures::FutureExt;
use proptest::{collection::vec, prelude::*};

use super::{
    View,
    tests::{apply, machine, put},
};
use crate::{
    command::arbitrary,
    watch::{Cut, Event, Filter, KeyRange, Watching},
};

type Records = BTreeMap<Arc<str>, Arc<SeqV>>;

fn everything() -> KeyRange {
    KeyRange::new(String::new(), Some("\u{10ffff}".to_owned())).unwrap()
}

fn shown(view: &View, range: &KeyRange) -> Records {
    view.range(range).map(Result::unwrap).collect()
}

/// What has been told so far; the changes of each key must follow each other.
fn follow(records: &mut Records, watching: &mut Watching) {
    while let Some(Ok(Event { key, prev, current })) =
        watching.next().now_or_never().map(|told| told.map(Arc::unwrap_or_clone))
    {
        let before = match current {
            Some(current) => records.insert(key.clone(), current),
            None => records.remove(&key),
        };
        assert_eq!(before, prev, "the record of {key} before a change");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn what_is_shown_and_every_change_since_is_the_state(
        commands in vec((arbitrary::log_command(), 0..8_u8), 1..60),
        key in "[ab]/[a-c]",
    ) {
        let dir = tempfile::tempdir().unwrap();
        let (machine, _) = machine(dir.path());
        let ranges = [everything(), KeyRange::new(key, None).unwrap()];
        let mut watched = Vec::new();
        for (index, (command, what_else)) in (1..).zip(commands) {
            match what_else {
                0 | 1 => {
                    let range = ranges[usize::from(what_else)].clone();
                    let (view, watching) = machine.watch(range.clone(), Filter::All);
                    watched.push((shown(&view, &range), watching, range));
                }
                2 => drop(machine.compact().unwrap()),
                _ => {}
            }
            apply(&machine, index, &command);
        }
        let view = machine.view();
        for (mut records, mut watching, range) in watched {
            follow(&mut records, &mut watching);
            prop_assert_eq!(&records, &shown(&view, &range));
            let all: Records = view.prefix("").map(Result::unwrap).filter(|(key, _)| range.contains(key)).collect();
            prop_assert_eq!(records, all);
        }
    }
}

#[tokio::test]
async fn a_state_that_is_replaced_ends_every_watch() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (leader, _) = machine(from.path());
    apply(&leader, 1, &put("a", "1"));
    let (follower, _) = machine(to.path());
    let (_, mut watching) = follower.watch(everything(), Filter::All);
    apply(&follower, 1, &put("b", "1"));
    follower.install(&leader.view()).unwrap();
    apply(&follower, 2, &put("c", "1"));
    assert_eq!(&*watching.next().await.unwrap().key, "b");
    assert_eq!(watching.next().await, Err(Cut::Replaced));
    // Whoever comes in now goes on from there.
    let (view, mut watching) = follower.watch(everything(), Filter::All);
    apply(&follower, 3, &put("d", "1"));
    assert_eq!(shown(&view, &everything()).keys().map(AsRef::as_ref).collect::<Vec<&str>>(), ["a", "c"]);
    assert_eq!(&*watching.next().await.unwrap().key, "d");
}
