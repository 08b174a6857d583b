//! The settings as an operator writes them: every key once, as a TOML key and as a flag. A flag wins over the file.
//! Says nothing about what is valid; that is [`super::Config`].

use std::path::PathBuf;

use serde::Deserialize;

/// What a configuration file or a command line says; `None` where it says nothing.
#[derive(Debug, Clone, Default, clap::Args, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// Where log files go [default: ./.databend/logs]
    #[arg(long, value_name = "DIR")]
    pub log_dir: Option<PathBuf>,
    /// What is logged, as a level or as filter directives such as `INFO,openraft=warn`; with INFO or WARN alone, libraries say
    /// little [default: INFO]
    #[arg(long, value_name = "FILTER")]
    pub log_level: Option<String>,
    /// Where the admin HTTP API listens [default: 127.0.0.1:28002]
    #[arg(long, value_name = "HOST:PORT")]
    pub admin_api_address: Option<String>,
    /// Where the gRPC API listens [default: 127.0.0.1:9191]
    #[arg(long, value_name = "HOST:PORT")]
    pub grpc_api_address: Option<String>,
    /// The host that clients are told to reach the gRPC API at [default: the one it listens on]
    #[arg(long, value_name = "HOST")]
    pub grpc_api_advertise_host: Option<String>,
    /// Not supported: setting it is refused
    #[arg(long, value_name = "FILE", hide = true)]
    pub grpc_tls_server_cert: Option<String>,
    /// Not supported: setting it is refused
    #[arg(long, value_name = "FILE", hide = true)]
    pub grpc_tls_server_key: Option<String>,

    /// Not supported: setting it is refused
    #[arg(long, value_name = "FILE", hide = true)]
    pub admin_tls_server_cert: Option<String>,
    /// Not supported: setting it is refused
    #[arg(long, value_name = "FILE", hide = true)]
    pub admin_tls_server_key: Option<String>,

    /// What the keys and values of one request may take together [default: 1048576]
    #[arg(long, value_name = "BYTES")]
    pub max_request_bytes: Option<usize>,
    /// Milliseconds that one export may hold back the purge of the log [default: 1800000]
    #[arg(long, value_name = "MS")]
    pub export_pin_limit: Option<u64>,

    #[command(flatten)]
    pub log: LogSettings,
    #[command(flatten)]
    pub raft_config: RaftSettings,
    /// Only in the file, and refused: a server that ignored it would let everyone in.
    #[arg(skip)]
    pub auth: Option<toml::Table>,
}

/// `[log]`
#[derive(Debug, Clone, Default, clap::Args, Deserialize)]
#[serde(default)]
pub struct LogSettings {
    #[command(flatten)]
    pub file: FileLogSettings,
    #[command(flatten)]
    pub stderr: StderrLogSettings,
}

