//! The server's configuration: flags over a TOML file over defaults, checked once. A [`Config`] that exists is valid;
//! nothing further in checks it again. Knows nothing of what the settings are used for.

mod address;
mod error;
mod file;
mod log;
mod raft;
mod settings;
mod shown;

use std::{path::Path, time::Duration};

use backup_plugin::record::Endpoint;

pub use self::{
    address::{is_loopback, parse_host, parse_host_port},
    error::ConfigError,
    file::FileSettings,
    log::{LogConfig, LogFormat, LogOutput},
    raft::{Leave, RaftConfig},
    settings::{FileLogSettings, LogSettings, RaftSettings, Settings, StderrLogSettings},
};
use crate::command::Limits;

/// A valid configuration.
#[derive(Debug, Clone)]
pub struct Config {
    pub log: LogConfig,
    /// Port 0: any that is free.
    pub admin_api_address: Endpoint,
    /// Port 0: any that is free.
    pub grpc_api_address: Endpoint,
    /// `None`: the host that the gRPC API listens on.
    pub grpc_api_advertise_host: Option<String>,
    /// What the keys and values of one request may take together.
    pub max_request_bytes: usize,
    /// How long one export may hold back the purge of the log.
    pub export_pin_limit: Duration,
    pub raft: RaftConfig,
}

/// A configuration, and what there is to say about it once logging has started.
#[derive(Debug)]
pub struct LoadedConfig {
    pub config: Config,
    /// A sentence each.
    pub warnings: Vec<String>,
}

impl Config {
    /// Reads the file, if there is one, puts the flags over it, and checks the result.
    pub fn load(file: Option<&Path>, flags: Settings) -> Result<LoadedConfig, ConfigError> {
        let FileSettings { settings, unknown_keys } = file.map(FileSettings::read).transpose()?.unwrap_or_default();
        let config = Self::new(flags.over(settings))?;
        let unknown = unknown_keys
            .iter()
            .map(|key| format!("the configuration key `{key}` means nothing to this server and is ignored"));
        let warnings = unknown.chain(config.exposures()).collect();
        Ok(LoadedConfig { config, warnings })
    }

    /// What others on the network can reach without a password.
    fn exposures(&self) -> impl Iterator<Item = String> {
        [("gRPC", &self.grpc_api_address), ("admin", &self.admin_api_address)]
            .into_iter()
            .filter(|(_, address)| !is_loopback(&address.addr))
            .map(|(api, address)| {
                format!("the {api} API listens on {address}, which is not a loopback address, without authentication")
            })
    }

    /// Checks settings and fills in the defaults.
    pub fn new(settings: Settings) -> Result<Self, ConfigError> {
        for (key, value) in [
            ("grpc_tls_server_cert", &settings.grpc_tls_server_cert),
            ("grpc_tls_server_key", &settings.grpc_tls_server_key),
            ("admin_tls_server_cert", &settings.admin_tls_server_cert),
            ("admin_tls_server_key", &settings.admin_tls_server_key),
        ] {
            // An empty string is how Databend's own templates say "none".
            if let Some(value) = value.as_deref().filter(|value| !value.is_empty()) {
                return Err(ConfigError::invalid(
                    key,
                    value,
                    "this version does not serve TLS, and will not serve in the clear what was meant to be encrypted; \
                     remove the key to serve without TLS",
                ));
            }
        }
        if settings.auth.is_some() {
            return Err(ConfigError::Contradiction(
                "[auth] is set, but this version does not check passwords, and will not let everyone in where a password was \
                 meant to be asked for; remove the table to serve without"
                    .into(),
            ));
        }
        Ok(Self {
            log: LogConfig::new(settings.log_dir, settings.log_level, settings.log)?,
            admin_api_address: address("admin_api_address", settings.admin_api_address, "127.0.0.1:28002")?,
            grpc_api_address: address("grpc_api_address", settings.grpc_api_address, "127.0.0.1:9191")?,
            grpc_api_advertise_host: host("grpc_api_advertise_host", settings.grpc_api_advertise_host)?,
            max_request_bytes: max_request_bytes(settings.max_request_bytes)?,
            export_pin_limit: Duration::from_millis(settings.export_pin_limit.unwrap_or(30 * 60 * 1000)),
            raft: RaftConfig::new(settings.raft_config)?,
        })
    }
}

/// The largest request whose log entry still makes a line of an export: a byte of a key takes up to six characters in it.
const LARGEST_REQUEST: usize = backup_plugin::export::MAX_LINE_BYTES / 6 - 64 * 1024;

fn max_request_bytes(value: Option<usize>) -> Result<usize, ConfigError> {
    let bytes = value.unwrap_or(Limits::default().max_request_bytes);
    if (1..=LARGEST_REQUEST).contains(&bytes) {
        return Ok(bytes);
    }
    let reason = format!("must be 1 to {LARGEST_REQUEST} bytes, so that every request fits a line of an export");
    Err(ConfigError::invalid("max_request_bytes", &bytes, reason))
}

