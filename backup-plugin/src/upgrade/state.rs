//! The state machine's records before V004: log ids and memberships in their old forms, nodes that may lack an address, and records
//! that are retired. Key-value records have always been what they are.

use serde::{Deserialize, de::IgnoredAny};

use super::{
    Decoded,
    leaderless::{OldLogId, OldStoredMembership},
    node::OldNode,
    retired::Retired,
};
use crate::{
    codec::{DecodeError, KeyValue, SEQUENCE_KEY, decode},
    record::{Record, StateRecord},
};

/// A record of the tree `state_machine/<n>`.
#[derive(Deserialize)]
pub(super) enum StateLine {
    Sequences(KeyValue<String, u64>),
    StateMachineMeta(KeyValue<String, MetaValue>),
    Nodes(KeyValue<u64, OldNode>),
    Expire(IgnoredAny),
    GenericKV(IgnoredAny),
    Databases(IgnoredAny),
    Tables(IgnoredAny),
    TableLookup(IgnoredAny),
    DatabaseLookup(IgnoredAny),
    Files(IgnoredAny),
    ClientLastResps(IgnoredAny),
}

#[derive(Deserialize)]
pub(super) enum MetaValue {
    LogId(OldLogId),
    Membership(OldStoredMembership),
    Bool(IgnoredAny),
}

impl MetaValue {
    /// The name it goes by in the format.
    fn kind(&self) -> &'static str {
        match self {
            MetaValue::LogId(_) => "LogId",
            MetaValue::Membership(_) => "Membership",
            MetaValue::Bool(_) => "Bool",
        }
    }
}

/// `line` is where the record comes from.
pub(super) fn upgrade_record(record: StateLine, line: &str) -> Result<Decoded, DecodeError> {
    let retired = |kind| Ok(Decoded::Retired(Retired::Record(kind)));
    let record = match record {
        StateLine::Sequences(KeyValue { key, value }) if key == SEQUENCE_KEY => StateRecord::Sequence(value),
        StateLine::Sequences(KeyValue { key, .. }) => return Ok(Decoded::Retired(Retired::Sequence(key))),
        StateLine::StateMachineMeta(meta) => return upgrade_meta(meta),
        StateLine::Nodes(KeyValue { key: id, value: OldNode(node) }) => StateRecord::Node { id, node },
        StateLine::Expire(_) | StateLine::GenericKV(_) => return decode(line).map(Decoded::Record),
        StateLine::Databases(_) => return retired("Databases"),
        StateLine::Tables(_) => return retired("Tables"),
        StateLine::TableLookup(_) => return retired("TableLookup"),
        StateLine::DatabaseLookup(_) => return retired("DatabaseLookup"),
        StateLine::Files(_) => return retired("Files"),
        StateLine::ClientLastResps(_) => return retired("ClientLastResps"),
    };
    Ok(Decoded::Record(Record::State(record)))
}

fn upgrade_meta(KeyValue { key, value }: KeyValue<String, MetaValue>) -> Result<Decoded, DecodeError> {
    let record = match (key.as_str(), value) {
        ("LastApplied", MetaValue::LogId(OldLogId(log_id))) => StateRecord::LastApplied(log_id),
        ("LastMembership", MetaValue::Membership(stored)) => StateRecord::LastMembership(stored.into()),
        ("Initialized", MetaValue::Bool(_)) => return Ok(Decoded::Ignored),
        ("LastApplied" | "LastMembership" | "Initialized", value) => {
            return Err(DecodeError::WrongValue { key, found: value.kind() });
        }
        _ => return Err(DecodeError::UnknownKey { kind: "StateMachineMeta", key }),
    };
    Ok(Decoded::Record(Record::State(record)))
}
