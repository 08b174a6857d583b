//! The servers under measurement: one node, or several on this machine. Starting and stopping one is the harness's.

use std::path::Path;

use anyhow::Result;
use integration_tests::{
    server::{Server, Settings},
    wait,
};
use rustix::process::Signal;

use super::load::Peer;

pub struct Cluster {
    /// The first one leads.
    servers: Vec<Server>,
}

impl Cluster {
    /// Starts a new cluster with its stores in `dir`, and waits until all its nodes are voters.
    pub async fn start(dir: &Path, nodes: u64) -> Result<Cluster> {
        let first = Settings::single(&dir.join("node-1"));
        let join = format!("{}:{}", first.raft_advertise_host, first.raft_port);
        let mut servers = vec![Server::start_leading(first).await];
        for id in 2..=nodes {
            let more = vec!["--join".into(), join.clone().into()];
            let settings = Settings { id: Some(id), more, ..Settings::of(&dir.join(format!("node-{id}"))) };
            servers.push(Server::start(settings).await);
        }
        wait::until("all nodes to be voters", async || {
            let status = servers[0].admin("/v1/cluster/status").await;
            let voters = status["voters"].as_array().map_or(0, Vec::len);
            (status["is_leader"] == true && voters as u64 == nodes).then_some(())
        })
        .await;
        Ok(Cluster { servers })
    }

    /// The leader. All nodes together take the time of the processors.
    pub fn peer(&self) -> Peer {
        let address = self.servers[0].grpc_address().to_owned();
        Peer { address, processes: self.servers.iter().map(Server::id).collect(), token: None }
    }

    pub async fn stop(self) {
        for server in self.servers {
            server.stop(Signal::TERM).await;
        }
    }
}
