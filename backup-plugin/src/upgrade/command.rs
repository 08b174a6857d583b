//! Commands of V0: all are the host's to read, but for what an old node lacks in `AddNode`.

use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

use super::node::OldNode;

/// The same command, its node whole. What is no `AddNode` of a known form comes back as it was: the host says what is wrong with it.
pub(super) fn upgrade_command(entry: Box<RawValue>) -> Box<RawValue> {
    // Few entries hold one, and they are told at a glance from those that do not.
    if !entry.get().contains("AddNode") {
        return entry;
    }
    let Ok(Entry { time_ms, cmd }) = serde_json::from_str::<Entry<OldNode>>(entry.get()) else { return entry };
    let Command::AddNode { node_id, node: OldNode(node), overriding } = cmd;
    let cmd = Command::AddNode { node_id, node, overriding };
    to_raw_value(&Entry { time_ms, cmd }).unwrap_or(entry)
}

#[derive(Deserialize, Serialize)]
struct Entry<N> {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    time_ms: Option<u64>,
    cmd: Command<N>,
}

#[derive(Deserialize, Serialize)]
enum Command<N> {
    AddNode {
        node_id: u64,
        node: N,
        #[serde(default)]
        overriding: bool,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_added_node_is_whole_and_every_other_command_is_left_alone() {
        let upgraded = |json: &str| upgrade_command(RawValue::from_string(json.to_owned()).unwrap()).get().to_owned();
        for (old, new) in [
            (
                r#"{"txid":null,"cmd":{"AddNode":{"node_id":1,"node":{"name":"","grpc_api_addr":"a:1"}}}}"#,
                r#"{"cmd":{"AddNode":{"node_id":1,"node":{"name":"","endpoint":{"addr":"","port":0},"grpc_api_advertise_address":null},"overriding":false}}}"#,
            ),
            (
                r#"{"time_ms":5,"cmd":{"AddNode":{"node_id":1,"node":{"name":"1","endpoint":{"addr":"a","port":2}},"overriding":true}}}"#,
                r#"{"time_ms":5,"cmd":{"AddNode":{"node_id":1,"node":{"name":"1","endpoint":{"addr":"a","port":2},"grpc_api_advertise_address":null},"overriding":true}}}"#,
            ),
        ] {
            assert_eq!(upgraded(old), new);
        }
        for other in [
            r#"{"txid":null,"cmd":{"UpsertKV":{"key":"AddNode"}}}"#,
            r#"{"cmd":{"AddNode":{"node_id":"1","node":{}}}}"#,
            r#"{"cmd":{"RemoveNode":{"node_id":1}}}"#,
            "7",
        ] {
            assert_eq!(upgraded(other), other);
        }
    }
}
