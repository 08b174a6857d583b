//! Making a backup: a pinned view as lines of text, as a stream of chunks for a client, or as a
//! file, sealed and compressed, that appears whole or not at all.
//!
//! Knows the order of an export and its limits; how a line looks is the codec's, where the records come from is the host's.

mod chunks;
mod compress;
pub mod file;
mod lines;
mod summary;
mod temp;
mod write;

#[cfg(test)]
pub(crate) mod testing;

pub use chunks::{Chunks, DEFAULT_CHUNK_LINES, LARGE_CHUNK_LINES, chunks};
pub use lines::{MAX_LINE_BYTES, line_bytes, lines};
pub use summary::{ExportSummary, KindCount, NotAnExport};
pub use write::{BackupWriter, Form};
