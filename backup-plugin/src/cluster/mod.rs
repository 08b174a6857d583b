//! What a new cluster starts from: the `--initial-cluster` list, and the lineage that it gives a backup.
//!
//! Everything here is a pure function of its input: every node that is given the same file and the same list comes to the
//! same cluster id, log id, membership and vote. Knows nothing of files, of storage, or of openraft.

mod digest;
mod lineage;
mod member;

pub use digest::{ContentDigest, ContentHasher};
pub use lineage::{Basis, Exhausted, Lineage};
pub use member::{Member, MemberError, MemberList, MemberListError, Role};
