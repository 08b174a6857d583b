//! What operators and clients see of the real programs: processes, sockets, files and signals.

mod bad_backups;
mod bad_folders;
mod chunks;
mod compaction;
mod config;
mod consistency;
mod crash;
mod export_file;
mod export_interrupted;
mod export_while_writing;
mod fork;
mod full_disk;
mod interrupted_import;
mod kv;
mod memory;
mod new_cluster;
mod offline_export;
mod one_node_history;
mod protocol;
mod restore;
mod restored_cluster;
mod status;
mod stop;
mod tail;
mod usage;
