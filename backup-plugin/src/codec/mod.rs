//! Records as lines of text: what a record looks like in the JSON of the current version, and back.
//!
//! One line in, one record out, without the newline. Knows nothing of files, of the order of lines, or of what they mean together.
//! Commands inside log entries pass through undecoded.

mod bytes;
mod decode;
mod encode;
mod kv;
mod tree;

#[cfg(test)]
mod tests;

pub use decode::{DecodeError, decode};
pub use encode::encode;
pub(crate) use tree::{Tree, tree_of};

/// The one live key of `Sequences`: the counter of all key-value records.
const SEQUENCE_KEY: &str = "generic-kv";
