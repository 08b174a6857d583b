//! Where the store meets openraft: type parameters, log storage, state machine.

pub mod log_store;
pub mod types;
