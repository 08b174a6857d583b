//! What an import was given, as one number: the same import is known again by it.

use sha2::{Digest, Sha256};

use crate::{cluster::MemberList, target::Origin};

/// SHA-256 over the SHA-256 of the file, the node id as 8 bytes big-endian, and the text of [`MemberList::canonical`]
/// (nothing without a list).
pub(super) fn origin(file: [u8; 32], node_id: u64, members: Option<&MemberList>) -> Origin {
    let mut hasher = Sha256::new();
    hasher.update(file);
    hasher.update(node_id.to_be_bytes());
    if let Some(members) = members {
        hasher.update(members.canonical());
    }
    Origin(hasher.finalize().into())
}
