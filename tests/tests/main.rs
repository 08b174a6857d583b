//! What operators and clients see of the real programs: processes, sockets, files and signals.

mod kv;
mod protocol;
