//! As much of a client as the quickstart needs: log in, write, read, export.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::Context;
use backup_plugin::{
    export::{BackupWriter, Form, file::BackupFile},
    input::Compression,
    provenance::Provenance,
};
use meta_proto::{
    PROTOCOL_VERSION,
    pb::{self, meta_service_client::MetaServiceClient, txn_op::Request as Op},
};
use prost::Message;
use tonic::{
    Code, Request,
    metadata::{Binary, MetadataValue},
    transport::Channel,
};

use super::Content;

pub struct Client {
    rpc: MetaServiceClient<Channel>,
    token: MetadataValue<Binary>,
}

impl Client {
    pub async fn connect(address: SocketAddr) -> anyhow::Result<Client> {
        let mut rpc = MetaServiceClient::connect(format!("http://{address}")).await?;
        let login = pb::BasicAuth { username: "root".to_owned(), password: String::new() };
        let request = pb::HandshakeRequest { protocol_version: PROTOCOL_VERSION, payload: login.encode_to_vec() };
        let mut replies = rpc.handshake(tokio_stream::once(request)).await?.into_inner();
        let reply = replies.message().await?.context("the server did not answer the handshake")?;
        Ok(Client { rpc, token: MetadataValue::from_bytes(&reply.payload) })
    }

    /// Writes all of `records` at once.
    pub async fn put(&self, records: impl IntoIterator<Item = (String, Vec<u8>)>) -> anyhow::Result<()> {
        let put = |(key, value)| Op::Put(pb::TxnPutRequest { key, value, ..Default::default() });
        let if_then = records.into_iter().map(|record| pb::TxnOp { request: Some(put(record)) }).collect();
        let request = pb::TxnRequest { if_then, ..Default::default() };
        self.rpc.clone().transaction(self.with_token(request)).await.context("cannot write")?;
        Ok(())
    }

    /// Everything under `prefix`, as soon as the node has a leader to read from.
    pub async fn read_when_led(&self, prefix: &str, limit: Duration) -> anyhow::Result<Content> {
        let began = Instant::now();
        loop {
            match self.read(prefix).await {
                Err(status) if status.code() == Code::Unavailable && began.elapsed() < limit => {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                read => return read.context("cannot read"),
            }
        }
    }

    async fn read(&self, prefix: &str) -> Result<Content, tonic::Status> {
        let request = serde_json::json!({ "ListKV": { "prefix": prefix } }).to_string();
        let request = self.with_token(pb::RaftRequest { data: request });
        let mut items = self.rpc.clone().kv_read_v1(request).await?.into_inner();
        let mut content = Content::new();
        while let Some(item) = items.message().await? {
            if let Some(value) = item.value {
                content.insert(item.key, value.data);
            }
        }
        Ok(content)
    }

    /// Writes an export into `file`, sealed; returns its lines.
    pub async fn export_to(&self, file: BackupFile) -> anyhow::Result<u64> {
        let request = pb::ExportRequest { chunk_size: Some(1000), ..Default::default() };
        let mut chunks = self.rpc.clone().export_v1(request).await?.into_inner();
        let mut writer = BackupWriter::new(file, Form { sealed: true, compression: Compression::None })?;
        let mut provenance = None;
        while let Some(chunk) = chunks.message().await.context("the export broke off")? {
            if let Some(sent) = chunk.provenance {
                provenance = Some(Provenance::try_from(sent)?);
            }
            writer.write(chunk.data.text(), chunk.data.len() as u64)?;
        }
        let (file, lines, _) = writer.finish(provenance.as_ref(), "quickstart")?;
        file.publish()?;
        Ok(lines)
    }

    fn with_token<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert_bin("auth-token-bin", self.token.clone());
        request
    }
}
