//! What a command may ask for: limits that are checked before it is proposed, so that whatever is in the log can be applied,
//! stored and exported. Knows what a command names; nothing of what is stored.

use backup_plugin::record::MAX_KEY_BYTES;

use super::{BooleanExpression, Command, Condition, KvOperation, Operation, Predicate, Target, ValueOp};

/// What `PutSequential` adds to its prefix: 21 digits in groups of three, `_` between them.
const SEQUENTIAL_SUFFIX_BYTES: usize = 27;

/// How deep predicates may nest. An export writes each level as two levels of JSON, and readers of JSON stop at 128.
const MAX_PREDICATE_DEPTH: usize = 32;

/// What a step of a transaction counts for beside its keys and values, in bytes. The names and brackets that an export writes
/// around an empty one are less than six times that, and six times is what a byte of a key may take there.
const STEP_BYTES: usize = 64;

/// The most steps of a transaction. All others wait while it is applied.
const MAX_STEPS: usize = 10_000;

/// How many steps it counts for to look through a prefix: that takes as long as there are keys.
const PREFIX_STEPS: usize = 10;

/// The limits of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// All keys and values of a request together, in bytes; each step of a transaction counts for 64 more.
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
    #[error(
        "the request has too many steps (operations, conditions, branches, groups of conditions; one that looks through a \
         prefix counts for {PREFIX_STEPS}): the limit is {MAX_STEPS}; send several smaller requests"
    )]
    TooManySteps,
    #[error("the predicate of the request nests deeper than {MAX_PREDICATE_DEPTH} levels")]
    PredicateTooDeep,
}

