//! The first element of a line: which part of the store its record belongs to.

use std::{fmt, marker::PhantomData};

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

/// A line: an array of a tree and a record, whose shape follows from the tree and from the version of the format.
pub(crate) trait Line: Sized {
    /// Reads the record of a line of `tree`; `None` where there is none.
    fn read<'de, A: SeqAccess<'de>>(tree: Tree, seq: &mut A) -> Result<Option<Self>, A::Error>;
}

/// Reads a line as lines of one version look.
pub(crate) fn read_line<L: Line>(line: &str) -> Result<L, DecodeError> {
    struct Pair<L>(L);

    impl<'de, L: Line> Deserialize<'de> for Pair<L> {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct Elements<L>(PhantomData<L>);

            impl<'de, L: Line> Visitor<'de> for Elements<L> {
                type Value = Pair<L>;

                fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.write_str("an array of a tree and a record")
                }

                fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Pair<L>, A::Error> {
                    let tree = seq.next_element()?.ok_or_else(|| de::Error::invalid_length(0, &self))?;
                    let line = L::read(tree, &mut seq)?.ok_or_else(|| de::Error::invalid_length(1, &self))?;
                    Ok(Pair(line))
                }
            }

            deserializer.deserialize_seq(Elements(PhantomData))
        }
    }

    let Pair(line) = serde_json::from_str(line)?;
    Ok(line)
}

/// The tree of a line of any version, whatever its record is.
pub(crate) fn tree_of(line: &str) -> Result<Tree, DecodeError> {
    read_line(line)
}

impl Line for Tree {
    fn read<'de, A: SeqAccess<'de>>(tree: Tree, seq: &mut A) -> Result<Option<Self>, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Some(tree))
    }
}
