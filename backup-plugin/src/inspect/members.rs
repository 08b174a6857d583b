//! The addresses of members, within bounds: a real cluster has a handful, and a file may hold any number.

use std::collections::BTreeMap;

use crate::record::Node;

/// Bytes of names and addresses that are kept; a record counts for some more.
const ROOM: usize = 1024 * 1024;
const RECORD: usize = 128;

#[derive(Default)]
pub(super) struct Addresses {
    nodes: BTreeMap<u64, Node>,
    used: usize,
}

impl Addresses {
    pub(super) fn push(&mut self, id: u64, node: Node) {
        let grpc = node.grpc_api_advertise_address.as_ref().map_or(0, String::len);
        let bytes = RECORD + node.name.len() + node.endpoint.addr.len() + grpc;
        if self.used + bytes <= ROOM {
            self.used += bytes;
            self.nodes.insert(id, node);
        }
    }

    pub(super) fn finish(self) -> BTreeMap<u64, Node> {
        self.nodes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_nothing_but_nodes_takes_no_more_than_its_room() {
        let mut addresses = Addresses::default();
        let node = |name: usize| Node { name: "n".repeat(name), ..Node::default() };
        addresses.push(0, node(2 * ROOM));
        (1..100_000).for_each(|id| addresses.push(id, node(3)));
        let nodes = addresses.finish();
        assert_eq!(nodes.len(), ROOM / (RECORD + 3));
        assert!(nodes.contains_key(&1) && !nodes.contains_key(&0));
    }
}
