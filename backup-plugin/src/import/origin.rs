//! What an import was given, as one number: the same import is known again by it.

use std::io::Read;

use sha2::{Digest, Sha256};

use super::{ImportOptions, options::Identity};
use crate::{
    cluster::MemberList,
    input::Reader,
    record::Record,
    target::Origin,
    upgrade::{Decoded, decode},
};

/// How a line begins that says which node the file was exported from: today, and before V004.
const NODE_ID: [&str; 2] = [r#"["raft_log",{"NodeId":"#, r#"["raft_state",{"RaftStateKV":{"key":"Id""#];

/// Whether `live` came from this very input and these options; then gives the node that it is. Reads the whole input, and
/// builds nothing.
///
/// An input that can not be imported is not told apart from another one: importing it says what is wrong.
pub fn is_origin(live: Origin, input: impl Read + Send, options: &ImportOptions) -> Option<u64> {
    let mut reader = Reader::open(input, "").ok()?;
    if options.require_seal {
        reader.require_seal().ok()?;
    }
    let (mut node_id, members) = match &options.identity {
        Identity::SameNode { id } => (*id, None),
        Identity::NewMember { id, members } => (Some(*id), Some(members)),
    };
    let version = reader.version();
    while let Some(line) = reader.next_line().ok()? {
        if node_id.is_none()
            && NODE_ID.iter().any(|start| line.starts_with(start))
            && let Ok(Decoded::Record(Record::NodeId(found))) = decode(version, line)
        {
            node_id = found;
        }
    }
    let node_id = node_id?;
    (origin(reader.sha256(), node_id, members, &options.variant()) == live).then_some(node_id)
}

/// SHA-256 over the SHA-256 of the file without its compression, the node id as 8 bytes big-endian, the text of
/// [`MemberList::canonical`] (nothing without a list), and that of [`ImportOptions::variant`].
pub(super) fn origin(file: [u8; 32], node_id: u64, members: Option<&MemberList>, variant: &str) -> Origin {
    let mut hasher = Sha256::new();
    hasher.update(file);
    hasher.update(node_id.to_be_bytes());
    if let Some(members) = members {
        hasher.update(members.canonical());
    }
    hasher.update(variant);
    Origin(hasher.finalize().into())
}
