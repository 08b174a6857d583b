//! The wire protocol: types generated from `proto/meta.proto`, and the descriptor set that reflection serves. Knows nothing else.

/// Package `meta`: messages, the client and the server side of `meta.MetaService`.
pub mod pb {
    #![allow(clippy::all, clippy::pedantic, missing_docs)]
    tonic::include_proto!("meta");
}

/// The encoded `FileDescriptorSet` of package `meta`, as gRPC reflection wants it.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/meta_descriptor.bin"));
