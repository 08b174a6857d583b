//! A log entry as bytes: MessagePack with named fields, so that a field can be added without breaking stores that exist.
//! Owns the stored shape; knows nothing of records, or of how openraft would serialize its types.

use std::io;

use backup_plugin::record;
use serde::{Deserialize, Serialize};

use super::error::{corrupt, failed};
use crate::{
    command::LogCommand,
    raft::{
        convert,
        types::{Entry, EntryPayload, log_id, record_log_id},
    },
};

/// `C` is `&LogCommand` on the way out and `LogCommand` on the way in.
#[derive(Serialize, Deserialize)]
struct StoredEntry<C> {
    log_id: record::LogId,
    payload: StoredPayload<C>,
}

#[derive(Serialize, Deserialize)]
enum StoredPayload<C> {
    Blank,
    Membership(record::Membership),
    Normal(C),
}

pub(super) fn encode(entry: &Entry) -> io::Result<Vec<u8>> {
    let payload = match &entry.payload {
        EntryPayload::Blank => StoredPayload::Blank,
        EntryPayload::Membership(membership) => StoredPayload::Membership(convert::record_membership(membership)),
        EntryPayload::Normal(command) => StoredPayload::Normal(command),
    };
    let stored = StoredEntry { log_id: record_log_id(entry.log_id), payload };
    rmp_serde::to_vec_named(&stored).map_err(failed(format!("encode log entry {}", entry.log_id)))
}

/// The entry at `index`; fails when the bytes say that they are another one.
pub(super) fn decode(index: u64, bytes: &[u8]) -> io::Result<Entry> {
    let stored: StoredEntry<LogCommand> =
        rmp_serde::from_slice(bytes).map_err(failed(format!("decode log entry {index}")))?;
    if stored.log_id.index != index {
        return Err(corrupt(format!("log entry {index} says that it is {}", stored.log_id)));
    }
    let payload = match stored.payload {
        StoredPayload::Blank => EntryPayload::Blank,
        StoredPayload::Membership(membership) => {
            let tried = format!("decode the membership in log entry {index}");
            EntryPayload::Membership(convert::membership(&membership).map_err(failed(tried))?)
        }
        StoredPayload::Normal(command) => EntryPayload::Normal(command),
    };
    Ok(Entry { log_id: log_id(stored.log_id), payload })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::{command::Command, log::testing::id, raft::types::Membership};

    #[test]
    fn every_payload_comes_back_as_it_was() {
        let command = LogCommand { time_ms: Some(7), cmd: Command::RemoveNode { node_id: 3 } };
        let joint = vec![BTreeSet::from([1, 2]), BTreeSet::from([2, 3])];
        let payloads = [
            EntryPayload::Blank,
            EntryPayload::Normal(command),
            EntryPayload::Membership(Membership::new_with_defaults(joint, [1, 2, 3, 4])),
        ];
        for payload in payloads {
            let entry = Entry { log_id: id(2, 9), payload };
            assert_eq!(decode(9, &encode(&entry).unwrap()).unwrap(), entry);
        }
    }

    #[test]
    fn bytes_of_another_entry_are_refused() {
        let bytes = encode(&Entry { log_id: id(1, 4), payload: EntryPayload::Blank }).unwrap();
        assert_eq!(decode(5, &bytes).unwrap_err().to_string(), "log entry 5 says that it is T1-N1.4");
        assert_eq!(decode(4, &bytes[1..]).unwrap_err().to_string(), "cannot decode log entry 4");
    }
}
