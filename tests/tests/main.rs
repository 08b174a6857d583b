//! What operators and clients see of the real programs: processes, sockets, files and signals.

mod kv;
mod new_cluster;
mod protocol;
mod restore;
mod tail;
mod usage;
