//! `databend-metactl trigger-snapshot`: has a server write its state to disk as of now.

use clap::Args;
use serde_json::json as value;

use super::{Common, CtlError, admin, json, print_lines};

const EXAMPLE: &str = "\
The server goes on serving meanwhile. The command waits until the snapshot is on disk: give --timeout more seconds for a large \
one. When it gives up, the server goes on with it all the same.

Example:
  $ databend-metactl trigger-snapshot --admin-api-address 127.0.0.1:28002
  triggered snapshot successfully.";

/// Take a snapshot of a server's state
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub(super) struct TriggerSnapshotArgs {
    /// The admin address of a running server
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:28101")]
    admin_api_address: String,
}

pub(super) async fn run(args: &TriggerSnapshotArgs, common: Common) -> Result<(), CtlError> {
    admin::get(&args.admin_api_address, "/v1/ctrl/trigger_snapshot", common.timeout()).await?;
    let done = "triggered snapshot successfully.";
    print_lines([if common.json { json(&value!({"triggered": true}))? } else { done.to_owned() }])
}
