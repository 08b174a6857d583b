//! Whose state a side is, as far as it says so itself.

use backup_plugin::{
    provenance::{Consistency, Provenance, Role},
    seal::Seal,
};
use serde::Serialize;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct Whence {
    pub(super) node_id: Option<u64>,
    pub(super) role: Option<Role>,
    pub(super) cluster_id: Option<String>,
    pub(super) consistency: Option<Consistency>,
    /// When a file was written.
    pub(super) written_at: Option<String>,
}

impl Whence {
    pub(super) fn of(provenance: &Provenance) -> Whence {
        let origin = &provenance.origin;
        Whence {
            node_id: origin.node_id,
            role: origin.role,
            cluster_id: origin.cluster_id.clone(),
            consistency: Some(provenance.consistency),
            written_at: None,
        }
    }

    pub(super) fn sealed(seal: &Seal) -> Whence {
        Whence {
            node_id: seal.node_id,
            role: seal.role,
            cluster_id: seal.cluster_id.clone(),
            consistency: seal.consistency,
            written_at: Some(seal.written_at.clone()),
        }
    }

    /// Up to two lines.
    pub(super) fn lines(&self) -> Vec<String> {
        let node = self.node_id.map(|id| match self.role {
            Some(role) => format!("node {id} ({role:?})"),
            None => format!("node {id}"),
        });
        let consistency = self.consistency.map(|consistency| consistency.to_string());
        let written = self.written_at.as_ref().map(|at| format!("written {at}"));
        let first: Vec<String> = [node, consistency, written].into_iter().flatten().collect();
        let cluster = self.cluster_id.as_ref().map(|id| format!("cluster {id}"));
        (!first.is_empty()).then(|| first.join(", ")).into_iter().chain(cluster).collect()
    }
}
