//! The gRPC API of the server: `meta.MetaService`, health and reflection.

pub mod handshake;
pub mod token;
