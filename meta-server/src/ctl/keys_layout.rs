//! `databend-metactl keys-layout`: how many keys of the snapshot are under each prefix.

use clap::Args;
use serde_json::json as value;

use super::{Common, CtlError, Server, client::Client, json, print_lines};

const EXAMPLES: &str = "\
A key's prefixes end before its slashes. They are listed in the order of keys, children before their parents; the last line, with an \
empty prefix, counts all keys. Keys that were written after the last snapshot are not counted: `trigger-snapshot` takes a new one.

Examples:
  $ databend-metactl keys-layout
  databases/1/tables 3
  databases/1 3
  databases 3
  system 2
   5
  $ databend-metactl keys-layout --depth 1
  databases 3
  system 2
   5";

/// Count the keys under each prefix, as of the server's last snapshot
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct KeysLayoutArgs {
    #[command(flatten)]
    server: Server,
    /// Leave out prefixes of more parts than this
    #[arg(long, value_name = "PARTS")]
    depth: Option<u32>,
}

pub(super) async fn run(args: &KeysLayoutArgs, common: Common) -> Result<(), CtlError> {
    let client = Client::connect(&args.server.grpc_api_address, common.timeout()).await?;
    let mut layout = client.keys_layout(args.depth).await?;
    let mut counts = Vec::new();
    while let Some(found) = layout.next().await? {
        if common.json {
            counts.push(value!({"prefix": found.prefix, "count": found.count}));
        } else {
            print_lines([format!("{} {}", found.prefix, found.count)])?;
        }
    }
    if common.json { print_lines([json(&counts)?]) } else { Ok(()) }
}
