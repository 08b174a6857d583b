//! The configuration in force, as the admin API shows it: the keys of the file, defaults filled in. Every key is named here one by
//! one, so that what must not be seen is not shown by accident.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Config, LogConfig, LogFormat, LogOutput};

impl Config {
    /// Has no secrets: none of the keys that are shown holds one.
    pub fn shown(&self) -> Value {
        let Config { log, raft, .. } = self;
        let (log, log_dir, log_level) = shown_log(log);
        let leave = raft.leave.as_ref();
        json!({
            "log_dir": log_dir,
            "log_level": log_level,
            "log": log,
            "admin_api_address": self.admin_api_address.to_string(),
            "grpc_api_address": self.grpc_api_address.to_string(),
            "grpc_api_advertise_host": self.grpc_api_advertise_host,
            "max_request_bytes": self.max_request_bytes,
            "export_pin_limit": ms(self.export_pin_limit),
            "raft_config": {
                "id": raft.id.unwrap_or_default(),
                "raft_dir": raft.raft_dir,
                "raft_listen_host": raft.raft_listen_host,
                "raft_advertise_host": raft.raft_advertise_host,
                "raft_api_port": raft.raft_api_port,
                "single": raft.single,
                "join": raft.join.iter().map(ToString::to_string).collect::<Vec<_>>(),
                "learner": raft.learner,
                "leave_via": leave.iter().flat_map(|leave| &leave.via).map(ToString::to_string).collect::<Vec<_>>(),
                "leave_id": leave.and_then(|leave| leave.id),
                "cluster_id": raft.cluster_id,
                "cluster_name": raft.cluster_name,
                "heartbeat_interval": raft.heartbeat_interval_ms,
                "install_snapshot_timeout": raft.install_snapshot_timeout_ms,
                "snapshot_logs_since_last": raft.snapshot_logs_since_last,
                "compact_above": raft.compact_above,
                "max_applied_log_to_keep": raft.max_applied_log_to_keep,
                "snapshot_chunk_size": raft.snapshot_chunk_size,
                "wait_leader_timeout": ms(raft.wait_leader_timeout),
            },
        })
    }
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// `[log]`, `log_dir` and `log_level`.
fn shown_log(log: &LogConfig) -> (Value, &std::path::Path, &str) {
    let output = |output: Option<&LogOutput>| match output {
        None => json!({"on": false}),
        Some(output) => {
            let format = match output.format {
                LogFormat::Text => "text",
                LogFormat::Json => "json",
            };
            json!({"on": true, "level": output.level(), "format": format})
        }
    };
    let mut file = output(log.file.as_ref().map(|(_, output)| output));
    if let Some((dir, _)) = &log.file {
        file["dir"] = json!(dir);
    }
    (json!({"file": file, "stderr": output(log.stderr.as_ref())}), &log.dir, &log.level)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;

    #[test]
    fn every_default_is_the_one_that_operators_know() {
        let config = Config::new(Settings::default()).unwrap();
        let shown = config.shown();
        for (key, expected) in [
            ("/log_dir", json!("./.databend/logs")),
            ("/log_level", json!("INFO")),
            ("/log/file", json!({"on": true, "level": "INFO", "format": "text", "dir": "./.databend/logs"})),
            ("/log/stderr", json!({"on": false})),
            ("/admin_api_address", json!("127.0.0.1:28002")),
            ("/grpc_api_address", json!("127.0.0.1:9191")),
            ("/grpc_api_advertise_host", json!(null)),
            ("/raft_config/id", json!(0)),
            ("/raft_config/raft_dir", json!("./.databend/meta")),
            ("/raft_config/raft_listen_host", json!("127.0.0.1")),
            // Whatever the cluster has on record, or the name of this host.
            ("/raft_config/raft_advertise_host", json!(null)),
            ("/raft_config/raft_api_port", json!(28004)),
            ("/raft_config/single", json!(false)),
            ("/raft_config/join", json!([])),
            ("/raft_config/learner", json!(false)),
            ("/raft_config/leave_via", json!([])),
            ("/raft_config/leave_id", json!(null)),
            ("/raft_config/cluster_name", json!("foo_cluster")),
            ("/raft_config/heartbeat_interval", json!(500)),
            ("/raft_config/install_snapshot_timeout", json!(4000)),
            ("/raft_config/snapshot_logs_since_last", json!(1024)),
            ("/raft_config/max_applied_log_to_keep", json!(1000)),
            ("/raft_config/snapshot_chunk_size", json!(4_194_304)),
            ("/raft_config/wait_leader_timeout", json!(180_000)),
        ] {
            assert_eq!(shown.pointer(key), Some(&expected), "{key}");
        }
        assert_eq!(config.raft.election_timeout_ms(), 1000..1500);
    }

    /// Removes what says nothing.
    fn without_nulls(value: Value) -> Value {
        match value {
            Value::Object(fields) => fields
                .into_iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(key, value)| (key, without_nulls(value)))
                .collect(),
            other => other,
        }
    }

    #[test]
    fn what_is_shown_is_a_configuration_file_that_says_the_same() {
        let mut settings = Settings::default();
        settings.log.stderr.on = Some(true);
        settings.log.stderr.format = Some("json".to_owned());
        settings.raft_config.raft_advertise_host = Some("db-1".to_owned());
        settings.raft_config.join = Some(vec!["db-2:28004".to_owned()]);
        let shown = without_nulls(Config::new(settings).unwrap().shown());
        let file = toml::to_string(&shown).unwrap();
        let mut unknown = Vec::new();
        let document = toml::Deserializer::parse(&file).unwrap();
        let read: Settings = serde_ignored::deserialize(document, |path| unknown.push(path.to_string())).unwrap();
        assert_eq!(unknown, [""; 0]);
        assert_eq!(without_nulls(Config::new(read).unwrap().shown()), shown);
    }
}
