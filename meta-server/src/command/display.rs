//! Commands in one short line, for logs and errors: keys and counts, never the bytes of a value.

use std::fmt;

use super::{Command, LogCommand, ValueOp};

impl fmt::Display for LogCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cmd.fmt(f)?;
        match self.time_ms {
            Some(time_ms) => write!(f, " at {time_ms} ms"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Command::AddNode { node_id, node, overriding } => {
                // What a backup holds may be anything, and a log is read line by line.
                write!(f, "AddNode {node_id} at {}", node.endpoint.to_string().escape_debug())?;
                if *overriding { f.write_str(", overriding") } else { Ok(()) }
            }
            Command::RemoveNode { node_id } => write!(f, "RemoveNode {node_id}"),
            Command::SetFeature { feature, enable } => write!(f, "SetFeature {}={enable}", feature.escape_debug()),
            Command::UpsertKV(upsert) => {
                write!(f, "UpsertKV {:?} if {}: {}", upsert.key, upsert.seq, upsert.value)
            }
            Command::Transaction(txn) => write!(
                f,
                "Transaction: {} conditional, {} conditions, {} then, {} else",
                txn.operations.len(),
                txn.condition.len(),
                txn.if_then.len(),
                txn.else_then.len(),
            ),
            Command::KvTransaction(txn) => write!(f, "KvTransaction: {} branches", txn.branches.len()),
        }
    }
}

impl fmt::Display for ValueOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ValueOp::Update(data) => write!(f, "update to {} bytes", data.len()),
            ValueOp::Delete => f.write_str("delete"),
            ValueOp::AsIs => f.write_str("touch"),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::command::LogCommand;

    #[test]
    fn a_command_is_shown_in_one_line_without_its_bytes() {
        let shown = |json: &str| LogCommand::from_json(json).unwrap().to_string();
        let upsert = r#"{"time_ms":7,"cmd":{"UpsertKV":{"key":"a\nb","seq":{"GE":1},"value":{"Update":[1,2]},"value_meta":null}}}"#;
        assert_eq!(shown(upsert), r#"UpsertKV "a\nb" if seq >= 1: update to 2 bytes at 7 ms"#);
        let txn =
            r#"{"cmd":{"Transaction":{"condition":[],"if_then":[{"request":{"Get":{"key":"k"}}}],"else_then":[]}}}"#;
        assert_eq!(shown(txn), "Transaction: 0 conditional, 0 conditions, 1 then, 0 else");
        let node = r#"{"cmd":{"AddNode":{"node_id":2,"node":{"name":"2","endpoint":{"addr":"::1","port":9}},"overriding":true}}}"#;
        assert_eq!(shown(node), "AddNode 2 at [::1]:9, overriding");
        assert_eq!(shown(&node.replace("::1", r"a\nb")), r"AddNode 2 at a\nb:9, overriding");
        let feature = r#"{"cmd":{"SetFeature":{"feature":"a\nb","enable":true}}}"#;
        assert_eq!(shown(feature), r"SetFeature a\nb=true");
    }
}
