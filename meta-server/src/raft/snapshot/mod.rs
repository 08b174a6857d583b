//! Snapshots between members: a base, record by record, from one's view into the other's new base. `send` makes the messages,
//! `receive` takes them, `wire` is what the first of them says. Knows nothing of who calls whom, of votes or of connections.

#[cfg(test)]
mod cluster_tests;
mod receive;
mod send;
#[cfg(test)]
mod tests;
mod wire;

pub use receive::{ReceiveError, receive};
pub use send::{Chunks, SendError, Sending, chunks, header};

/// Bytes after which a message is full, so that even a slow network is seen to make progress. A record that is larger travels
/// alone.
const MESSAGE_BYTES: usize = 256 * 1024;
