//! `databend-metactl status`: what a server says of itself and its cluster.

use std::fmt::{self, Display, Formatter};

use clap::Args;
use meta_proto::pb::{ClusterStatus, RaftLogStatus};
use serde_json::{Value, json};

use super::{Common, CtlError, Server, client::Client, json, print};

/// Show what a server says of itself and its cluster
#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    #[command(flatten)]
    server: Server,
}

pub(super) async fn run(args: &StatusArgs, common: Common) -> Result<(), CtlError> {
    let client = Client::connect(&args.server.grpc_api_address, common.timeout()).await?;
    let status = client.status().await?;
    print(&if common.json { json(&as_json(&status))? } else { AsText(&status).to_string() })
}

/// Line by line as operators' scripts read it.
struct AsText<'a>(&'a ClusterStatus);

impl Display for AsText<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let status = self.0;
        writeln!(f, "BinaryVersion: {}", status.binary_version)?;
        writeln!(f, "DataVersion: {}", status.data_version)?;
        writeln!(f, "RaftLogSize: {}", status.raft_log_size)?;
        if let Some(log) = &status.raft_log_status {
            raft_log(f, log)?;
        }
        writeln!(f, "SnapshotKeyCount: {}", status.snapshot_key_count)?;
        writeln!(f, "Node: id={} raft={}", status.id, status.endpoint)?;
        writeln!(f, "State: {}", status.state)?;
        if let Some(leader) = &status.leader {
            writeln!(f, "Leader: {leader}")?;
        }
        writeln!(f, "CurrentTerm: {}", status.current_term)?;
        writeln!(f, "LastSeq: {}", status.last_seq)?;
        writeln!(f, "LastLogIndex: {}", status.last_log_index)?;
        writeln!(f, "LastApplied: {}", status.last_applied)?;
        if let Some(log_id) = &status.snapshot_last_log_id {
            writeln!(f, "SnapshotLastLogID: {log_id}")?;
        }
        if let Some(log_id) = &status.purged {
            writeln!(f, "Purged: {log_id}")?;
        }
        replication(f, status)?;
        members(f, "Voters", &status.voters)?;
        members(f, "NonVoters", &status.non_voters)?;
        // The fingerprint of a restore; of any other node the lines are those of the real one.
        if let Some(content) = &status.imported_content {
            if let Some(cluster_id) = &status.cluster_id {
                writeln!(f, "ClusterID: {cluster_id}")?;
            }
            writeln!(f, "ImportedContent: {content}")?;
        }
        Ok(())
    }
}

fn raft_log(f: &mut Formatter<'_>, log: &RaftLogStatus) -> fmt::Result {
    writeln!(f, "RaftLog:")?;
    writeln!(f, "  - CacheItems: {}", log.cache_items)?;
    writeln!(f, "  - CacheUsedSize: {}", log.cache_used_size)?;
    writeln!(f, "  - WALTotalSize: {}", log.wal_total_size)?;
    writeln!(f, "  - WALOpenChunkSize: {}", log.wal_open_chunk_size)?;
    writeln!(f, "  - WALOffset: {}", log.wal_offset)?;
    writeln!(f, "  - WALClosedChunkCount: {}", log.wal_closed_chunk_count)?;
    writeln!(f, "  - WALClosedChunkTotalSize: {}", log.wal_closed_chunk_total_size)?;
    writeln!(f, "  - WALClosedChunkSizes:")?;
    let mut chunks: Vec<_> = log.wal_closed_chunk_sizes.iter().collect();
    chunks.sort();
    chunks.into_iter().try_for_each(|(chunk, size)| writeln!(f, "    - {chunk}: {size}"))
}

/// A member whose log is not where this node's state is has a star.
fn replication(f: &mut Formatter<'_>, status: &ClusterStatus) -> fmt::Result {
    if !status.replication.is_empty() {
        writeln!(f, "Replication:")?;
    }
    let mut members: Vec<_> = status.replication.iter().collect();
    members.sort();
    members.into_iter().try_for_each(|(id, log_id)| {
        let lags = if *log_id == status.last_applied { "" } else { " *" };
        writeln!(f, "  - [{id}] {log_id}{lags}")
    })
}

fn members(f: &mut Formatter<'_>, role: &str, members: &[String]) -> fmt::Result {
    if !members.is_empty() {
        writeln!(f, "{role}:")?;
    }
    members.iter().try_for_each(|member| writeln!(f, "  - {member}"))
}

