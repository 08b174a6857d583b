//! What holds after every command, whatever the commands.

use proptest::{collection::vec, prelude::*};

use crate::{
    apply::{apply, memory::MemoryStore},
    command::arbitrary,
};

proptest! {
    #[test]
    fn the_expire_index_follows_from_the_records_and_a_seq_is_given_out_once(
        mut commands in vec(arbitrary::log_command(), 1..40),
    ) {
        // The leader's clock may stand still, but it does not go back.
        commands.sort_by_key(|command| command.time_ms);
        let mut store = MemoryStore::default();
        for command in commands {
            let before = store.clone();
            apply(&mut store, &command).unwrap();

            let implied = store.records.iter().filter_map(|(key, record)| Some(((record.expiry_ms()?, record.seq), key.clone())));
            prop_assert_eq!(&store.expire, &implied.collect(), "after {}", command);
            let mut seqs: Vec<_> = store.records.values().map(|record| record.seq).collect();
            seqs.sort_unstable();
            prop_assert!(seqs.windows(2).all(|pair| pair[0] < pair[1]), "after {}", command);
            prop_assert!(seqs.last().is_none_or(|last| *last <= store.sequence));
            for (key, record) in &store.records {
                let unchanged = before.records.get(key) == Some(record);
                prop_assert!(unchanged || record.seq > before.sequence, "{key} after {command}");
            }
            if let Some(time_ms) = command.time_ms {
                prop_assert!(store.records.values().all(|record| record.expiry_ms().is_none_or(|expiry| expiry >= time_ms)));
            }
        }
    }
}
