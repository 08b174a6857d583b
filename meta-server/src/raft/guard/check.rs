//! What does not fit, and why: comparisons of what a message says with what is on record. Changes nothing.

use meta_proto::raft as pb;
use openraft::async_runtime::WatchReceiver;

use super::{Guard, Refusal};
use crate::raft::start::Start;

impl Guard {
    pub(super) fn check_address(&self, caller: &pb::Caller) -> Result<(), Refusal> {
        let (own, incarnation) = (self.inner.node_id, self.inner.incarnation);
        if caller.target != own {
            return Err(Refusal::OtherNode { meant: caller.target, own });
        }
        if caller.target_incarnation.is_some_and(|known| known != incarnation) {
            return Err(Refusal::Reborn { own, peer: caller.node_id });
        }
        Ok(())
    }

    pub(super) fn check_cluster(&self, peer: u64, theirs: &str) -> Result<(), Refusal> {
        let own = self.inner.node_id;
        self.record().read(|known| match &known.cluster_id {
            Some(ours) if ours == theirs => Ok(()),
            Some(ours) if theirs.is_empty() => Err(Refusal::NoCluster { peer, own, ours: ours.clone() }),
            Some(ours) => Err(Refusal::OtherCluster { peer, theirs: theirs.to_owned(), own, ours: ours.clone() }),
            // Restored without a cluster id: listens to the members it was restored with.
            None if self.is_member(peer) => Ok(()),
            None => Err(Refusal::Stranger { peer, own }),
        })
    }

    /// Whether this node may talk to anybody at all.
    pub fn check_memory(&self) -> Result<(), Refusal> {
        if self.is_forgetful() { Err(Refusal::Forgetful { own: self.inner.node_id }) } else { Ok(()) }
    }

    pub(super) fn check_record(&self, peer: u64, incarnation: u64, cluster_id: &str) -> Result<(), Refusal> {
        match self.incarnation_of(peer) {
            Some(on_record) if on_record != incarnation => Err(self.peer_reborn(peer, cluster_id)),
            _ => Ok(()),
        }
    }

    pub(super) fn check_start(&self, peer: u64, start: Option<Start>) -> Result<(), Refusal> {
        let known = self.record().read(|known| known.starts.get(&peer).copied());
        match (start, known) {
            (Some(start), Some(known)) if start.contradicts(known) => {
                Err(Refusal::PeerWentBack { peer, start: start.number, own: self.inner.node_id, known: known.number })
            }
            _ => Ok(()),
        }
    }

    /// Whether the caller knows of a later start of this node, or of another one under its number.
    pub(super) fn check_own_start(&self, caller: &pb::Caller) -> Result<(), Refusal> {
        match (self.inner.start, caller.target_start.map(Start::from)) {
            // Of an incarnation that the caller has on record: it says so only of that.
            (Some(start), Some(known)) if caller.target_incarnation.is_some() && start.contradicts(known) => {
                Err(Refusal::WentBack {
                    own: self.inner.node_id,
                    start: start.number,
                    peer: caller.node_id,
                    known: known.number,
                })
            }
            _ => Ok(()),
        }
    }

    pub(super) fn peer_reborn(&self, peer: u64, cluster_id: &str) -> Refusal {
        let ours = self.cluster_id().unwrap_or_default();
        Refusal::PeerReborn { peer, kin: self.kin(peer, cluster_id, &ours) }
    }

    /// Whether a node that has forgotten belongs to the same cluster as the one that remembers it. Where it has no cluster id
    /// yet, `peer`, the other one of the two than this node, must be a member.
    pub(super) fn kin(&self, peer: u64, of_forgetful: &str, of_other: &str) -> bool {
        if of_forgetful.is_empty() { self.is_member(peer) } else { of_forgetful == of_other }
    }

    pub(super) fn is_member(&self, id: u64) -> bool {
        let metrics = self.inner.metrics.get();
        metrics.is_some_and(|metrics| metrics.borrow_watched().membership_config.membership().get_node(&id).is_some())
    }
}
