//! What only early servers could hold: records, sequences and commands of a metadata store that kept databases and tables
//! itself. No current server has a place for them.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{self, IgnoredAny, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::record::LogId;

/// Something that can not be restored any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Retired {
    /// A record of the state machine, by its kind.
    Record(&'static str),
    /// A counter that is not the one of the key-value records, by its key.
    Sequence(String),
    /// The command in a log entry.
    Command { name: &'static str, log_id: LogId },
}

impl Retired {
    /// What it is counted as.
    pub fn kind(&self) -> String {
        match self {
            Retired::Record(kind) => (*kind).to_owned(),
            Retired::Sequence(key) => format!("Sequences {key}"),
            Retired::Command { name, .. } => (*name).to_owned(),
        }
    }
}

impl fmt::Display for Retired {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Retired::Record(kind) => write!(f, "a `{kind}` record"),
            Retired::Sequence(key) => write!(f, "the sequence `{key}`"),
            Retired::Command { name, log_id } => write!(f, "the command `{name}` in log entry {log_id}"),
        }
    }
}

const COMMANDS: [&str; 9] = [
    "CreateDatabase",
    "DropDatabase",
    "CreateTable",
    "DropTable",
    "RenameTable",
    "UpsertTableOptions",
    "IncrSeq",
    "CreateShare",
    "DropShare",
];

/// The retired command in `{"cmd":{"<name>":…},…}`, if that is what it is. Whether any other is a command is the host's to say.
pub(super) fn retired_command(entry: &RawValue) -> Option<&'static str> {
    let Entry { cmd: Name(name) } = serde_json::from_str(entry.get()).ok()?;
    name
}

#[derive(Deserialize)]
struct Entry {
    cmd: Name,
}

/// The name of a retired command.
struct Name(Option<&'static str>);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Names;

        impl<'de> Visitor<'de> for Names {
            type Value = Name;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a command")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<Name, E> {
                Ok(Name(COMMANDS.into_iter().find(|command| *command == name)))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Name, A::Error> {
                let name = map.next_key::<Name>()?.unwrap_or(Name(None));
                map.next_value::<IgnoredAny>()?;
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(name)
            }
        }

        deserializer.deserialize_any(Names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retired_commands_are_known_by_name_alone() {
        let name = |json: &str| retired_command(&RawValue::from_string(json.to_owned()).unwrap());
        for command in COMMANDS {
            assert_eq!(name(&format!(r#"{{"txid":null,"cmd":{{"{command}":{{"x":[1,{{}}]}}}}}}"#)), Some(command));
            assert_eq!(name(&format!(r#"{{"cmd":"{command}","time_ms":1}}"#)), Some(command));
        }
        for other in [
            r#"{"cmd":{"UpsertKV":{"key":"CreateTable"}}}"#,
            r#"{"cmd":{"CreateTables":{}}}"#,
            r#"{"CreateTable":{}}"#,
            r#"{"cmd":{}}"#,
            r#"{"cmd":null}"#,
            r#"{"cmd":7}"#,
            "[]",
            "7",
        ] {
            assert_eq!(name(other), None, "{other}");
        }
    }
}
