//! What operators and clients see of the real programs: processes, sockets, files and signals.

mod chunks;
mod compaction;
mod export_file;
mod export_while_writing;
mod kv;
mod memory;
mod new_cluster;
mod protocol;
mod restore;
mod tail;
mod usage;
