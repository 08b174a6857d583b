//! The server's configuration file and flags, as operators have them.

use std::fs;

use integration_tests::{
    binaries,
    server::{Server, Settings},
    tool::{args, run},
};
use rustix::process::Signal;
use serde_json::Value;

/// As a Databend installation has it: some of its keys mean nothing here.
const DATABEND_FILE: &str = r#"
log_level = "INFO"
admin_api_address = "0.0.0.0:1"
metrics_push_interval = 30

[log.file]
on = true
format = "json"

[raft_config]
id = 3
single = true
raft_advertise_host = "example.invalid"
no_sync = true
"#;

#[tokio::test]
async fn a_databend_file_is_understood_and_flags_win_over_it() {
    let temp = tempfile::tempdir().unwrap();
    let (config, logs) = (temp.path().join("meta.toml"), temp.path().join("logs"));
    fs::write(&config, DATABEND_FILE).unwrap();
    let more = args([&"-c", &config, &"--log-dir", &logs]);
    let server = Server::start(Settings { logs_to_files: true, more, ..Settings::of(&temp.path().join("meta")) }).await;
    server.client().await.put("k", b"v").await.unwrap();
    let status = server.admin("/v1/cluster/status").await;
    assert_eq!((&status["id"], &status["is_leader"]), (&Value::from(3), &Value::from(true)));
    assert!(status["endpoint"].as_str().unwrap().starts_with("127.0.0.1:"), "{status}");
    for key in ["metrics_push_interval", "raft_config.no_sync"] {
        assert_eq!(server.stderr().matches(key).count(), 1, "one warning about {key}: {}", server.stderr());
    }
    assert_eq!(server.stop(Signal::TERM).await.0, Some(0));

    let mut lines = 0;
    for entry in fs::read_dir(&logs).unwrap() {
        for line in fs::read_to_string(entry.unwrap().path()).unwrap().lines() {
            serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("{error}: {line}"));
            lines += 1;
        }
    }
    assert!(lines > 0, "nothing was logged to {}", logs.display());
}

#[tokio::test]
async fn a_configuration_that_cannot_be_is_refused_by_key() {
    let temp = tempfile::tempdir().unwrap();
    let (config, raft_dir) = (temp.path().join("meta.toml"), temp.path().join("meta"));
    for (file, key) in [
        ("grpc_tls_server_cert = \"a.pem\"", "grpc_tls_server_cert"),
        ("grpc_api_address = \"127.0.0.1\"", "grpc_api_address"),
        ("[raft_config]\nsingle = true\njoin = [\"db-2:28004\"]", "join"),
        ("[raft_config]\njoin = [\"db-2\"]", "join"),
        ("[raft_config]\nid = \"one\"", "id"),
        ("[raft_config]\nheartbeat_interval = 0", "heartbeat_interval"),
        ("[auth]\npassword = \"xxx\"", "[auth]"),
        ("[log.file]\nformat = \"xml\"", "log.file.format"),
        ("raft_config = ", "meta.toml"),
    ] {
        fs::write(&config, file).unwrap();
        // The flags that every test gives would hide what the file says.
        let line = args([&"-c", &config, &"--raft-dir", &raft_dir, &"--log-dir", &temp.path().join("logs")]);
        let ran = run(&binaries::server(), &line).await;
        assert_eq!(ran.code, Some(1), "{file}: {}", ran.stderr);
        assert!(ran.stderr.contains(key), "{file}: {}", ran.stderr);
    }
    fs::remove_file(&config).unwrap();
    let more = args([&"-c", &config]);
    let said = Settings { more, ..Settings::single(&raft_dir) }.run().await.expect(1).stderr;
    assert!(said.contains("meta.toml") && said.contains("no such file"), "{said}");
}

#[tokio::test]
async fn an_initialised_store_just_starts_and_its_id_wins() {
    let temp = tempfile::tempdir().unwrap();
    let raft_dir = temp.path().join("meta");
    let server = Server::start_leading(Settings::single(&raft_dir)).await;
    server.client().await.put("k", b"v").await.unwrap();
    server.stop(Signal::TERM).await;
    for (settings, warns) in [
        (Settings::of(&raft_dir), false),
        (Settings::single(&raft_dir), false),
        (Settings { id: Some(9), ..Settings::single(&raft_dir) }, true),
        (Settings { more: args([&"--join", &"db-2:28004"]), ..Settings::of(&raft_dir) }, false),
    ] {
        let server = Server::start_leading(settings.clone()).await;
        assert_eq!(server.admin("/v1/cluster/status").await["id"], 1, "{settings:?}");
        assert_eq!(server.client().await.get("k").await.unwrap().unwrap().data, b"v");
        assert_eq!(server.stderr().contains("the store has an id already"), warns, "{settings:?}");
        assert_eq!(server.stop(Signal::TERM).await.0, Some(0));
    }
}
