//! The messages of a snapshot from another member, one after the other, each with its length before it.

use std::{fs, sync::OnceLock, time::Duration};

use backup_plugin::{
    cluster::ContentHasher,
    record::{KvMeta, SeqV},
};
use meta_proto::raft::{self as pb, snapshot_chunk::Part};
use meta_server::{raft::snapshot::receive, state::StateOptions, store::Store};
use prost::Message;
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// Nothing of what is sent here makes anybody wait.
const IDLE: Duration = Duration::from_secs(10);

/// A store that receives, and is as it was after each time.
struct Receiver {
    dir: TempDir,
    store: Store,
    runtime: Runtime,
}

impl Receiver {
    fn shared() -> &'static Receiver {
        static SHARED: OnceLock<Receiver> = OnceLock::new();
        SHARED.get_or_init(|| {
            let dir = tempfile::tempdir().expect("a folder");
            let store = Store::open(dir.path(), StateOptions::default()).expect("a store");
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
            Receiver { dir, store, runtime: runtime.expect("a runtime") }
        })
    }

    fn bases(&self) -> Vec<String> {
        let files = fs::read_dir(self.dir.path().join("gen-000001")).expect("the store's files");
        let names = files.map(|entry| entry.expect("a file").file_name().to_string_lossy().into_owned());
        names.filter(|name| name.starts_with("base-")).collect()
    }
}

pub(super) fn attack(data: &[u8]) {
    let mut rest = data;
    let mut messages = Vec::new();
    while !rest.is_empty()
        && let Ok(message) = pb::SnapshotChunk::decode_length_delimited(&mut rest)
    {
        messages.push(Ok(message));
    }
    if messages.is_empty() {
        return;
    }
    let Ok(pb::SnapshotChunk { part: Some(Part::Header(header)) }) = messages.remove(0) else { return };
    let receiver = Receiver::shared();
    let chunks = tokio_stream::iter(messages);
    let received = receiver.runtime.block_on(receive(header, chunks, &receiver.store.state, IDLE));
    if let Ok(snapshot) = &received {
        let keys: Vec<_> = snapshot.snapshot.prefix("").map(|item| item.expect("a record").0).collect();
        assert!(keys.windows(2).all(|pair| pair[0] < pair[1]), "{keys:?}");
    }
    drop(received);
    assert_eq!(receiver.bases(), ["base-000001"], "something of it was left");
}

/// A snapshot that is taken, as the bytes of its messages.
pub fn whole() -> Vec<u8> {
    let log_id = pb::LogId { leader_id: Some(pb::LeaderId { term: 3, node_id: 1 }), index: 70 };
    let membership = pb::Membership { configs: vec![pb::Voters { ids: vec![1] }], nodes: vec![1, 2] };
    let header = pb::SnapshotHeader {
        caller: None,
        vote: None,
        last_log_id: Some(log_id),
        last_membership: Some(pb::StoredMembership { log_id: Some(log_id), membership: Some(membership) }),
        sequence: 9,
        nodes: vec![pb::Node { id: 1, name: "1".into(), host: "db-1".into(), port: 28_004, grpc_address: None }],
    };
    let mut hasher = ContentHasher::new();
    let mut records = Vec::new();
    for seq in 1..=3 {
        let key = format!("k{seq}");
        let (expire_at, proposed_at_ms) = (Some(4_000_000_000 + seq), Some(1_700_000_000_000));
        let value = SeqV { seq, meta: Some(KvMeta { expire_at, proposed_at_ms }), data: vec![7; 3] };
        hasher.push(&key, &value);
        let meta = Some(meta_proto::pb::KvMeta { expire_at, proposed_at_ms });
        let value = Some(meta_proto::pb::SeqV { seq, data: value.data, meta });
        records.push(pb::SnapshotRecord { key, value });
    }
    let end = pb::SnapshotEnd { records: 3, digest: hasher.finish().0.to_vec() };
    let parts = [Part::Header(header), Part::Records(pb::SnapshotRecords { records }), Part::End(end)];
    let messages = parts.map(|part| pb::SnapshotChunk { part: Some(part) });
    messages.iter().flat_map(Message::encode_length_delimited_to_vec).collect()
}
