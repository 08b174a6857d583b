//! Nodes of V0: they may lack an address, and may have a listening address that nobody reads any more.

use serde::Deserialize;

use crate::record::{Endpoint, Node};

/// A node with whatever it says of itself.
#[derive(Debug, Clone, Deserialize)]
#[serde(from = "NodeFields")]
pub(super) struct OldNode(pub(super) Node);

#[derive(Deserialize)]
struct NodeFields {
    #[serde(default)]
    name: String,
    endpoint: Option<Endpoint>,
    grpc_api_advertise_address: Option<String>,
}

impl From<NodeFields> for OldNode {
    fn from(NodeFields { name, endpoint, grpc_api_advertise_address }: NodeFields) -> Self {
        OldNode(Node { name, endpoint: endpoint.unwrap_or_default(), grpc_api_advertise_address })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_may_lack_any_of_its_addresses() {
        let node = |json: &str| serde_json::from_str::<OldNode>(json).unwrap().0;
        let endpoint = Endpoint { addr: "a".to_owned(), port: 1 };
        assert_eq!(node("{}"), Node::default());
        assert_eq!(
            node(r#"{"name":"","endpoint":{"addr":"a","port":1},"grpc_api_addr":"0.0.0.0:9191"}"#),
            Node { endpoint: endpoint.clone(), ..Node::default() }
        );
        assert_eq!(
            node(r#"{"name":"1","endpoint":{"addr":"a","port":1},"grpc_api_advertise_address":"a:9"}"#),
            Node { name: "1".to_owned(), endpoint, grpc_api_advertise_address: Some("a:9".to_owned()) }
        );
    }
}
