//! The backup that is measured: a V004 export of one node with N keys, the same bytes at every run. Knows the records; how a
//! line looks is the plugin's.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{BufWriter, Write},
    path::Path,
};

use anyhow::{Context, Result};
use backup_plugin::{
    codec,
    record::{
        DATA_VERSION, Endpoint, Header, KvMeta, LeaderId, LogId, Membership, NoAddress, Node, Record, SeqV,
        StateRecord, StoredMembership, Vote,
    },
};

/// Bytes of a value.
const VALUE_BYTES: usize = 128;
/// When the keys were written, in milliseconds since 1970.
const WRITTEN_AT_MS: u64 = 1_795_349_325_299;
/// Log entries before the first key: the membership, a blank one of the leader, the node.
const ENTRIES_BEFORE: u64 = 3;
const LEADER: LeaderId = LeaderId { term: 1, node_id: 1 };

/// The key number `i`, from 0; keys ascend with their numbers.
pub fn key(i: u64) -> String {
    format!("bench/k{i:010}")
}

/// Its value: bytes that look random and follow from the number.
pub fn value(i: u64) -> Vec<u8> {
    let words = VALUE_BYTES as u64 / 8;
    (i * words..(i + 1) * words).flat_map(|word| mix(word).to_le_bytes()).collect()
}

/// Writes the export of a node that took `keys` single writes and purged them from its log. Returns its length in bytes.
pub fn write(path: &Path, keys: u64) -> Result<u64> {
    let written = || -> Result<u64> {
        let mut file = BufWriter::with_capacity(1024 * 1024, File::create_new(path)?);
        let mut line = Vec::new();
        let mut bytes = 0;
        for record in head(keys).into_iter().chain((0..keys).map(kv)) {
            line.clear();
            codec::encode(&record, &mut line);
            line.push(b'\n');
            file.write_all(&line)?;
            bytes += line.len() as u64;
        }
        file.into_inner()?.sync_all()?;
        Ok(bytes)
    };
    written().with_context(|| format!("cannot write the backup of {keys} keys to {}", path.display()))
}

/// Everything before the keys.
fn head(keys: u64) -> Vec<Record> {
    let at = |index| LogId { leader_id: LEADER, index };
    let applied = at(ENTRIES_BEFORE + keys);
    let membership = Membership { configs: vec![BTreeSet::from([1])], nodes: BTreeMap::from([(1, NoAddress {})]) };
    let node = Node {
        name: "1".to_owned(),
        endpoint: Endpoint { addr: "127.0.0.1".to_owned(), port: 28004 },
        grpc_api_advertise_address: Some("127.0.0.1:9191".to_owned()),
    };
    vec![
        Record::Header(Header { version: DATA_VERSION.to_owned() }),
        Record::NodeId(Some(1)),
        Record::Vote(Some(Vote { leader_id: LEADER, committed: true })),
        Record::Committed(Some(applied)),
        Record::Purged(Some(applied)),
        Record::State(StateRecord::Sequence(keys)),
        Record::State(StateRecord::LastApplied(applied)),
        Record::State(StateRecord::LastMembership(StoredMembership { log_id: Some(at(0)), membership })),
        Record::State(StateRecord::Node { id: 1, node }),
    ]
}

fn kv(i: u64) -> Record {
    let meta = KvMeta { expire_at: None, proposed_at_ms: Some(WRITTEN_AT_MS + i) };
    Record::State(StateRecord::Kv { key: key(i), value: SeqV { seq: i + 1, meta: Some(meta), data: value(i) } })
}

/// SplitMix64: the number `n` of its sequence that starts at 0.
fn mix(n: u64) -> u64 {
    let mut z = (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
