//! The store as the backup plugin sees it: the two seams, implemented.

pub mod check;
pub mod facts;
mod feed;
pub mod offline;
pub mod pins;
mod replay;
#[cfg(test)]
mod replay_tests;
pub mod scratch;
pub mod source;
pub mod target;
#[cfg(test)]
mod tests;
pub mod view;
pub mod whole;
