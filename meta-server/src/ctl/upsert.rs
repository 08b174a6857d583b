//! `databend-metactl upsert`: writes one record, and shows it before and after.

use std::fmt::{self, Display, Formatter};

use backup_plugin::record::{KvMeta, SeqV};
use clap::Args;

use super::{Common, CtlError, Server, client::Client, json, print};
use crate::apply::Change;

/// Write one key, whatever is there
#[derive(Debug, Args)]
pub(super) struct UpsertArgs {
    #[command(flatten)]
    server: Server,
    /// The key to write, as it is
    #[arg(long)]
    key: String,
    /// The value: the bytes of this UTF-8 text, as it is; it may be ""
    #[arg(long)]
    value: String,
}

pub(super) async fn run(args: &UpsertArgs, common: Common) -> Result<(), CtlError> {
    let client = Client::connect(&args.server.grpc_api_address, common.timeout()).await?;
    let change = client.upsert(&args.key, args.value.as_bytes()).await?;
    print(&if common.json { json(&change)? } else { AsText(&change).to_string() })
}

/// `upsert-result: None: <before> -> <after>`, as scripts read it; the first `None` is a field that nobody uses any more.
struct AsText<'a>(&'a Change);

impl Display for AsText<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("upsert-result: None: ")?;
        record(f, self.0.prev.as_ref())?;
        f.write_str(" -> ")?;
        record(f, self.0.result.as_ref())
    }
}

fn record(f: &mut Formatter<'_>, record: Option<&SeqV>) -> fmt::Result {
    match record {
        None => f.write_str("None"),
        Some(SeqV { seq, meta, data: _ }) => {
            write!(f, "Some(SeqV {{ seq: {seq}, meta: ")?;
            match meta {
                None => f.write_str("None")?,
                Some(KvMeta { expire_at, proposed_at_ms }) => {
                    write!(f, "Some(KVMeta {{ expire_at: {expire_at:?}, proposed_at_ms: {proposed_at_ms:?} }})")?;
                }
            }
            f.write_str(", data: \"[binary]\" })")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(seq: u64, meta: Option<KvMeta>) -> Option<SeqV> {
        Some(SeqV { seq, meta, data: b"x".to_vec() })
    }

    #[test]
    fn a_change_looks_as_it_always_did() {
        let at = |ms| Some(KvMeta { expire_at: None, proposed_at_ms: Some(ms) });
        let change = Change { prev: record(1, at(1_795_349_325_299)), result: record(2, at(1_795_349_325_325)) };
        assert_eq!(
            AsText(&change).to_string(),
            "upsert-result: None: Some(SeqV { seq: 1, meta: Some(KVMeta { expire_at: None, proposed_at_ms: \
             Some(1795349325299) }), data: \"[binary]\" }) -> Some(SeqV { seq: 2, meta: Some(KVMeta { expire_at: None, \
             proposed_at_ms: Some(1795349325325) }), data: \"[binary]\" })"
        );
        assert_eq!(
            AsText(&Change { prev: None, result: record(1, None) }).to_string(),
            "upsert-result: None: None -> Some(SeqV { seq: 1, meta: None, data: \"[binary]\" })"
        );
    }
}
