//! The floor of an export over gRPC: as many bytes of lines, made before, from a bare tonic server to a client that hashes and writes
//! them.

use std::{
    fs::File,
    future::{Ready, ready},
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
};

use anyhow::{Context, Result};
use meta_proto::{
    Lines,
    pb::{self, meta_service_client::MetaServiceClient},
};
use sha2::{Digest, Sha256};
use tokio::runtime::Runtime;
use tonic::{
    Request, Response, Status,
    server::{Grpc, ServerStreamingService},
    transport::Endpoint,
};
use tonic_prost::ProstCodec;

use crate::stand_in;

/// Lines of a chunk, and windows and frames, as the programs have them.
const CHUNK_LINES: usize = 1024;
const WINDOW: u32 = 8 << 20;
const FRAME: u32 = 1 << 20;

/// Bytes that the server keeps: of a longer file the first lines, which it sends again until it has sent as many bytes as there are.
const KEPT: u64 = 1 << 30;

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

/// Says where it listens once the lines are in memory, and serves until it is killed.
pub fn send(file: &Path) -> Result<()> {
    let file = File::open(file)?;
    let length = file.metadata()?.len();
    let (mut chunks, mut lines, mut kept) = (Vec::new(), Lines::default(), 0);
    for line in BufReader::new(file).split(b'\n') {
        let line = line?;
        lines.push(&line);
        kept += line.len() as u64 + 1;
        if kept >= KEPT {
            break;
        }
        if lines.len() == CHUNK_LINES {
            chunks.push(std::mem::take(&mut lines));
        }
    }
    chunks.push(lines);
    let count = (length as f64 / kept as f64 * chunks.len() as f64).round() as usize;
    let all = Prebuilt { chunks: chunks.into(), count };
    stand_in::serve(Some(FRAME), move |request| {
        let all = all.clone();
        Box::pin(async move { Ok(Grpc::new(ProstCodec::default()).server_streaming(all, request).await) })
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

/// The answer to `Export`.
#[derive(Clone)]
struct Prebuilt {
    chunks: Arc<[Lines]>,
    /// How many are sent.
    count: usize,
}

type Chunks = Box<dyn Iterator<Item = Result<pb::ExportedChunk, Status>> + Send>;

impl ServerStreamingService<pb::Empty> for Prebuilt {
    type Response = pb::ExportedChunk;
    type ResponseStream = tokio_stream::Iter<Chunks>;
    type Future = Ready<Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, _: Request<pb::Empty>) -> Self::Future {
        let Prebuilt { chunks, count } = self.clone();
        let chunk = move |at: usize| Ok(pb::ExportedChunk::new(chunks[at % chunks.len()].clone(), None));
        let chunks: Chunks = Box::new((0..count).map(chunk));
        ready(Ok(Response::new(tokio_stream::iter(chunks))))
    }
}
