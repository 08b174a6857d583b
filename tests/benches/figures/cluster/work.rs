//! One call of a client, made as cheaply as a client can: it shares the processors with the server that is measured.

use std::sync::{
    LazyLock,
    atomic::{AtomicU64, Ordering},
};

use anyhow::{Context, Result, ensure};
use integration_tests::{
    client::Client,
    generate::{key, mix},
};
use meta_proto::pb::{self, txn_op::Request as Op};

/// Bytes of a value.
pub const VALUE_BYTES: usize = 128;
/// Puts in a transaction of a bulk load.
pub const BULK: u64 = 100;
/// Values that differ; what they are makes no difference to the server.
const VALUES: u64 = 64;

/// What a client asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// `KvApi`: writes one key that nobody wrote before.
    Upsert,
    /// `KvReadV1`: reads one key that was written, linearizable.
    Read,
    /// `Transaction`: writes [`BULK`] keys that nobody wrote before.
    Bulk,
}

/// The keys of a run: how many there are so far.
#[derive(Debug, Default)]
pub struct Keys {
    upserted: AtomicU64,
    loaded: AtomicU64,
    reads: AtomicU64,
}

impl Keys {
    pub fn is_empty(&self) -> bool {
        self.upserted() == 0
    }

    /// Keys that were written one by one, and that were loaded in bulk; those that are under way count.
    pub fn upserted(&self) -> u64 {
        self.upserted.load(Ordering::Relaxed)
    }

    pub fn loaded(&self) -> u64 {
        self.loaded.load(Ordering::Relaxed)
    }
}

struct Value {
    data: Vec<u8>,
    /// As the JSON of a `KvApi` request has it.
    json: String,
}

static POOL: LazyLock<Vec<Value>> = LazyLock::new(|| {
    let value = |n| {
        let data: Vec<u8> = (0..VALUE_BYTES as u64).map(|i| (mix(n * VALUE_BYTES as u64 + i) >> 56) as u8).collect();
        Value { json: format!("{data:?}").replace(' ', ""), data }
    };
    (0..VALUES).map(value).collect()
});

fn value(n: u64) -> &'static Value {
    &POOL[(n % VALUES) as usize]
}

/// Key `n` of a bulk load, and its value.
pub fn bulk_key(n: u64) -> String {
    format!("bulk/k{n:010}")
}

pub fn bulk_value(n: u64) -> &'static [u8] {
    &value(n).data
}

impl Work {
    /// Keys that a call writes or reads.
    pub fn keys(self) -> u64 {
        if self == Work::Bulk { BULK } else { 1 }
    }

    /// Makes one call, and looks at the answer.
    pub async fn call(self, client: &mut Client, keys: &Keys) -> Result<()> {
        match self {
            Work::Upsert => upsert(client, keys.upserted.fetch_add(1, Ordering::Relaxed)).await,
            Work::Read => {
                let n = keys.reads.fetch_add(1, Ordering::Relaxed);
                read(client, &key(mix(n) % keys.upserted.load(Ordering::Relaxed).max(1))).await
            }
            Work::Bulk => load(client, keys.loaded.fetch_add(BULK, Ordering::Relaxed)).await,
        }
    }
}

async fn upsert(client: &mut Client, n: u64) -> Result<()> {
    let (key, value) = (key(n), &value(n).json);
    let data =
        format!(r#"{{"UpsertKV":{{"key":"{key}","seq":{{"GE":0}},"value":{{"Update":{value}}},"value_meta":null}}}}"#);
    let request = client.request(pb::RaftRequest { data });
    let reply = client.rpc.kv_api(request).await.with_context(|| format!("cannot write {key}"))?.into_inner();
    ensure!(reply.error.is_empty() && reply.data.len() > VALUE_BYTES, "{key} was answered with {reply:?}");
    Ok(())
}

async fn read(client: &mut Client, key: &str) -> Result<()> {
    let request = client.request(pb::RaftRequest { data: format!(r#"{{"GetKV":{{"key":"{key}"}}}}"#) });
    let items = client.rpc.kv_read_v1(request).await;
    let mut items = items.with_context(|| format!("cannot read {key}"))?.into_inner();
    let item = items.message().await?;
    let found = item.as_ref().and_then(|item| item.value.as_ref());
    ensure!(found.is_some_and(|found| found.data.len() == VALUE_BYTES), "{key} was read as {item:?}");
    ensure!(items.message().await?.is_none(), "{key} was read twice");
    Ok(())
}

async fn load(client: &mut Client, first: u64) -> Result<()> {
    let put = |n: u64| {
        Op::Put(pb::TxnPutRequest { key: bulk_key(n), value: bulk_value(n).to_vec(), ..pb::TxnPutRequest::default() })
    };
    let reply = client.transact((first..first + BULK).map(put).collect()).await;
    let reply = reply.with_context(|| format!("cannot write the keys from {} on", bulk_key(first)))?;
    ensure!(reply.responses.len() as u64 == BULK, "{BULK} puts were answered with {}", reply.responses.len());
    Ok(())
}
