//! What the operator asks for. Options that exist are valid ones.

use crate::{cluster::MemberList, target::Origin};

/// Who the imported node is to be, and when there is nothing to do.
#[derive(Debug, Clone)]
pub struct ImportOptions {
    pub(super) identity: Identity,
    pub(super) known: Vec<Origin>,
    pub(super) drop_retired: bool,
    pub(super) require_seal: bool,
}

#[derive(Debug, Clone)]
pub(super) enum Identity {
    /// The node that the file was exported from; the id is for a file that does not say.
    SameNode { id: Option<u64> },
    /// A member of a new cluster.
    NewMember { id: u64, members: MemberList },
}

impl ImportOptions {
    /// `id` is `--id`, `members` the `--initial-cluster` list.
    pub fn new(id: Option<u64>, members: Option<MemberList>) -> Result<Self, OptionsError> {
        let identity = match (id, members) {
            (id, None) => Identity::SameNode { id },
            (None, Some(_)) => return Err(OptionsError::NoId),
            (Some(id), Some(members)) if members.contains(id) => Identity::NewMember { id, members },
            (Some(id), Some(members)) => {
                return Err(OptionsError::IdNotInList { id, list: members.canonical().trim_end().replace('\n', " ") });
            }
        };
        Ok(ImportOptions { identity, known: Vec::new(), drop_retired: false, require_seal: false })
    }

    /// Leaves out what only early servers could hold, instead of refusing it.
    #[must_use]
    pub fn drop_retired(mut self, drop: bool) -> Self {
        self.drop_retired = drop;
        self
    }

    /// Whether a file without a seal is refused.
    #[must_use]
    pub fn requiring_seal(mut self, require_seal: bool) -> Self {
        self.require_seal = require_seal;
        self
    }

    /// Leaves everything as it is when one of the generations that are there, of these origins, came from the same file, id and
    /// list.
    #[must_use]
    pub fn unless_from(mut self, known: impl IntoIterator<Item = Origin>) -> Self {
        self.known = known.into_iter().collect();
        self
    }
}

/// Options that ask for nothing that can be done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OptionsError {
    #[error("--initial-cluster needs --id: which member of the list this node is")]
    NoId,
    #[error("--id {id} is not in the --initial-cluster list [{list}]")]
    IdNotInList { id: u64, list: String },
}

#[cfg(test)]
mod tests {
    use super::ImportOptions;
    use crate::cluster::MemberList;

    #[test]
    fn an_id_and_a_list_must_fit() {
        let list = || Some(MemberList::new(["2=b:1", "1=a:1"].map(|entry| entry.parse().unwrap())).unwrap());
        let error = |id, members| ImportOptions::new(id, members).err().map(|error| error.to_string());
        assert_eq!(error(None, None), None);
        assert_eq!(error(Some(3), None), None);
        assert_eq!(error(Some(2), list()), None);
        assert_eq!(
            error(None, list()).as_deref(),
            Some("--initial-cluster needs --id: which member of the list this node is")
        );
        assert_eq!(
            error(Some(3), list()).as_deref(),
            Some("--id 3 is not in the --initial-cluster list [1=a:1 2=b:1]")
        );
    }
}
