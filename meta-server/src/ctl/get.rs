//! `databend-metactl get`: one record, as JSON.

use clap::Args;

use super::{Common, CtlError, Server, client::Client, json, print};

/// Read one key; the answer is JSON, `null` where there is no such key
#[derive(Debug, Args)]
pub(super) struct GetArgs {
    #[command(flatten)]
    server: Server,
    /// The key to read, as it is
    #[arg(long)]
    key: String,
}

/// The result is JSON with and without `--json`.
pub(super) async fn run(args: &GetArgs, common: Common) -> Result<(), CtlError> {
    let client = Client::connect(&args.server.grpc_api_address, common.timeout()).await?;
    print(&json(&client.get(&args.key).await?)?)
}

#[cfg(test)]
mod tests {
    use backup_plugin::record::{KvMeta, SeqV};

    use super::*;

    #[test]
    fn a_record_looks_as_it_always_did() {
        let meta = KvMeta { expire_at: None, proposed_at_ms: Some(1_795_349_325_325) };
        let value = SeqV { seq: 2, meta: Some(meta), data: b"world".to_vec() };
        assert_eq!(
            json(&Some(value)).unwrap(),
            r#"{"seq":2,"meta":{"proposed_at_ms":1795349325325},"data":[119,111,114,108,100]}"#
        );
        assert_eq!(json(&None::<SeqV>).unwrap(), "null");
    }
}