impl Limits {
    /// Checks a command that is about to be proposed.
    pub fn check(&self, command: &Command) -> Result<(), LimitError> {
        check_depth(command)?;
        let (mut bytes, mut steps) = (0, 0);
        for_each_part(command, &mut |part| {
            bytes += part.bytes();
            steps += part.steps();
            if steps > MAX_STEPS {
                return Err(LimitError::TooManySteps);
            }
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
    /// An operation, a condition, or what holds some: it costs time and space however short its keys are.
    Step,
    /// A step that looks at every key under a prefix.
    PrefixStep,
}

impl Part<'_> {
    fn bytes(self) -> usize {
        match self {
            Part::Written(text) | Part::Sought(text) | Part::Numbered(text) => text.len(),
            Part::Value(data) => data.len(),
            Part::Step | Part::PrefixStep => STEP_BYTES,
        }
    }

    fn steps(self) -> usize {
        match self {
            Part::Written(_) | Part::Sought(_) | Part::Numbered(_) | Part::Value(_) => 0,
            Part::Step => 1,
            Part::PrefixStep => PREFIX_STEPS,
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

/// Calls `visit` with every step, key and value of the command, until it fails.
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
                visit(Part::Step)?;
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
                visit(Part::Step)?;
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
    visit(if matches!(operation, Operation::DeleteByPrefix { .. }) { Part::PrefixStep } else { Part::Step })?;
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
    visit(if matches!(operation, KvOperation::DeleteByPrefix { .. }) { Part::PrefixStep } else { Part::Step })?;
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
    visit(Part::Step)?;
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
        Predicate::And(parts) | Predicate::Or(parts) => {
            visit(Part::Step)?;
            parts.iter().try_for_each(|part| visit_predicate(part, visit))
        }
        Predicate::Leaf { key, target, .. } => {
            visit(Part::Sought(key))?;
            visit_target(target, visit)
        }
    }
}

fn visit_condition<'a>(condition: &'a Condition, visit: Visit<'_, 'a>) -> Result<(), LimitError> {
    visit(Part::Sought(&condition.key))?;
    match &condition.target {
        Some(target) => visit_target(target, visit),
        None => visit(Part::Step),
    }
}

/// A condition is the step that its target makes of it.
fn visit_target<'a>(target: &'a Target, visit: Visit<'_, 'a>) -> Result<(), LimitError> {
    match target {
        Target::Value(data) => {
            visit(Part::Step)?;
            visit(Part::Value(data))
        }
        Target::Seq(_) => visit(Part::Step),
        Target::KeysWithPrefix(_) => visit(Part::PrefixStep),
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
        // Two puts and a condition, and ten bytes.
        let limits = Limits { max_request_bytes: 3 * STEP_BYTES + 10 };
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
        assert_eq!(limits.check(&large), Err(LimitError::RequestTooLarge { bytes: 204, limit: 202 }));
        assert_eq!(Limits::check_imported(&large), Ok(()));
    }

    /// Whatever its keys and values, a step costs something: none is free to be sent a million times.
    #[test]
    fn the_steps_of_a_transaction_are_counted() {
        let txn = |parts: &str| {
            let rest = [r#""condition":[]"#, r#""if_then":[]"#, r#""else_then":[]"#, r#""operations":[]"#];
            let rest = rest.iter().filter(|field| !parts.starts_with(field.trim_end_matches("[]")));
            let fields: Vec<&str> = rest.copied().chain([parts]).collect();
            format!(r#"{{"Transaction":{{{}}}}}"#, fields.join(","))
        };
        let of = |before: &str, step: &str, after: &str| (txn(&format!("{before}[ITEMS]{after}")), step.to_owned());
        let kv = |before: &str, step: &str, after: &str| {
            (format!(r#"{{"KvTransaction":{{"branches":{before}[ITEMS]{after}}}}}"#), step.to_owned())
        };
        let group = r#""operations":[{"predicate":{"operator":0,"sub_expressions":"#;
        let longest = r#"{"request":{"PutSequential":{"prefix":"","sequence_key":"s","value":[],"expires_at_ms":18446744073709551615,"ttl_ms":18446744073709551615}}}"#;
        let put = r#"{"Put":{"target":{"key":"k","match_seq":18446744073709551615},"payload":{"value":[],"expire_at_ms":null,"ttl_ms":null}}}"#;
        // Around the steps, a step, and the most that are taken.
        let cases = [
            (of(r#""if_then":"#, r#"{"request":{"Get":{"key":"k"}}}"#, ""), 10_000),
            (of(r#""else_then":"#, longest, ""), 10_000),
            (of(r#""if_then":"#, r#"{"request":{"DeleteByPrefix":{"prefix":""}}}"#, ""), 1_000),
            (of(r#""condition":"#, r#"{"key":"","expected":0,"target":null}"#, ""), 10_000),
            (of(r#""condition":"#, r#"{"key":"","expected":0,"target":{"Seq":0}}"#, ""), 10_000),
            (of(r#""condition":"#, r#"{"key":"","expected":0,"target":{"Value":[]}}"#, ""), 10_000),
            (of(r#""condition":"#, r#"{"key":"","expected":0,"target":{"KeysWithPrefix":0}}"#, ""), 1_000),
            (of(r#""operations":"#, r#"{"predicate":null,"operations":[]}"#, ""), 10_000),
            // The branch and the outer group are steps too.
            (
                of(
                    group,
                    r#"{"operator":0,"sub_expressions":[],"conditions":[]}"#,
                    r#","conditions":[]},"operations":[]}]"#,
                ),
                9_998,
            ),
            (kv("", r#"{"predicate":{"Leaf":{"key":"","target":{"Seq":0},"op":"Eq"}},"operations":[]}"#, ""), 5_000),
            (kv(r#"[{"predicate":{"Or":"#, r#"{"And":[]}"#, r#"},"operations":[]}]"#), 9_998),
            (
                kv(
                    r#"[{"predicate":{"Or":"#,
                    r#"{"Leaf":{"key":"","target":{"KeysWithPrefix":0},"op":"Eq"}}"#,
                    r#"},"operations":[]}]"#,
                ),
                999,
            ),
            (kv(r#"[{"predicate":{"And":[]},"operations":"#, put, "}]"), 9_998),
            (kv(r#"[{"predicate":{"And":[]},"operations":"#, r#"{"DeleteByPrefix":{"prefix":""}}"#, "}]"), 999),
        ];
        for ((around, step), most) in cases {
            assert!(step.len() <= 6 * STEP_BYTES, "{step} makes more of an export line than it counts for");
            let check = |count: usize| {
                let command = command(&around.replace("ITEMS", &vec![step.as_str(); count].join(",")), "");
                assert_eq!(Limits::check_imported(&command), Ok(()));
                Limits::default().check(&command)
            };
            assert_eq!(check(most), Ok(()), "{most} of {step}");
            assert_eq!(check(most + 1), Err(LimitError::TooManySteps), "{} of {step}", most + 1);
        }
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