fn address(key: &'static str, value: Option<String>, default: &str) -> Result<Endpoint, ConfigError> {
    let text = value.unwrap_or_else(|| default.into());
    parse_host_port(&text).map_err(|reason| ConfigError::invalid(key, &text, reason))
}

fn host(key: &'static str, value: Option<String>) -> Result<Option<String>, ConfigError> {
    value.map(|text| parse_host(&text).map_err(|reason| ConfigError::invalid(key, &text, reason))).transpose()
}

#[cfg(test)]
mod tests {
    use clap::{Args, Parser};

    use super::*;

    #[derive(Parser)]
    struct Flags {
        #[command(flatten)]
        settings: Settings,
    }

    fn parsed(flags: &[&str]) -> Settings {
        Flags::try_parse_from([&["databend-meta"], flags].concat()).unwrap().settings
    }

    fn refusal(flags: &[&str]) -> String {
        Config::new(parsed(flags)).unwrap_err().to_string()
    }

    #[test]
    fn flags_are_well_formed() {
        Settings::augment_args(clap::Command::new("databend-meta")).debug_assert();
    }

    #[test]
    fn a_flag_wins_over_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("meta.toml");
        std::fs::write(
            &path,
            "grpc_api_address = \"0.0.0.0:1\"\nnot_ours = 1\n[raft_config]\nid = 1\nsingle = true\nraft_api_port = 3\n",
        )
        .unwrap();

        let loaded = Config::load(Some(&path), parsed(&["--id", "7", "--single=false"])).unwrap();
        assert_eq!(loaded.config.grpc_api_address.to_string(), "0.0.0.0:1");
        assert_eq!((loaded.config.raft.id, loaded.config.raft.raft_api_port), (Some(7), 3));
        assert!(!loaded.config.raft.single);
        assert_eq!(
            loaded.warnings,
            [
                "the configuration key `not_ours` means nothing to this server and is ignored",
                "the gRPC API listens on 0.0.0.0:1, which is not a loopback address, without authentication",
            ]
        );
    }

    #[test]
    fn what_can_not_work_is_refused_by_key() {
        let cases: &[(&[&str], &str)] = &[
            (&["--admin-api-address", "28002"], "admin_api_address = 28002: the port is missing"),
            (
                &["--grpc-api-address", "::1:9"],
                "grpc_api_address = ::1:9: `::1` is not a host name, an IPv4 address or an IPv6 address in brackets",
            ),
            (&["--grpc-api-advertise-host", "a b"], "grpc_api_advertise_host = a b: `a b` is not a host"),
            (&["--grpc-tls-server-cert", "x.pem"], "grpc_tls_server_cert = x.pem: this version does not serve TLS"),
            (&["--admin-tls-server-key", "x.pem"], "admin_tls_server_key = x.pem: this version does not serve TLS"),
            (&["--max-request-bytes", "99999999"], "max_request_bytes = 99999999: must be 1 to "),
            (&["--heartbeat-interval", "0"], "raft_config.heartbeat_interval = 0: must be"),
            (&["--raft-api-port", "0"], "raft_config.raft_api_port = 0: "),
            (&["--single", "--join", "db-2:28004"], "single and join contradict each other"),
            (&["--join", "db-2"], "raft_config.join = db-2: the port is missing"),
            (&["--join", "db-2:0"], "raft_config.join = db-2:0: nobody listens on port 0"),
            (&["--leave-via", "db-2"], "raft_config.leave_via = db-2: the port is missing"),
            (&["--leave-id", "2"], "leave_id = 2 says who is to leave a cluster, but not which"),
            (&["--cluster-id", "ab"], "raft_config.cluster_id = ab: must be 64 lower-case hex digits"),
            (&["--log-level", "a=b=c"], "log_level = a=b=c: "),
            (&["--log-file-format", "xml"], "log.file.format = xml: expected `text` or `json`"),
        ];
        for (flags, expected) in cases {
            let found = refusal(flags);
            assert!(found.starts_with(expected), "{flags:?}: {found}");
        }
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = Config::load(Some(Path::new("/nowhere/meta.toml")), Settings::default()).unwrap_err();
        assert_eq!(error.to_string(), "cannot read the configuration file /nowhere/meta.toml: there is no such file");
    }

    #[test]
    fn a_password_that_would_not_be_asked_for_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("meta.toml");
        std::fs::write(&path, "[auth]\npassword = \"hush\"\n").unwrap();
        let error = Config::load(Some(&path), Settings::default()).unwrap_err().to_string();
        assert!(error.starts_with("[auth] is set, but this version does not check passwords"), "{error}");
        assert!(!error.contains("hush"));
    }
}
