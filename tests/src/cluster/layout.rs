//! What a cluster is made of, before there is one.

use std::ffi::OsString;

/// What a cluster is made of.
#[derive(Debug, Clone)]
pub struct Layout {
    /// Ids, and who stays a learner.
    pub(super) members: Vec<(u64, bool)>,
    pub(super) heartbeat_ms: u64,
    pub(super) proxied: bool,
    pub(super) more: Vec<OsString>,
}

impl Layout {
    /// Voters 1 to `count`.
    pub fn voters(count: u64) -> Layout {
        Layout::with_ids(1..=count)
    }

    pub fn with_ids(ids: impl IntoIterator<Item = u64>) -> Layout {
        let members = ids.into_iter().map(|id| (id, false)).collect();
        Layout { members, heartbeat_ms: 150, proxied: false, more: Vec::new() }
    }

    #[must_use]
    pub fn learner(mut self, id: u64) -> Layout {
        self.members.push((id, true));
        self
    }

    /// With a proxy before every node, for `Cluster::proxy`.
    #[must_use]
    pub fn proxied(self) -> Layout {
        Layout { proxied: true, ..self }
    }

    #[must_use]
    pub fn heartbeat_ms(self, heartbeat_ms: u64) -> Layout {
        Layout { heartbeat_ms, ..self }
    }

    /// More flags for every node.
    #[must_use]
    pub fn flags(self, more: Vec<OsString>) -> Layout {
        Layout { more, ..self }
    }
}
