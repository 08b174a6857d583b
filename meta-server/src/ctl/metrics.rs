//! `databend-metactl metrics`: a server's metrics, as it tells them.

use clap::Args;
use serde_json::json as value;

use super::{Common, CtlError, admin, json, print};

const EXAMPLE: &str = "\
Example:
  $ databend-metactl metrics --admin-api-address 127.0.0.1:28002 | grep is_leader
  # HELP metasrv_server_is_leader Whether this node leads.
  # TYPE metasrv_server_is_leader gauge
  metasrv_server_is_leader 1";

/// Print a server's metrics, in the text format of Prometheus
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub(super) struct MetricsArgs {
    /// The admin address of a running server
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:28002")]
    admin_api_address: String,
}

pub(super) async fn run(args: &MetricsArgs, common: Common) -> Result<(), CtlError> {
    let text = admin::get(&args.admin_api_address, "/v1/metrics", common.timeout()).await?;
    print(&if common.json { json(&value!({ "metrics": text }))? } else { text })
}
