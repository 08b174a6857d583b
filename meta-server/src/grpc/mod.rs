//! The gRPC API of the server: `meta.MetaService`, health and reflection.

pub mod convert;
pub mod handshake;
pub mod token;