/// `[log.file]`
#[derive(Debug, Clone, Default, clap::Args, Deserialize)]
#[serde(default)]
pub struct FileLogSettings {
    /// Log to files, a new one each day [default: true]
    #[arg(id = "log-file-on", long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    pub on: Option<bool>,
    /// What is logged to files [default: the log level]
    #[arg(id = "log-file-level", long, value_name = "FILTER")]
    pub level: Option<String>,
    /// `text` or `json` [default: text]
    #[arg(id = "log-file-format", long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// [default: the log directory]
    #[arg(id = "log-file-dir", long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

/// `[log.stderr]`
#[derive(Debug, Clone, Default, clap::Args, Deserialize)]
#[serde(default)]
pub struct StderrLogSettings {
    /// Log to standard error too; errors always go there [default: false]
    #[arg(id = "log-stderr-on", long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    pub on: Option<bool>,
    /// What is logged to standard error [default: the log level]
    #[arg(id = "log-stderr-level", long, value_name = "FILTER")]
    pub level: Option<String>,
    /// `text` or `json` [default: text]
    #[arg(id = "log-stderr-format", long, value_name = "FORMAT")]
    pub format: Option<String>,
}

/// `[raft_config]`
#[derive(Debug, Clone, Default, clap::Args, Deserialize)]
#[serde(default)]
pub struct RaftSettings {
    /// This node's id; the one in an initialised store wins [default: 0]
    #[arg(long)]
    pub id: Option<u64>,
    /// Where the node keeps its data [default: ./.databend/meta]
    #[arg(long, value_name = "DIR")]
    pub raft_dir: Option<PathBuf>,
    /// The host that the Raft service, which other members talk to, listens on [default: 127.0.0.1]
    #[arg(long, value_name = "HOST")]
    pub raft_listen_host: Option<String>,
    /// The host that other members reach this node at [default: what the cluster has on record, or the name of this host]
    #[arg(long, value_name = "HOST")]
    pub raft_advertise_host: Option<String>,
    /// The port that the Raft service listens on, and that other members reach it at [default: 28004]
    #[arg(long, value_name = "PORT")]
    pub raft_api_port: Option<u16>,
    /// Start a new cluster of this one node; ignored once the store is initialised
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    pub single: Option<bool>,
    /// Refuse to start with another Raft address than the list gave that the store was imported with, instead of warning
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    pub strict: Option<bool>,
    /// Join the cluster of these members, given by their Raft addresses, as a voter; ignored once the store is initialised
    #[arg(long, value_name = "HOST:PORT", num_args = 1..)]
    pub join: Option<Vec<String>>,
    /// With --join: stay a learner, which gets every write and has no vote
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    pub learner: Option<bool>,
    /// Ask these members, given by their Raft addresses, to remove a node from their cluster, and exit
    #[arg(long, value_name = "HOST:PORT", num_args = 1..)]
    pub leave_via: Option<Vec<String>>,
    /// With --leave-via: the node to remove [default: the one in --raft-dir]
    #[arg(long, value_name = "ID")]
    pub leave_id: Option<u64>,
    /// The cluster that the store belongs to, where it does not say so itself: 64 lower-case hex digits
    #[arg(long, value_name = "HEX")]
    pub cluster_id: Option<String>,
    /// The name of the cluster in logs [default: foo_cluster]
    #[arg(long, value_name = "NAME")]
    pub cluster_name: Option<String>,
    /// Milliseconds between two heartbeats; an election starts after 2 to 3 of them were missed [default: 500]
    #[arg(long, value_name = "MS")]
    pub heartbeat_interval: Option<u64>,
    /// Milliseconds without progress after which sending a snapshot is given up [default: 4000]
    #[arg(long, value_name = "MS")]
    pub install_snapshot_timeout: Option<u64>,
    /// Accepted for compatibility: compaction goes by size [default: 1024]
    #[arg(long, value_name = "ENTRIES")]
    pub snapshot_logs_since_last: Option<u64>,
    /// Compact when the changes in memory take more bytes than this, and more than a tenth of what is on disk [default: 67108864]
    #[arg(long, value_name = "BYTES")]
    pub compact_above: Option<usize>,
    /// Log entries that are kept although the snapshot includes them [default: 1000]
    #[arg(long, value_name = "ENTRIES")]
    pub max_applied_log_to_keep: Option<u64>,
    /// Accepted for compatibility: a snapshot is sent record by record [default: 4194304]
    #[arg(long, value_name = "BYTES")]
    pub snapshot_chunk_size: Option<u64>,
    /// Milliseconds that joining and leaving may go without an answer; a node that is a member serves at once
    /// [default: 180000]
    #[arg(long, value_name = "MS")]
    pub wait_leader_timeout: Option<u64>,
}

/// A struct literal that takes each field from `$over` where it says something, otherwise from `$under`.
macro_rules! first_of {
    ($over:ident, $under:ident: $($field:ident),+ $(; $($nested:ident),+)?) => {
        Self { $($field: $over.$field.or($under.$field),)+ $($($nested: $over.$nested.over($under.$nested),)+)? }
    };
}

impl Settings {
    /// These settings, filled up from `under` where they say nothing.
    pub fn over(self, under: Self) -> Self {
        first_of!(self, under: log_dir, log_level, admin_api_address, grpc_api_address, grpc_api_advertise_host,
            grpc_tls_server_cert, grpc_tls_server_key, admin_tls_server_cert, admin_tls_server_key,
            max_request_bytes, export_pin_limit, auth; log, raft_config)
    }
}

impl LogSettings {
    fn over(self, under: Self) -> Self {
        Self { file: self.file.over(under.file), stderr: self.stderr.over(under.stderr) }
    }
}

impl FileLogSettings {
    fn over(self, under: Self) -> Self {
        first_of!(self, under: on, level, format, dir)
    }
}

impl StderrLogSettings {
    fn over(self, under: Self) -> Self {
        first_of!(self, under: on, level, format)
    }
}

impl RaftSettings {
    fn over(self, under: Self) -> Self {
        first_of!(self, under: id, raft_dir, raft_listen_host, raft_advertise_host, raft_api_port, single, strict, join,
            learner, leave_via, leave_id, cluster_id, cluster_name, heartbeat_interval, install_snapshot_timeout, snapshot_logs_since_last,
            compact_above, max_applied_log_to_keep, snapshot_chunk_size, wait_leader_timeout)
    }
}
