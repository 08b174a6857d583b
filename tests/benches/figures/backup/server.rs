//! A `databend-meta` under measurement: started on a folder, and asked for a key until it answers. Starting and stopping are the
//! harness's.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use integration_tests::{
    measure::{self, Usage},
    server::{Server, Settings},
    wait::DEADLINE,
};
use rustix::process::Signal;
use tokio::{runtime::Runtime, time::sleep};

use super::{dataset, process::Taken};

/// Between two tries to read.
const AGAIN: Duration = Duration::from_millis(2);

pub struct MeasuredServer {
    server: Server,
    runtime: Runtime,
}

impl MeasuredServer {
    /// Starts a server on `raft_dir`, and returns it with what it took until it gave back the first key, with this value. Disks are
    /// quiet when it starts.
    pub fn start(raft_dir: &Path, raft_port: u16, first: &[u8]) -> Result<(MeasuredServer, Taken)> {
        let runtime = Runtime::new()?;
        measure::quiet_disks();
        let began = Instant::now();
        let server = runtime.block_on(async {
            let server = Server::start(Settings { raft_port, ..Settings::of(raft_dir) }).await;
            first_read(&server, began, &dataset::key(0), first).await.map(|()| server)
        })?;
        let server = MeasuredServer { server, runtime };
        let taken = Taken { seconds: began.elapsed().as_secs_f64(), usage: server.usage()? };
        Ok((server, taken))
    }

    pub fn grpc_address(&self) -> &str {
        self.server.grpc_address()
    }

    pub fn usage(&self) -> Result<Usage> {
        measure::usage(self.server.id()).context("the server has ended")
    }

    pub fn stop(self) {
        self.runtime.block_on(self.server.stop(Signal::TERM));
    }
}

/// A server that listens may have to be elected before it answers.
pub async fn first_read(server: &Server, began: Instant, key: &str, value: &[u8]) -> Result<()> {
    let mut client = server.client().await;
    loop {
        match client.get(key).await {
            Ok(found) => {
                ensure!(found.is_some_and(|found| found.data == value), "{key} is not as it was");
                return Ok(());
            }
            Err(status) if began.elapsed() > DEADLINE => return Err(status).context("the server does not serve"),
            Err(_) => sleep(AGAIN).await,
        }
    }
}
