//! The floor of an export over gRPC: as many lines, made before, from a bare tonic server to a client that hashes and writes them.

use std::{
    convert::Infallible,
    fs::File,
    future::{Ready, ready},
    io::{BufRead, BufReader, Write},
    net::Ipv4Addr,
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    task::{Context as TaskContext, Poll},
};

use anyhow::{Context, Result};
use meta_proto::{
    Lines,
    pb::{self, meta_service_client::MetaServiceClient},
};
use sha2::{Digest, Sha256};
use tokio::{net::TcpListener, runtime::Runtime};
use tonic::{
    Request, Response, Status,
    body::Body,
    codegen::{BoxFuture, Service, http},
    server::{Grpc, NamedService, ServerStreamingService},
    transport::{Endpoint, Server, server::TcpIncoming},
};
use tonic_prost::ProstCodec;

/// Lines of a chunk, and windows and frames, as the programs have them.
const CHUNK_LINES: usize = 1024;
const WINDOW: u32 = 8 << 20;
const FRAME: u32 = 1 << 20;

/// A server process, killed on drop.
pub struct Sender {
    child: Child,
    address: String,
}

impl Sender {
    /// Starts the floor `Send`, and waits until all is in its memory.
    pub fn start(command: &mut Command) -> Result<Sender> {
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("cannot start the sender")?;
        let stdout = child.stdout.take().context("the sender has no standard output")?;
        let mut address = String::new();
        BufReader::new(stdout).read_line(&mut address)?;
        Ok(Sender { child, address: address.trim_end().to_owned() })
    }

    pub fn address(&self) -> &str {
        &self.address
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        // One that has ended already is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Says where it listens once everything is in memory, and serves until it is killed.
pub fn send(file: &Path) -> Result<()> {
    let mut chunks = Vec::new();
    let mut lines = Lines::default();
    for line in BufReader::new(File::open(file)?).split(b'\n') {
        lines.push(&line?);
        if lines.len() == CHUNK_LINES {
            chunks.push(std::mem::take(&mut lines));
        }
    }
    chunks.push(lines);
    let chunks: Arc<[Lines]> = chunks.into();
    Runtime::new()?.block_on(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        println!("{}", listener.local_addr()?);
        std::io::stdout().flush()?;
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        Ok(Server::builder().max_frame_size(FRAME).add_service(Prebuilt(chunks)).serve_with_incoming(incoming).await?)
    })
}

/// Takes one stream.
pub fn receive(address: &str, file: &Path) -> Result<()> {
    Runtime::new()?.block_on(async {
        let endpoint = Endpoint::from_shared(format!("http://{address}"))?
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW);
        let mut client = MetaServiceClient::new(endpoint.connect().await?).max_decoding_message_size(usize::MAX);
        let mut chunks = client.export(pb::Empty {}).await?.into_inner();
        let mut file = File::create_new(file)?;
        let mut hasher = Sha256::new();
        while let Some(chunk) = chunks.message().await? {
            hasher.update(chunk.data.text());
            file.write_all(chunk.data.text())?;
        }
        std::hint::black_box(hasher.finalize());
        Ok(file.sync_all()?)
    })
}

/// Stands in for `meta.MetaService`; only its export.
#[derive(Clone)]
struct Prebuilt(Arc<[Lines]>);

impl NamedService for Prebuilt {
    const NAME: &'static str = "meta.MetaService";
}

impl Service<http::Request<Body>> for Prebuilt {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let all = self.clone();
        Box::pin(async move { Ok(Grpc::new(ProstCodec::default()).server_streaming(all, request).await) })
    }
}

type Chunks = Box<dyn Iterator<Item = Result<pb::ExportedChunk, Status>> + Send>;

impl ServerStreamingService<pb::Empty> for Prebuilt {
    type Response = pb::ExportedChunk;
    type ResponseStream = tokio_stream::Iter<Chunks>;
    type Future = Ready<Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, _: Request<pb::Empty>) -> Self::Future {
        let all = self.0.clone();
        let chunks: Chunks = Box::new((0..all.len()).map(move |at| Ok(pb::ExportedChunk::new(all[at].clone(), None))));
        ready(Ok(Response::new(tokio_stream::iter(chunks))))
    }
}
