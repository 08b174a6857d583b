//! What a command may ask for: limits that are checked before it is proposed, so that whatever is in the log can be applied,
//! stored and exported. Knows what a command names; nothing of what is stored.

use super::{BooleanExpression, Command, Condition, KvOperation, Operation, Predicate, Target, ValueOp};

/// The longest key that can be stored.
pub const MAX_KEY_BYTES: usize = 65_000;

/// What `PutSequential` adds to its prefix: 21 digits in groups of three, `_` between them.
const SEQUENTIAL_SUFFIX_BYTES: usize = 27;

/// How deep predicates may nest. An export writes each level as two levels of JSON, and readers of JSON stop at 128.
const MAX_PREDICATE_DEPTH: usize = 32;

/// The limits of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// All keys and values of a request together, in bytes.
    pub max_request_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { max_request_bytes: 1024 * 1024 }
    }
}

/// Why a command is refused. Nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    #[error("a record cannot be written under an empty key")]
    EmptyKey,
    #[error("the key {start:?}… is {bytes} bytes long; the limit is {MAX_KEY_BYTES}")]
    KeyTooLong { start: String, bytes: usize },
    #[error(
        "the prefix {start:?}… and the number put after it make a key of {bytes} bytes; the limit is {MAX_KEY_BYTES}"
    )]
    SequentialKeyTooLong { start: String, bytes: usize },
    #[error("the keys and values of the request are {bytes} bytes together; the limit is {limit}")]
    RequestTooLarge { bytes: usize, limit: usize },
    #[error("the predicate of the request nests deeper than {MAX_PREDICATE_DEPTH} levels")]
    PredicateTooDeep,
}

impl Limits {
    /// Checks a command that is about to be proposed.
    pub fn check(&self, command: &Command) -> Result<(), LimitError> {
        check_depth(command)?;
        let mut bytes = 0;
        for_each_part(command, &mut |part| {
            bytes += part.bytes();
            part.check_key()
        })?;
        if bytes > self.max_request_bytes {
            return Err(LimitError::RequestTooLarge { bytes, limit: self.max_request_bytes });
        }
        Ok(())
    }

    /// Checks a command that a log already holds: only what could not be stored is refused, because another server's log may
    /// hold requests larger than ours would take.
    pub fn check_imported(command: &Command) -> Result<(), LimitError> {
        for_each_part(command, &mut |part| part.check_key())
    }
}

/// A piece of a command that counts against the limits.
#[derive(Clone, Copy)]
enum Part<'a> {
    /// A key that a record may be written under.
    Written(&'a str),
    /// A key or prefix that is only looked for. It may be empty.
    Sought(&'a str),
    /// The prefix of a key that gets a number put after it.
    Numbered(&'a str),
    Value(&'a [u8]),
}

impl Part<'_> {
    fn bytes(self) -> usize {
        match self {
            Part::Written(text) | Part::Sought(text) | Part::Numbered(text) => text.len(),
            Part::Value(data) => data.len(),
        }
    }

    fn check_key(self) -> Result<(), LimitError> {
        match self {
            Part::Written("") => Err(LimitError::EmptyKey),
            Part::Written(key) | Part::Sought(key) if key.len() > MAX_KEY_BYTES => {
                Err(LimitError::KeyTooLong { start: start_of(key), bytes: key.len() })
            }
            Part::Numbered(prefix) if prefix.len() + SEQUENTIAL_SUFFIX_BYTES > MAX_KEY_BYTES => {
                let bytes = prefix.len() + SEQUENTIAL_SUFFIX_BYTES;
                Err(LimitError::SequentialKeyTooLong { start: start_of(prefix), bytes })
            }
            _ => Ok(()),
        }
    }
}

/// Enough of a long key to know it by.
fn start_of(key: &str) -> String {
    key.chars().take(32).collect()
}

type Visit<'v, 'a> = &'v mut dyn FnMut(Part<'a>) -> Result<(), LimitError>;

/// Calls `visit` with every key and value of the command, until it fails.
fn for_each_part<'a>(command: &'a Command, visit: Visit<'_, 'a>) -> Result<(), LimitError> {
    match command {
        Command::AddNode { .. } | Command::RemoveNode { .. } | Command::SetFeature { .. } => Ok(()),
        Command::UpsertKV(upsert) => {
            // A delete of an empty key finds nothing, and an AsIs finds nothing to touch.
            match &upsert.value {
                ValueOp::Update(data) => {
                    visit(Part::Written(&upsert.key))?;
                    visit(Part::Value(data))
                }
                ValueOp::Delete | ValueOp::AsIs => visit(Part::Sought(&upsert.key)),
            }
        }
        Command::Transaction(txn) => {
            for branch in &txn.operations {
                if let Some(predicate) = &branch.predicate {
                    visit_expression(predicate, visit)?;
                }
            }
            for condition in &txn.condition {
                visit_condition(condition, visit)?;
            }
            let conditional = txn.operations.iter().flat_map(|branch| &branch.operations);
            for op in conditional.chain(&txn.if_then).chain(&txn.else_then) {
                visit_operation(&op.request, visit)?;
            }
            Ok(())
        }
        Command::KvTransaction(txn) => {
            for branch in &txn.branches {
                visit_predicate(&branch.predicate, visit)?;
                for op in &branch.operations {
                    visit_kv_operation(op, visit)?;
                }
            }
            Ok(())
        }
    }
}

