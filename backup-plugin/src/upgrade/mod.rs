//! Older versions of the format: one line of any version in, one record of the current one out.
//!
//! | change | module |
//! |---|---|
//! | V0 to V001: log ids have a leader, the hard state is a vote, a membership maps its nodes | `leaderless` |
//! | V0 to V001: nodes have their addresses | `node`, `command` |
//! | V0 to V001: databases and tables are the clients' | `retired`, `state` |
//! | V003 to V004: identity and vote are in the tree of the log | `raft_log` |
//!
//! V001 to V003 differ in what they leave out, so every line of V0 to V003 is read by the same rules. Each line is read by itself:
//! knows nothing of the lines before it, of files, or of what is to be done about something retired.

mod command;
mod leaderless;
mod node;
mod raft_log;
mod retired;
mod state;

#[cfg(test)]
mod tests;

use serde::de::{IgnoredAny, SeqAccess};

pub use retired::Retired;

use crate::{
    codec::{self, DecodeError, HeaderLine, Line, Tree, Version, read_line},
    record::{Header, Record, StateRecord},
};

/// What a line says, in the terms of the current version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decoded {
    Record(Record),
    /// Something that nobody needs any more, and that loses nothing.
    Ignored,
    /// Something that was data once, and that no current server can hold.
    Retired(Retired),
}

/// What the first line of a file tells of all its lines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Head {
    pub version: Version,
    /// The last one is a seal.
    pub sealed: bool,
}

/// Reads the first line of a file, without its newline: a header names the version, and a first line of any other tree is that of a
/// file without one.
pub fn head_of(line: &str) -> Result<Head, DecodeError> {
    let headless = Head { version: Version::V0, sealed: false };
    match codec::tree_of(line)? {
        Tree::RaftState | Tree::RaftLog | Tree::StateMachine => Ok(headless),
        Tree::Header | Tree::Unknown(_) => match codec::decode(line)? {
            Record::Header(Header { version, sealed }) => Ok(Head { version: version.parse()?, sealed }),
            _ => Ok(headless),
        },
    }
}

/// Reads one line of a file of `version`, without its newline.
pub fn decode(version: Version, line: &str) -> Result<Decoded, DecodeError> {
    // Most of a file is key-value records, and they look the same in every version.
    if version == Version::V004 || line.starts_with(r#"["state_machine/0",{"GenericKV":"#) {
        return codec::decode(line).map(Decoded::from);
    }
    match read_line(line)? {
        OldLine::Header(header) => codec::decode_header(header).map(|header| Record::Header(header).into()),
        OldLine::RaftState(record) => raft_log::upgrade_state(record),
        OldLine::RaftLog(record) => raft_log::upgrade_log(record),
        OldLine::State(record) => state::upgrade_record(record, line),
        OldLine::Unknown(tree) => {
            Err(DecodeError::UnknownTree { tree, known: "`header`, `raft_state`, `raft_log` and `state_machine/<n>`" })
        }
    }
}

impl From<Record> for Decoded {
    fn from(record: Record) -> Self {
        match record {
            Record::State(StateRecord::Ignored) => Decoded::Ignored,
            record => Decoded::Record(record),
        }
    }
}

/// A line of V0 to V003.
enum OldLine {
    Header(HeaderLine),
    RaftState(raft_log::RaftState),
    RaftLog(raft_log::RaftLog),
    State(state::StateLine),
    Unknown(String),
}

impl Line for OldLine {
    fn read<'de, A: SeqAccess<'de>>(tree: Tree, seq: &mut A) -> Result<Option<Self>, A::Error> {
        Ok(match tree {
            Tree::Header => seq.next_element()?.map(OldLine::Header),
            Tree::RaftState => seq.next_element()?.map(OldLine::RaftState),
            Tree::RaftLog => seq.next_element()?.map(OldLine::RaftLog),
            Tree::StateMachine => seq.next_element()?.map(OldLine::State),
            Tree::Unknown(tree) => seq.next_element::<IgnoredAny>()?.map(|_| OldLine::Unknown(tree)),
        })
    }
}
