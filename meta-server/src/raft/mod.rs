//! Where the store meets openraft: type parameters, log storage, state machine, network.

pub mod convert;
pub mod guard;
pub mod log_store;
pub mod network;
pub mod snapshot;
pub mod start;
pub mod state_machine;
#[cfg(test)]
mod suite;
pub mod types;
pub mod wire;
