//! The first element of a line: which part of the store its record belongs to.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{self, IgnoredAny, SeqAccess, Visitor},
};

use super::DecodeError;

/// The trees of every version of the format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Tree {
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

/// The tree of a line of any version, whatever its record is.
pub(crate) fn tree_of(line: &str) -> Result<Tree, DecodeError> {
    struct First(Tree);

    impl<'de> Deserialize<'de> for First {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct Line;

            impl<'de> Visitor<'de> for Line {
                type Value = First;

                fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.write_str("an array of a tree and a record")
                }

                fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<First, A::Error> {
                    let tree = seq.next_element()?.ok_or_else(|| de::Error::invalid_length(0, &self))?;
                    while seq.next_element::<IgnoredAny>()?.is_some() {}
                    Ok(First(tree))
                }
            }

            deserializer.deserialize_seq(Line)
        }
    }

    let First(tree) = serde_json::from_str(line)?;
    Ok(tree)
}
