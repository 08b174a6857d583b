//! The gRPC API of the server.

pub mod convert;
