//! The admin HTTP API: health, status, nodes, the configuration, and a switch for building a snapshot, as JSON; and metrics, as
//! text. Knows nothing of sockets.

mod status;

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::State,
    http::{
        HeaderMap, StatusCode,
        header::{ACCEPT, CONTENT_TYPE},
    },
    response::{IntoResponse, Response},
    routing::get,
};
use backup_plugin::record::Node;
use serde::Serialize;

use self::status::Status;
use crate::node::{MetaNode, NodeError};

/// Everything that the admin port serves.
pub fn router(node: Arc<MetaNode>, config: serde_json::Value) -> Router {
    Router::new()
        .route("/v1/health", get(health))
        .route("/v1/cluster/status", get(cluster_status))
        .route("/v1/cluster/nodes", get(cluster_nodes))
        .route("/v1/ctrl/trigger_snapshot", get(trigger_snapshot))
        .route("/v1/metrics", get(metrics))
        .route("/v1/config", get(async move || Json(config.clone())))
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

/// The same text is right under both names; a scraper that does not ask for the newer one may not know it.
async fn metrics(State(node): State<Arc<MetaNode>>, headers: HeaderMap) -> Response {
    let accepted = headers.get_all(ACCEPT).iter().filter_map(|accepted| accepted.to_str().ok());
    let content_type = content_type(accepted);
    match node.metrics_text().await {
        Ok(text) => ([(CONTENT_TYPE, content_type)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("cannot read the store: {error}")).into_response(),
    }
}

fn content_type<'a>(mut accepted: impl Iterator<Item = &'a str>) -> &'static str {
    if accepted.any(|accepted| accepted.contains("application/openmetrics-text")) {
        "application/openmetrics-text; version=1.0.0; charset=utf-8"
    } else {
        "text/plain; version=0.0.4; charset=utf-8"
    }
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