fn visit_operation<'a>(operation: &'a Operation, visit: Visit<'_, 'a>) -> Result<(), LimitError> {
    match operation {
        Operation::Get { key } | Operation::Delete { key, .. } => visit(Part::Sought(key)),
        Operation::DeleteByPrefix { prefix } => visit(Part::Sought(prefix)),
        Operation::FetchIncreaseU64 { key, .. } => visit(Part::Written(key)),
        Operation::Put { key, value, .. } => {
            visit(Part::Written(key))?;
            visit(Part::Value(value))
        }
        Operation::PutSequential { prefix, sequence_key, value, .. } => {
            visit(Part::Numbered(prefix))?;
            visit(Part::Written(sequence_key))?;
            visit(Part::Value(value))
        }
    }
}

fn visit_kv_operation<'a>(operation: &'a KvOperation, visit: Visit<'_, 'a>) -> Result<(), LimitError> {
    match operation {
        KvOperation::Get { key } => visit(Part::Sought(key)),
        KvOperation::Delete { target } => visit(Part::Sought(&target.key)),
        KvOperation::DeleteByPrefix { prefix } => visit(Part::Sought(prefix)),
        KvOperation::FetchIncreaseU64 { target, .. } => visit(Part::Written(&target.key)),
        KvOperation::Put { target, payload } => {
            visit(Part::Written(&target.key))?;
            visit(Part::Value(&payload.value))
        }
        KvOperation::PutSequential { prefix, sequence_key, payload } => {
            visit(Part::Numbered(prefix))?;
            visit(Part::Written(sequence_key))?;
            visit(Part::Value(&payload.value))
        }
    }
}

fn visit_expression<'a>(expression: &'a BooleanExpression, visit: Visit<'_, 'a>) -> Result<(), LimitError> {
    for sub in &expression.sub_expressions {
        visit_expression(sub, visit)?;
    }
    for condition in &expression.conditions {
        visit_condition(condition, visit)?;
    }
    Ok(())
}

fn visit_predicate<'a>(predicate: &'a Predicate, visit: Visit<'_, 'a>) -> Result<(), LimitError> {
    match predicate {
        Predicate::And(parts) | Predicate::Or(parts) => parts.iter().try_for_each(|part| visit_predicate(part, visit)),
        Predicate::Leaf { key, target, .. } => {
            visit(Part::Sought(key))?;
            visit_target(target, visit)
        }
    }
}

fn visit_condition<'a>(condition: &'a Condition, visit: Visit<'_, 'a>) -> Result<(), LimitError> {
    visit(Part::Sought(&condition.key))?;
    condition.target.as_ref().map_or(Ok(()), |target| visit_target(target, visit))
}