/// The same under the names of the protocol.
fn as_json(status: &ClusterStatus) -> Value {
    let log = status.raft_log_status.as_ref().map(|log| {
        json!({
            "cache_items": log.cache_items,
            "cache_used_size": log.cache_used_size,
            "wal_total_size": log.wal_total_size,
            "wal_open_chunk_size": log.wal_open_chunk_size,
            "wal_offset": log.wal_offset,
            "wal_closed_chunk_count": log.wal_closed_chunk_count,
            "wal_closed_chunk_total_size": log.wal_closed_chunk_total_size,
            "wal_closed_chunk_sizes": log.wal_closed_chunk_sizes,
        })
    });
    json!({
        "id": status.id,
        "binary_version": status.binary_version,
        "data_version": status.data_version,
        "endpoint": status.endpoint,
        "raft_log_size": status.raft_log_size,
        "raft_log_status": log,
        "state": status.state,
        "is_leader": status.is_leader,
        "current_term": status.current_term,
        "last_log_index": status.last_log_index,
        "last_applied": status.last_applied,
        "snapshot_last_log_id": status.snapshot_last_log_id,
        "snapshot_key_count": status.snapshot_key_count,
        "purged": status.purged,
        "leader": status.leader,
        "replication": status.replication,
        "voters": status.voters,
        "non_voters": status.non_voters,
        "last_seq": status.last_seq,
        "cluster_id": status.cluster_id,
        "imported_content": status.imported_content,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: &str = "id=1 raft=127.0.0.1:28104 grpc=127.0.0.1:9291";

    /// What the real tool shows of the real server.
    const ONE_NODE: &str = "\
BinaryVersion: 260304.0.0
DataVersion: V004
RaftLogSize: 1488
RaftLog:
  - CacheItems: 7
  - CacheUsedSize: 1244
  - WALTotalSize: 1488
  - WALOpenChunkSize: 1488
  - WALOffset: 1488
  - WALClosedChunkCount: 0
  - WALClosedChunkTotalSize: 0
  - WALClosedChunkSizes:
SnapshotKeyCount: 0
Node: id=1 raft=127.0.0.1:28104
State: Leader
Leader: id=1 raft=127.0.0.1:28104 grpc=127.0.0.1:9291
CurrentTerm: 1
LastSeq: 2
LastLogIndex: 6
LastApplied: T1-N1.6
Replication:
  - [1] T1-N1.6
Voters:
  - id=1 raft=127.0.0.1:28104 grpc=127.0.0.1:9291
";

    fn one_node() -> ClusterStatus {
        let log = RaftLogStatus {
            cache_items: 7,
            cache_used_size: 1244,
            wal_total_size: 1488,
            wal_open_chunk_size: 1488,
            wal_offset: 1488,
            ..RaftLogStatus::default()
        };
        ClusterStatus {
            id: 1,
            binary_version: "260304.0.0".to_owned(),
            data_version: "V004".to_owned(),
            endpoint: "127.0.0.1:28104".to_owned(),
            raft_log_size: 1488,
            state: "Leader".to_owned(),
            is_leader: true,
            current_term: 1,
            last_log_index: 6,
            last_applied: "T1-N1.6".to_owned(),
            leader: Some(NODE.to_owned()),
            replication: [(1, "T1-N1.6".to_owned())].into(),
            voters: vec![NODE.to_owned()],
            last_seq: 2,
            raft_log_status: Some(log),
            ..ClusterStatus::default()
        }
    }

    #[test]
    fn one_node_looks_as_it_always_did() {
        assert_eq!(AsText(&one_node()).to_string(), ONE_NODE);
    }

    #[test]
    fn a_cluster_shows_snapshot_purge_lag_and_learners() {
        let mut status = one_node();
        status.snapshot_last_log_id = Some("T1-N1.5".to_owned());
        status.purged = Some("T1-N1.4".to_owned());
        status.replication = [(10, "T1-N1.6".to_owned()), (2, "T1-N1.3".to_owned())].into();
        status.non_voters = vec!["id=2".to_owned()];
        let text = AsText(&status).to_string();
        let (_, end) = text.split_once("LastApplied: T1-N1.6\n").unwrap();
        assert_eq!(
            end,
            "SnapshotLastLogID: T1-N1.5\nPurged: T1-N1.4\nReplication:\n  - [2] T1-N1.3 *\n  - [10] T1-N1.6\n\
             Voters:\n  - id=1 raft=127.0.0.1:28104 grpc=127.0.0.1:9291\nNonVoters:\n  - id=2\n"
        );
    }

    #[test]
    fn json_has_the_names_of_the_protocol() {
        let value = as_json(&one_node());
        assert_eq!(value["last_applied"], "T1-N1.6");
        assert_eq!(value["raft_log_status"]["wal_offset"], 1488);
        assert_eq!(value["replication"]["1"], "T1-N1.6");
        assert_eq!(value["purged"], Value::Null);
    }
}
