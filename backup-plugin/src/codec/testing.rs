//! Records drawn at random, for properties that hold of every one.

use std::collections::{BTreeMap, BTreeSet};

use proptest::{collection, option, prelude::*};
use serde_json::value::RawValue;

use crate::record::{
    Endpoint, Header, KvMeta, LeaderId, LogEntry, LogId, Membership, NoAddress, Node, Payload, Record, SeqV,
    StateRecord, StoredMembership, Vote,
};

fn log_id() -> impl Strategy<Value = LogId> {
    (any::<u64>(), any::<u64>(), any::<u64>())
        .prop_map(|(term, node_id, index)| LogId { leader_id: LeaderId { term, node_id }, index })
}

fn membership() -> impl Strategy<Value = Membership> {
    let config = collection::btree_set(any::<u64>(), 0..4);
    (collection::vec(config, 0..3), collection::btree_set(any::<u64>(), 0..3)).prop_map(|(configs, learners)| {
        let ids: BTreeSet<u64> = configs.iter().flatten().copied().chain(learners).collect();
        Membership { configs, nodes: ids.into_iter().map(|id| (id, NoAddress {})).collect::<BTreeMap<_, _>>() }
    })
}

fn payload() -> impl Strategy<Value = Payload> {
    prop_oneof![
        Just(Payload::Blank),
        membership().prop_map(Payload::Membership),
        (any::<u64>(), ".*").prop_map(|(time_ms, feature)| {
            let feature = serde_json::to_string(&feature).unwrap();
            let cmd =
                format!(r#"{{"time_ms":{time_ms},"cmd":{{"SetFeature":{{"feature":{feature},"enable":true}}}}}}"#);
            Payload::Normal(RawValue::from_string(cmd).unwrap())
        }),
    ]
}

pub(crate) fn seq_v() -> impl Strategy<Value = SeqV> {
    let meta = (option::of(any::<u64>()), option::of(any::<u64>()))
        .prop_map(|(expire_at, proposed_at_ms)| KvMeta { expire_at, proposed_at_ms });
    (any::<u64>(), option::of(meta), collection::vec(any::<u8>(), 0..64)).prop_map(|(seq, meta, data)| SeqV {
        seq,
        meta,
        data,
    })
}

fn node() -> impl Strategy<Value = Node> {
    (".*", ".*", any::<u16>(), option::of(".*")).prop_map(|(name, addr, port, grpc_api_advertise_address)| Node {
        name,
        endpoint: Endpoint { addr, port },
        grpc_api_advertise_address,
    })
}

fn state_record() -> impl Strategy<Value = StateRecord> {
    let stored = (option::of(log_id()), membership());
    prop_oneof![
        any::<u64>().prop_map(StateRecord::Sequence),
        log_id().prop_map(StateRecord::LastApplied),
        stored
            .prop_map(|(log_id, membership)| { StateRecord::LastMembership(StoredMembership { log_id, membership }) }),
        (any::<u64>(), node()).prop_map(|(id, node)| StateRecord::Node { id, node }),
        (any::<u64>(), any::<u64>(), any::<String>()).prop_map(|(time_ms, seq, key)| StateRecord::Expire {
            time_ms,
            seq,
            key
        }),
        (any::<String>(), seq_v()).prop_map(|(key, value)| StateRecord::Kv { key, value }),
        Just(StateRecord::Ignored),
    ]
}

/// Any record, whether it could be or not.
pub(crate) fn record() -> impl Strategy<Value = Record> {
    let vote = (any::<u64>(), any::<u64>(), any::<bool>())
        .prop_map(|(term, node_id, committed)| Vote { leader_id: LeaderId { term, node_id }, committed });
    prop_oneof![
        any::<bool>().prop_map(|sealed| Record::Header(Header { version: "V004".to_owned(), sealed })),
        option::of(any::<u64>()).prop_map(Record::NodeId),
        option::of(vote).prop_map(Record::Vote),
        option::of(log_id()).prop_map(Record::Committed),
        option::of(log_id()).prop_map(Record::Purged),
        (log_id(), payload()).prop_map(|(log_id, payload)| Record::LogEntry(LogEntry { log_id, payload })),
        state_record().prop_map(Record::State),
    ]
}
