//! Courses of events that tests and benches share: what is done with clusters, and what must be true of them afterwards.

pub mod backups;
pub mod restore;
