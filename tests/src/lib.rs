//! The harness: starts the real binaries on free ports in temp folders, talks to them as clients and operators do, and
//! kills them on drop.
//!
//! What a file or a server holds is worked out here from plain JSON, by code that shares nothing with the programs
//! under test.

pub mod admin;
pub mod attack;
pub mod binaries;
pub mod client;
pub mod cluster;
pub mod denied;
pub mod export;
pub mod exporters;
pub mod faults;
pub mod fixtures;
pub mod flood;
pub mod folder;
pub mod generate;
pub mod growth;
pub mod halts;
pub mod history;
pub mod linearizable;
pub mod load;
pub mod loopback;
pub mod measure;
pub mod metronome;
pub mod older;
pub mod proxy;
pub mod replay;
pub mod scenario;
pub mod server;
pub mod sockets;
pub mod tool;
pub mod wait;
pub mod watcher;
pub mod writer;
