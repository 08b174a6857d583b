//! What the nodes of a cluster say of themselves, and waiting for what they are to say: roles, leaders, states. Changes nothing.

use meta_proto::pb::{self, meta_service_client::MetaServiceClient};
use std::time::Duration;
use tokio::time::timeout;
use tonic::Status;

use super::Cluster;
use crate::{client, export::Export, tool::metactl, wait};

/// A frozen node does not answer.
const STATUS_LIMIT: Duration = Duration::from_secs(2);

impl Cluster {
    /// What a node says of itself and of the cluster.
    pub async fn status(&self, id: u64) -> Result<pb::ClusterStatus, Status> {
        let ask = async {
            let channel = client::connect(self.member(id).grpc_address()).await?;
            Ok(MetaServiceClient::new(channel).get_cluster_status(pb::Empty {}).await?.into_inner())
        };
        timeout(STATUS_LIMIT, ask).await.unwrap_or_else(|_| Err(Status::deadline_exceeded("no status in time")))
    }

    /// Who leads, as far as those that run know: of several, the one of the latest term.
    pub async fn leader(&self) -> Option<u64> {
        let mut leaders = Vec::new();
        for id in self.running() {
            match self.status(id).await {
                Ok(status) if status.is_leader => leaders.push((status.current_term, id)),
                Ok(_) | Err(_) => {}
            }
        }
        leaders.into_iter().max().map(|(_, id)| id)
    }

    pub async fn wait_for_leader(&self) -> u64 {
        wait::until("a leader", || self.leader()).await
    }

    /// Waits for a leader other than `old`.
    pub async fn wait_for_leader_other_than(&self, old: u64) -> u64 {
        wait::until("another leader", async || self.leader().await.filter(|leader| *leader != old)).await
    }

    /// Waits until every member is what it is to be in the eyes of the leader, and knows who leads.
    pub async fn wait_until_complete(&self) {
        let of_role = |learner: bool| self.members.values().filter(|member| member.learner == learner).count();
        let (voters, learners) = (of_role(false), of_role(true));
        wait::until("all members to have their roles", async || {
            let leader = self.status(self.leader().await?).await.ok()?;
            (leader.voters.len() == voters && leader.non_voters.len() == learners).then_some(())
        })
        .await;
        self.wait_applied_everywhere().await;
    }

    /// Waits until every running node has applied what the leader has in its log now.
    pub async fn wait_applied_everywhere(&self) {
        let last = wait::until("the leader's status", async || {
            Some(self.status(self.leader().await?).await.ok()?.last_log_index)
        })
        .await;
        for id in self.running() {
            wait::until(&format!("member {id} to have applied {last}"), async || {
                let status = self.status(id).await.ok()?;
                (status.leader.is_some() && index(&status.last_applied)? >= last).then_some(())
            })
            .await;
        }
    }

    /// A node's export, by the tool.
    pub async fn export(&self, id: u64) -> Export {
        self.export_as(id, "auto").await
    }

    /// The same with `--consistency`.
    async fn export_as(&self, id: u64, consistency: &str) -> Export {
        let address = self.member(id).grpc_address();
        let ran = metactl([&"export", &"--consistency", &consistency, &"--grpc-api-address", &address]).await;
        Export::parse(ran.expect(0).stdout.lines())
    }

    /// Asserts that all running nodes hold the same state, as of one log id. No client may write meanwhile; a leader still may, which
    /// registers its addresses soon after its election.
    pub async fn assert_same_state(&self) {
        let states = wait::until("exports of all members as of one log id", async || {
            self.wait_applied_everywhere().await;
            let mut states = Vec::new();
            for id in self.running() {
                let Export { applied, sequence, nodes, keys, expires, .. } = self.export_as(id, "local").await;
                states.push((id, Export { applied, sequence, nodes, keys, expires, ..Export::default() }));
            }
            states.iter().all(|(_, state)| state.applied == states[0].1.applied).then_some(states)
        })
        .await;
        let (first_id, first) = &states[0];
        for (id, state) in &states {
            assert_eq!(first, state, "the state of members {first_id} and {id}");
        }
    }
}

/// The index of a log id as text.
fn index(log_id: &str) -> Option<u64> {
    log_id.rsplit_once('.')?.1.parse().ok()
}
