//! Records as lines of text: what a record looks like in the JSON of the current version, and back.
//!
//! One line in, one record out, without the newline. Knows nothing of files, of the order of lines, or of what they mean together.
//! Commands inside log entries pass through undecoded.

mod bytes;
mod decode;
mod encode;
mod kv;
mod scan;
mod tree;
mod version;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub use decode::{DecodeError, decode};
pub(crate) use decode::{HeaderLine, KeyValue, decode_header};
pub use encode::encode;
pub(crate) use encode::write_line;
pub(crate) use tree::{Line, Tree, read_line, tree_of};
pub use version::{UnknownVersion, Version};

/// The one live key of `Sequences`: the counter of all key-value records.
pub(crate) const SEQUENCE_KEY: &str = "generic-kv";
