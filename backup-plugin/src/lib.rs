//! Backup and restore for a Raft metadata store, as a plugin of the server that hosts it.
//!
//! - [`record`]: what an export holds, as types. [`codec`]: the same as lines of text.
//! - [`upgrade`]: the lines of older versions as records of the current one. [`downgrade`]: the way back.
//! - [`source`], [`target`]: the two seams. A host implements them; the plugin knows nothing else of it.
//! - [`export`]: a pinned view as a stream of chunks, or as a file. [`service`]: the gRPC handlers that a host mounts.
//! - [`observe`]: what a host is told of exports, for its metrics.
//! - [`provenance`]: what an export has to include, and where it comes from. [`wire`]: the same as messages.
//! - [`seal`]: how a file proves that it is whole.
//! - [`input`]: the reader that everything which takes a backup reads it with.
//! - [`inspect`]: what is in a backup, counted while it goes by.
//! - [`import`]: records in, checks, a plan, a new generation out.
//! - [`diff`]: what is different between two states.
//! - [`cluster`]: the `--initial-cluster` list and the lineage that it starts. [`hex`]: ids and digests as text. [`clock`]:
//!   moments as text. [`write_behind`]: long files on their way to disk. [`urgency`]: work that gives way to other work.

pub mod clock;
pub mod cluster;
pub mod codec;
pub mod diff;
pub mod downgrade;
pub mod export;
pub mod hex;
pub mod import;
pub mod input;
pub mod inspect;
pub mod observe;
pub mod provenance;
pub mod record;
pub mod seal;
pub mod service;
pub mod source;
pub mod target;
pub mod upgrade;
pub mod urgency;
pub mod wire;
pub mod write_behind;
