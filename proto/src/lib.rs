//! The wire protocol: types generated from the files in `proto/`, and the descriptor set that reflection serves. Knows nothing else.

mod chunk;

pub use chunk::Lines;

/// Package `meta`: messages, the client and the server side of `meta.MetaService`.
pub mod meta {
    #![allow(clippy::all, clippy::pedantic, missing_docs)]
    pub use crate::chunk::ExportedChunk;
    tonic::include_proto!("meta");
}

pub use meta as pb;

/// Package `raft`: what members of a cluster say to each other.
pub mod raft {
    #![allow(clippy::all, clippy::pedantic, missing_docs)]
    tonic::include_proto!("raft");
}

/// The version of the protocol that is spoken: major * 1000000 + minor * 1000 + patch. Present clients refuse an older one.
pub const PROTOCOL_VERSION: u64 = 260_304_000_000;

/// The same as text: what clients and scripts take for a server's version.
pub const PROTOCOL_VERSION_TEXT: &str = "260304.0.0";

/// The encoded `FileDescriptorSet` of package `meta`, as gRPC reflection wants it.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/meta_descriptor.bin"));
