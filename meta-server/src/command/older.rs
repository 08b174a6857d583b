//! Commands in the form of 2023, for readers of the data versions V002 and V003.
//!
//! A `Put` and a `Delete` always said whether the former value is wanted back, and a reader of then insists on it. What came later
//! is either unknown there, so that a log that holds it can not be read, or a field that is passed over.

use backup_plugin::downgrade::{Older, OlderCommands};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use super::{Command, Condition, LogCommand, Operation, Target, Transaction, TxnOp, UpsertKv};

/// This server's commands, as programs of 2023 read them.
#[derive(Debug, Clone, Copy)]
pub struct CommandsOf2023;

impl OlderCommands for CommandsOf2023 {
    fn rewrite(&self, command: &RawValue) -> Result<Older, String> {
        let command = LogCommand::from_json(command.get()).map_err(|error| error.to_string())?;
        let (written, passed_over) = match &command.cmd {
            Command::AddNode { .. } | Command::RemoveNode { .. } | Command::SetFeature { .. } => {
                (command.to_json(), None)
            }
            Command::UpsertKV(upsert) => (command.to_json(), passed_over_in_upsert(upsert)),
            Command::Transaction(txn) => match OldCommand::of(txn) {
                Ok(cmd) => (to_raw_value(&OldLogCommand { time_ms: command.time_ms, cmd }), passed_over(txn)),
                Err(what) => return Ok(Older::Unreadable { what }),
            },
            Command::KvTransaction(_) => return Ok(Older::Unreadable { what: "a `KvTransaction`" }),
        };
        let command = written.map_err(|error| error.to_string())?;
        Ok(match passed_over {
            None => Older::Same(command),
            Some(what) => Older::Misread { command, what },
        })
    }
}

fn passed_over_in_upsert(upsert: &UpsertKv) -> Option<&'static str> {
    upsert.value_meta?.ttl.map(|_| "an `UpsertKV` with a `ttl`")
}

fn passed_over(txn: &Transaction) -> Option<&'static str> {
    txn.if_then.iter().chain(&txn.else_then).find_map(|op| match op.request {
        Operation::Put { ttl_ms: Some(_), .. } => Some("a `Put` with a `ttl_ms`"),
        Operation::Put { match_seq: Some(_), .. } => Some("a `Put` with a `match_seq`"),
        _ => None,
    })
}

#[derive(Serialize)]
struct OldLogCommand<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    time_ms: Option<u64>,
    cmd: OldCommand<'a>,
}

#[derive(Serialize)]
enum OldCommand<'a> {
    Transaction { condition: &'a [Condition], if_then: Vec<OldTxnOp<'a>>, else_then: Vec<OldTxnOp<'a>> },
}

#[derive(Serialize)]
struct OldTxnOp<'a> {
    request: OldOperation<'a>,
}

/// An operation with the fields of then, in their order.
#[derive(Serialize)]
enum OldOperation<'a> {
    Get {
        key: &'a str,
    },
    Put {
        key: &'a str,
        #[serde(with = "serde_bytes")]
        value: &'a [u8],
        /// Decides what is answered, never what is stored.
        prev_value: bool,
        expire_at: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        ttl_ms: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        match_seq: Option<u64>,
    },
    Delete {
        key: &'a str,
        prev_value: bool,
        match_seq: Option<u64>,
    },
    DeleteByPrefix {
        prefix: &'a str,
    },
}