fn visit_target<'a>(target: &'a Target, visit: Visit<'_, 'a>) -> Result<(), LimitError> {
    match target {
        Target::Value(data) => visit(Part::Value(data)),
        Target::Seq(_) | Target::KeysWithPrefix(_) => Ok(()),
    }
}

fn check_depth(command: &Command) -> Result<(), LimitError> {
    let fits = match command {
        Command::Transaction(txn) => {
            let mut predicates = txn.operations.iter().filter_map(|branch| branch.predicate.as_ref());
            predicates.all(|predicate| expression_fits(predicate, MAX_PREDICATE_DEPTH))
        }
        Command::KvTransaction(txn) => {
            txn.branches.iter().all(|branch| predicate_fits(&branch.predicate, MAX_PREDICATE_DEPTH))
        }
        _ => true,
    };
    if fits { Ok(()) } else { Err(LimitError::PredicateTooDeep) }
}

fn expression_fits(expression: &BooleanExpression, levels: usize) -> bool {
    levels > 0 && expression.sub_expressions.iter().all(|sub| expression_fits(sub, levels - 1))
}

fn predicate_fits(predicate: &Predicate, levels: usize) -> bool {
    match predicate {
        Predicate::And(parts) | Predicate::Or(parts) => {
            levels > 0 && parts.iter().all(|part| predicate_fits(part, levels - 1))
        }
        Predicate::Leaf { .. } => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{KvBranch, KvTransaction, LogCommand, Transaction};

    fn command(json: &str, key: &str) -> Command {
        let json = json.replace("KEY", key);
        LogCommand::from_json(&format!(r#"{{"cmd":{json}}}"#)).unwrap().cmd
    }

    /// `op` as the one operation of a transaction.
    fn then(op: &str) -> String {
        format!(r#"{{"Transaction":{{"condition":[],"if_then":[{{"request":{op}}}],"else_then":[]}}}}"#)
    }

    /// `op` as the one operation of a key-value transaction.
    fn branch(op: &str) -> String {
        format!(r#"{{"KvTransaction":{{"branches":[{{"predicate":{{"And":[]}},"operations":[{op}]}}]}}}}"#)
    }

    #[test]
    fn every_key_of_every_command_has_its_limit() {
        let upsert = |op: &str| format!(r#"{{"UpsertKV":{{"key":"KEY","seq":"Any","value":{op}}}}}"#);
        let payload = r#""payload":{"value":[]}"#;
        // The command, the longest key it takes, and whether it takes an empty one.
        let cases = [
            (upsert(r#"{"Update":[]}"#), 65_000, false),
            (upsert(r#""Delete""#), 65_000, true),
            (upsert(r#""AsIs""#), 65_000, true),
            (then(r#"{"Get":{"key":"KEY"}}"#), 65_000, true),
            (then(r#"{"Put":{"key":"KEY","value":[]}}"#), 65_000, false),
            (then(r#"{"Delete":{"key":"KEY"}}"#), 65_000, true),
            (then(r#"{"DeleteByPrefix":{"prefix":"KEY"}}"#), 65_000, true),
            (then(r#"{"FetchIncreaseU64":{"key":"KEY","delta":1}}"#), 65_000, false),
            (then(r#"{"PutSequential":{"prefix":"KEY","sequence_key":"s","value":[]}}"#), 64_973, true),
            (then(r#"{"PutSequential":{"prefix":"p","sequence_key":"KEY","value":[]}}"#), 65_000, false),
            (branch(r#"{"Get":{"key":"KEY"}}"#), 65_000, true),
            (branch(&format!(r#"{{"Put":{{"target":{{"key":"KEY"}},{payload}}}}}"#)), 65_000, false),
            (branch(r#"{"Delete":{"target":{"key":"KEY"}}}"#), 65_000, true),
            (branch(r#"{"DeleteByPrefix":{"prefix":"KEY"}}"#), 65_000, true),
            (branch(r#"{"FetchIncreaseU64":{"target":{"key":"KEY"},"delta":1,"floor":0}}"#), 65_000, false),
            (branch(&format!(r#"{{"PutSequential":{{"prefix":"KEY","sequence_key":"s",{payload}}}}}"#)), 64_973, true),
            (branch(&format!(r#"{{"PutSequential":{{"prefix":"p","sequence_key":"KEY",{payload}}}}}"#)), 65_000, false),
            (
                r#"{"Transaction":{"condition":[{"key":"KEY","expected":0,"target":{"Seq":0}}],"if_then":[],"else_then":[]}}"#
                    .to_owned(),
                65_000,
                true,
            ),
            (
                r#"{"KvTransaction":{"branches":[{"predicate":{"Leaf":{"key":"KEY","target":{"Seq":0},"op":"Eq"}},"operations":[]}]}}"#
                    .to_owned(),
                65_000,
                true,
            ),
        ];
        for (json, longest, takes_empty) in cases {
            type Check = fn(&Command) -> Result<(), LimitError>;
            let checks: [Check; 2] = [|command| Limits::default().check(command), Limits::check_imported];
            for check in checks {
                assert_eq!(check(&command(&json, &"k".repeat(longest))), Ok(()), "{json}");
                let too_long = check(&command(&json, &"k".repeat(longest + 1))).unwrap_err();
                assert!(too_long.to_string().contains("65000"), "{json}: {too_long}");
                assert_eq!(check(&command(&json, "")).is_ok(), takes_empty, "{json}");
            }
        }
    }

    #[test]
    fn a_request_is_measured_as_a_whole_and_an_imported_one_is_not() {
        let limits = Limits { max_request_bytes: 10 };
        let put = |value: &str| {
            let op = |key: char| format!(r#"{{"request":{{"Put":{{"key":"{key}","value":{value}}}}}}}"#);
            let (a, b) = (op('a'), op('b'));
            command(
                &format!(
                    r#"{{"Transaction":{{"condition":[{{"key":"c","expected":0,"target":{{"Value":[1]}}}}],"if_then":[{a}],"else_then":[{b}]}}}}"#
                ),
                "",
            )
        };
        assert_eq!(limits.check(&put("[1,2,3]")), Ok(()));
        let large = put("[1,2,3,4]");
        assert_eq!(limits.check(&large), Err(LimitError::RequestTooLarge { bytes: 12, limit: 10 }));
        assert_eq!(Limits::check_imported(&large), Ok(()));
    }

    #[test]
    fn a_predicate_nests_only_as_deep_as_an_export_can_be_read() {
        let nested = |levels: usize| {
            let leaf = Predicate::Leaf { key: "k".into(), target: Target::Value(vec![1]), op: Default::default() };
            let predicate = (0..levels).fold(leaf, |inner, _| Predicate::Or(vec![inner]));
            Command::KvTransaction(KvTransaction { branches: vec![KvBranch { predicate, operations: vec![] }] })
        };
        let boolean = |levels: usize| {
            let expression = |subs| BooleanExpression { sub_expressions: subs, ..Default::default() };
            let predicate = (1..levels).fold(expression(vec![]), |inner, _| expression(vec![inner]));
            let operations =
                vec![crate::command::ConditionalOperation { predicate: Some(predicate), operations: vec![] }];
            Command::Transaction(Transaction { operations, ..Default::default() })
        };
        for deepest in [nested(MAX_PREDICATE_DEPTH), boolean(MAX_PREDICATE_DEPTH)] {
            assert_eq!(Limits::default().check(&deepest), Ok(()));
            let command = LogCommand { time_ms: None, cmd: deepest };
            // The brackets an export puts around a command: line, record, entry, payload.
            let line =
                format!(r#"["raft_log",{{"LogEntry":{{"payload":{{"Normal":{}}}}}}}]"#, command.to_json().unwrap());
            serde_json::from_str::<serde_json::Value>(&line).unwrap();
        }
        for too_deep in [nested(MAX_PREDICATE_DEPTH + 1), boolean(MAX_PREDICATE_DEPTH + 1)] {
            assert_eq!(Limits::default().check(&too_deep), Err(LimitError::PredicateTooDeep));
        }
    }
}
