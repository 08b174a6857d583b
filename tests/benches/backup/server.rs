//! A `databend-meta` under measurement: started on a folder, asked for a key until it answers, stopped when dropped.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use meta_proto::pb::{self, meta_service_client::MetaServiceClient};
use prost::Message;
use tokio::runtime::Runtime;
use tonic::{Request, metadata::MetadataValue};

use crate::{
    dataset,
    process::{self, Memory},
};

/// How long a server may take until it answers.
const START_LIMIT: Duration = Duration::from_secs(60);
/// Between two tries to read.
const AGAIN: Duration = Duration::from_millis(2);
/// The version of the protocol that is spoken, 260304.0.0.
const PROTOCOL_VERSION: u64 = 260_304_000_000;

/// Where a server listens.
#[derive(Debug, Clone, Copy)]
pub struct Ports {
    pub grpc: u16,
    pub admin: u16,
    pub raft: u16,
}

impl Ports {
    /// Three that are free now.
    pub fn free() -> Result<Ports> {
        let bind = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
        let listeners = [bind()?, bind()?, bind()?];
        let port = |i: usize| listeners[i].local_addr().map(|address| address.port());
        Ok(Ports { grpc: port(0)?, admin: port(1)?, raft: port(2)? })
    }

    pub fn grpc_address(self) -> String {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.grpc)).to_string()
    }
}

pub struct Server {
    child: Child,
}

impl Server {
    /// Starts `program` as node 1 on `raft_dir`, and returns it with the seconds until it gave back the first key.
    pub fn start(program: &Path, raft_dir: &Path, ports: Ports) -> Result<(Server, f64)> {
        let runtime = Runtime::new()?;
        rustix::fs::sync();
        let began = Instant::now();
        let child = process::spawn(
            Command::new(program)
                .args(["--id", "1", "--log-level", "WARN", "--raft-listen-host", "127.0.0.1"])
                .args(["--raft-advertise-host", "127.0.0.1", "--raft-api-port", &ports.raft.to_string()])
                .args(["--grpc-api-address", &ports.grpc_address()])
                .args(["--admin-api-address", &format!("127.0.0.1:{}", ports.admin)])
                .arg("--raft-dir")
                .arg(raft_dir)
                .arg("--log-dir")
                .arg(raft_dir.with_extension("logs"))
                .stdin(Stdio::null())
                .stdout(Stdio::null()),
        )?;
        let mut server = Server { child };
        loop {
            let failed = match runtime.block_on(read(ports, &dataset::key(0))) {
                Ok(value) if value == dataset::value(0) => return Ok((server, began.elapsed().as_secs_f64())),
                Ok(value) => bail!("the server has {} other bytes under the first key", value.len()),
                Err(error) => error,
            };
            if let Some(status) = server.child.try_wait()? {
                bail!("the server ended with {status} before it served");
            }
            if began.elapsed() > START_LIMIT {
                return Err(failed.context("the server does not serve"));
            }
            thread::sleep(AGAIN);
        }
    }

    pub fn memory(&self) -> Memory {
        process::memory(&self.child)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let asked =
            rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), rustix::process::Signal::TERM);
        if asked.is_err() {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

/// Logs in on a connection of its own, and reads one key.
async fn read(ports: Ports, key: &str) -> Result<Vec<u8>> {
    let mut client = MetaServiceClient::connect(format!("http://{}", ports.grpc_address())).await?;
    let payload = pb::BasicAuth { username: "root".to_owned(), password: String::new() }.encode_to_vec();
    let hello = pb::HandshakeRequest { protocol_version: PROTOCOL_VERSION, payload };
    let mut replies = client.handshake(tokio_stream::once(hello)).await?.into_inner();
    let token = replies.message().await?.context("the handshake was not answered")?.payload;

    let mut request = Request::new(pb::RaftRequest { data: format!(r#"{{"GetKV":{{"key":"{key}"}}}}"#) });
    request.metadata_mut().insert_bin("auth-token-bin", MetadataValue::from_bytes(&token));
    let mut items = client.kv_read_v1(request).await?.into_inner();
    let item = items.message().await?.context("the read was not answered")?;
    Ok(item.value.context("the first key is not there")?.data)
}
