//! The first element of a line: which part of the store its record belongs to.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{self, Visitor},
};

/// The trees of every version of the format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Tree {
    Header,
    /// Hard state before V004, which keeps it in the log's tree.
    RaftState,
    RaftLog,
    /// `state_machine/<n>`, with any number: a trace of how the writer stored it.
    StateMachine,
    Unknown(String),
}

impl Tree {
    fn parse(name: &str) -> Tree {
        match name {
            "header" => Tree::Header,
            "raft_state" => Tree::RaftState,
            "raft_log" => Tree::RaftLog,
            _ => match name.strip_prefix("state_machine/") {
                Some(n) if !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()) => Tree::StateMachine,
                _ => Tree::Unknown(name.to_owned()),
            },
        }
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Name;

        impl Visitor<'_> for Name {
            type Value = Tree;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a tree")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<Tree, E> {
                Ok(Tree::parse(name))
            }
        }

        deserializer.deserialize_str(Name)
    }
}
