//! The admin HTTP API: health, status, nodes, and a switch for building a snapshot, as JSON; and metrics, as text. Knows nothing of sockets.

mod status;

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};
use backup_plugin::record::Node;
use serde::Serialize;

use self::status::Status;
use crate::{
    metrics,
    node::{MetaNode, NodeError},
};

/// Everything that the admin port serves.
pub fn router(node: Arc<MetaNode>) -> Router {
    Router::new()
        .route("/v1/health", get(health))
        .route("/v1/cluster/status", get(cluster_status))
        .route("/v1/cluster/nodes", get(cluster_nodes))
        .route("/v1/ctrl/trigger_snapshot", get(trigger_snapshot))
        .route("/v1/metrics", get(metrics))
        .with_state(node)
}

#[derive(Serialize)]
struct Health {
    status: &'static str,
}

async fn health() -> Json<Health> {
    Json(Health { status: "pass" })
}

async fn cluster_status(State(node): State<Arc<MetaNode>>) -> Json<Status> {
    Json(node.status().into())
}

async fn cluster_nodes(State(node): State<Arc<MetaNode>>) -> Json<Vec<Node>> {
    Json(node.nodes().into_values().collect())
}

async fn metrics(State(node): State<Arc<MetaNode>>) -> impl IntoResponse {
    ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], metrics::text(&node.status(), &node.guard().refused()))
}

async fn trigger_snapshot(State(node): State<Arc<MetaNode>>) -> Result<Json<()>, Failure> {
    node.compact().await?;
    Ok(Json(()))
}

/// A node that can not do what it was asked: 503 where another may, 500 where its disk does not let it, with the reason
/// as text.
struct Failure(NodeError);

impl From<NodeError> for Failure {
    fn from(error: NodeError) -> Self {
        Self(error)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let code = match self.0 {
            NodeError::Compact(_) => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        };
        (code, self.0.to_string()).into_response()
    }
}
