//! What the operator asks for. Options that exist are valid ones.

use super::{Stop, room::LARGEST};
use crate::{cluster::MemberList, target::Origin};

/// Who the imported node is to be, and when there is nothing to do.
#[derive(Debug, Clone)]
pub struct ImportOptions {
    pub(super) identity: Identity,
    pub(super) known: Vec<Origin>,
    pub(super) drop_retired: bool,
    pub(super) require_seal: bool,
    pub(super) stop: Option<Stop>,
    pub(super) bump_seq: u64,
    pub(super) min_term: u64,
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
        Ok(ImportOptions {
            identity,
            known: Vec::new(),
            drop_retired: false,
            require_seal: false,
            stop: None,
            bump_seq: 0,
            min_term: 0,
        })
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

    /// Stops applying the log there, and drops the rest of it.
    #[must_use]
    pub fn until(mut self, stop: Option<Stop>) -> Self {
        self.stop = stop;
        self
    }

    /// Adds to the last sequence number given out, so that numbers which clients have seen after the backup are not given out
    /// again. Of a new cluster only: the state of one that exists is the same on all of its members.
    pub fn bumping_seq(mut self, by: u64) -> Result<Self, OptionsError> {
        self.bump_seq = by;
        self.only_for_a_new_cluster("--bump-seq", by)
    }

    /// Has a new cluster begin in this term, or a later one. A cluster that exists goes on in its own.
    pub fn min_term(mut self, term: u64) -> Result<Self, OptionsError> {
        self.min_term = term;
        self.only_for_a_new_cluster("--min-term", term)
    }

    fn only_for_a_new_cluster(self, flag: &'static str, value: u64) -> Result<Self, OptionsError> {
        match self.identity {
            _ if value > LARGEST => Err(OptionsError::TooLarge { flag, value }),
            Identity::SameNode { .. } if value > 0 => Err(OptionsError::NeedsList { flag }),
            _ => Ok(self),
        }
    }

    /// What is asked for beside the file, the id and the list, as a text that is empty where nothing is.
    pub(super) fn variant(&self) -> String {
        let stop = self.stop.map(|stop| format!("{stop}\n"));
        let bump_seq = (self.bump_seq > 0).then(|| format!("--bump-seq {}\n", self.bump_seq));
        let min_term = (self.min_term > 0).then(|| format!("--min-term {}\n", self.min_term));
        [stop, bump_seq, min_term].into_iter().flatten().collect()
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
    #[error(
        "{flag} needs --initial-cluster: a node that is restored as it was goes on with its cluster's terms and sequence numbers"
    )]
    NeedsList { flag: &'static str },
    #[error("{flag} {value} leaves no room for what comes after it: the largest that is taken is {LARGEST}")]
    TooLarge { flag: &'static str, value: u64 },
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

    #[test]
    fn terms_and_sequence_numbers_are_raised_for_a_new_cluster_alone() {
        let list = || Some(MemberList::new(["1=a:1".parse().unwrap()]).unwrap());
        let same = || ImportOptions::new(None, None).unwrap();
        let new = || ImportOptions::new(Some(1), list()).unwrap();
        for (result, words) in [
            (same().bumping_seq(0), None),
            (same().min_term(0), None),
            (new().bumping_seq(7), None),
            (new().min_term(7), None),
            (same().bumping_seq(1), Some("--bump-seq needs --initial-cluster: ")),
            (same().min_term(1), Some("--min-term needs --initial-cluster: ")),
            (new().bumping_seq(u64::MAX), Some("--bump-seq 18446744073709551615 leaves no room")),
            (new().min_term(u64::MAX), Some("--min-term 18446744073709551615 leaves no room")),
        ] {
            let error = result.err().map(|error| error.to_string());
            match words {
                Some(words) => assert!(error.as_deref().is_some_and(|error| error.starts_with(words)), "{error:?}"),
                None => assert_eq!(error, None),
            }
        }
    }
}