impl<'a> OldCommand<'a> {
    /// Fails with what nobody knew then.
    fn of(txn: &'a Transaction) -> Result<Self, &'static str> {
        let Transaction { operations, condition, if_then, else_then } = txn;
        if !operations.is_empty() {
            return Err("a transaction with conditional `operations`");
        }
        if condition.iter().any(|condition| matches!(condition.target, Some(Target::KeysWithPrefix(_)))) {
            return Err("a condition on `KeysWithPrefix`");
        }
        let old = |ops: &'a [TxnOp]| ops.iter().map(|op| OldOperation::of(&op.request)).collect::<Result<_, _>>();
        Ok(OldCommand::Transaction { condition, if_then: old(if_then)?, else_then: old(else_then)? })
    }
}

impl<'a> OldOperation<'a> {
    fn of(operation: &'a Operation) -> Result<OldTxnOp<'a>, &'static str> {
        let request = match operation {
            Operation::Get { key } => OldOperation::Get { key },
            Operation::Put { key, value, expire_at, ttl_ms, match_seq } => OldOperation::Put {
                key,
                value,
                prev_value: true,
                expire_at: *expire_at,
                ttl_ms: *ttl_ms,
                match_seq: *match_seq,
            },
            Operation::Delete { key, match_seq } => {
                OldOperation::Delete { key, prev_value: true, match_seq: *match_seq }
            }
            Operation::DeleteByPrefix { prefix } => OldOperation::DeleteByPrefix { prefix },
            Operation::FetchIncreaseU64 { .. } => return Err("a `FetchIncreaseU64`"),
            Operation::PutSequential { .. } => return Err("a `PutSequential`"),
        };
        Ok(OldTxnOp { request })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::command::{arbitrary, fixtures};

    fn rewrite(json: &str) -> Older {
        CommandsOf2023.rewrite(&RawValue::from_string(json.to_owned()).unwrap()).unwrap()
    }

    #[test]
    fn a_real_log_is_written_as_it_was_then() {
        let (new, old) = (fixtures::text("v004-reexported.ndjson"), fixtures::text("v002.ndjson"));
        for ((_, new), old) in fixtures::log(&new).into_iter().zip(old.lines().filter(|line| line.contains("Logs"))) {
            let Some(new) = new else { continue };
            let Older::Same(command) = rewrite(new) else { panic!("{new}") };
            let old = old.replace(r#""txid":null,"#, "");
            assert!(old.contains(&format!(r#""Normal":{}"#, command.get())), "\n got: {command}\nwant: {old}");
        }
    }

    #[test]
    fn what_came_later_is_named() {
        let then = |op: &str| {
            format!(r#"{{"cmd":{{"Transaction":{{"condition":[],"if_then":[{{"request":{op}}}],"else_then":[]}}}}}}"#)
        };
        for (json, expected) in [
            (then(r#"{"FetchIncreaseU64":{"key":"a","delta":1}}"#), "a `FetchIncreaseU64`"),
            (then(r#"{"PutSequential":{"prefix":"a","sequence_key":"b","value":[]}}"#), "a `PutSequential`"),
            (r#"{"cmd":{"KvTransaction":{"branches":[]}}}"#.to_owned(), "a `KvTransaction`"),
            (
                r#"{"cmd":{"Transaction":{"operations":[{"operations":[]}],"condition":[],"if_then":[],"else_then":[]}}}"#.to_owned(),
                "a transaction with conditional `operations`",
            ),
            (
                r#"{"cmd":{"Transaction":{"condition":[{"key":"a","expected":0,"target":{"KeysWithPrefix":1}}],"if_then":[],"else_then":[]}}}"#.to_owned(),
                "a condition on `KeysWithPrefix`",
            ),
        ] {
            match rewrite(&json) {
                Older::Unreadable { what } => assert_eq!(what, expected),
                other => panic!("{json}: {other:?}"),
            }
        }
        for (json, expected) in [
            (then(r#"{"Put":{"key":"a","value":[],"ttl_ms":1}}"#), "a `Put` with a `ttl_ms`"),
            (then(r#"{"Put":{"key":"a","value":[],"match_seq":1}}"#), "a `Put` with a `match_seq`"),
            (
                r#"{"cmd":{"UpsertKV":{"key":"a","seq":"Any","value":"AsIs","value_meta":{"expire_at":null,"ttl":{"millis":1}}}}}"#.to_owned(),
                "an `UpsertKV` with a `ttl`",
            ),
        ] {
            match rewrite(&json) {
                Older::Misread { what, .. } => assert_eq!(what, expected),
                other => panic!("{json}: {other:?}"),
            }
        }
    }

    proptest! {
        #[test]
        fn what_can_be_written_for_then_means_the_same_now(command in arbitrary::log_command()) {
            match rewrite(command.to_json().unwrap().get()) {
                Older::Same(older) | Older::Misread { command: older, .. } => {
                    prop_assert_eq!(LogCommand::from_json(older.get()).unwrap(), command);
                }
                Older::Unreadable { .. } => {}
            }
        }
    }
}
