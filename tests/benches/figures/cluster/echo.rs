//! The floor of a call: a bare tonic server that answers with as many bytes as the real one does, and does nothing for it.

use std::{
    env,
    future::{Ready, ready},
    process::Stdio,
};

use anyhow::{Context, Result};
use meta_proto::pb::{self, txn_op::Request as Op, txn_op_response::Response as OpResponse};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};
use tokio_stream::Once;
use tonic::{
    Request, Response, Status,
    server::{Grpc, ServerStreamingService, UnaryService},
};
use tonic_prost::ProstCodec;

use super::{load::Peer, work::VALUE_BYTES};
use crate::stand_in;

/// As long as a real one.
const TOKEN: [u8; 45] = [7; 45];

/// An echo server, killed on drop.
pub struct EchoProcess {
    child: Child,
    address: String,
}

impl EchoProcess {
    pub async fn start() -> Result<EchoProcess> {
        let mut child = Command::new(env::current_exe()?)
            .arg("echo")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("cannot start the echo server")?;
        let stdout = child.stdout.take().context("the echo server has no standard output")?;
        let address = BufReader::new(stdout).lines().next_line().await?.context("the echo server did not start")?;
        Ok(EchoProcess { child, address })
    }

    pub fn peer(&self) -> Peer {
        Peer {
            address: self.address.clone(),
            processes: self.child.id().into_iter().collect(),
            token: Some(TOKEN.to_vec()),
        }
    }
}

/// Says where it listens, and serves until it is killed.
pub fn serve() -> Result<()> {
    stand_in::serve(None, |request| {
        Box::pin(async move {
            Ok(match request.uri().path() {
                "/meta.MetaService/KvApi" => Grpc::new(ProstCodec::default()).unary(Upsert, request).await,
                "/meta.MetaService/KvReadV1" => Grpc::new(ProstCodec::default()).server_streaming(Read, request).await,
                "/meta.MetaService/Transaction" => Grpc::new(ProstCodec::default()).unary(Load, request).await,
                other => Status::unimplemented(format!("an echo has no {other}")).into_http(),
            })
        })
    })
}

struct Upsert;

impl UnaryService<pb::RaftRequest> for Upsert {
    type Response = pb::RaftReply;
    type Future = Ready<Result<Response<pb::RaftReply>, Status>>;

    fn call(&mut self, request: Request<pb::RaftRequest>) -> Self::Future {
        ready(Ok(Response::new(pb::RaftReply { data: request.into_inner().data, error: String::new() })))
    }
}

struct Read;

impl ServerStreamingService<pb::RaftRequest> for Read {
    type Response = pb::StreamItem;
    type ResponseStream = Once<Result<pb::StreamItem, Status>>;
    type Future = Ready<Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: Request<pb::RaftRequest>) -> Self::Future {
        let value = Some(pb::SeqV { seq: 1, data: vec![7; VALUE_BYTES], meta: None });
        let item = pb::StreamItem { key: request.into_inner().data, value };
        ready(Ok(Response::new(tokio_stream::once(Ok(item)))))
    }
}

struct Load;

impl UnaryService<pb::TxnRequest> for Load {
    type Response = pb::TxnReply;
    type Future = Ready<Result<Response<pb::TxnReply>, Status>>;

    fn call(&mut self, request: Request<pb::TxnRequest>) -> Self::Future {
        let answer = |op: pb::TxnOp| {
            let Some(Op::Put(pb::TxnPutRequest { key, value, .. })) = op.request else {
                return pb::TxnOpResponse::default();
            };
            let current = Some(pb::SeqV { seq: 1, data: value, meta: None });
            pb::TxnOpResponse { response: Some(OpResponse::Put(pb::TxnPutResponse { key, prev_value: None, current })) }
        };
        let responses = request.into_inner().if_then.into_iter().map(answer).collect();
        ready(Ok(Response::new(pb::TxnReply { success: true, responses, ..pb::TxnReply::default() })))
    }
}
