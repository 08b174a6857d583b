//! `databend-metactl member-list`: where clients reach the members of a cluster.

use clap::Args;

use super::{Common, CtlError, Server, client::Client, json, print_lines};

const EXAMPLE: &str = "\
Example:
  $ databend-metactl member-list --grpc-api-address 127.0.0.1:9191
  db-1:9191
  db-2:9191
  db-3:9191";

/// List the gRPC addresses of a cluster's members, one a line
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub(super) struct MemberListArgs {
    #[command(flatten)]
    server: Server,
}

pub(super) async fn run(args: &MemberListArgs, common: Common) -> Result<(), CtlError> {
    let client = Client::connect(&args.server.grpc_api_address, common.timeout()).await?;
    let members = client.member_list().await?;
    if common.json { print_lines([json(&members)?]) } else { print_lines(members) }
}
