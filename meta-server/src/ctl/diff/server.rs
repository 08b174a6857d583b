//! The export of a running server as bytes to be read by threads that block: a task receives, and is a few chunks
//! ahead.

use std::io::{self, Read};

use backup_plugin::{
    provenance::{Provenance, Wanted},
    source::Extent,
};
use meta_proto::Lines;
use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot},
};

use crate::ctl::{
    CtlError,
    client::{Client, ClientError},
};

/// Chunks under way at once.
const QUEUE: usize = 4;

/// `None`: the server said that these were all.
type Chunk = Result<Option<Lines>, ClientError>;

/// Asks for an export, and waits until it begins.
pub(super) fn export(client: Client, runtime: &Handle) -> Result<(Option<Provenance>, Received), CtlError> {
    let (begun, begins) = oneshot::channel();
    let (sender, chunks) = mpsc::channel(QUEUE);
    runtime.spawn(receive(client, begun, sender));
    let ended = |_| CtlError::Runtime(io::Error::other("the task that receives an export ended"));
    let provenance = begins.blocking_recv().map_err(ended)??;
    Ok((provenance, Received { chunks, lines: Lines::default(), at: 0, ended: false }))
}

async fn receive(
    client: Client,
    begun: oneshot::Sender<Result<Option<Provenance>, ClientError>>,
    chunks: mpsc::Sender<Chunk>,
) {
    let mut export = match client.export(None, Wanted::Auto, Extent::Moment).await {
        Ok(export) => export,
        Err(error) => {
            // Whoever waits for it has not gone away.
            let _ = begun.send(Err(error));
            return;
        }
    };
    let _ = begun.send(Ok(export.provenance().cloned()));
    loop {
        let chunk = export.next().await;
        let goes_on = matches!(chunk, Ok(Some(_)));
        if chunks.send(chunk).await.is_err() || !goes_on {
            return;
        }
    }
}

/// The text of an export. Reading blocks, so it is done on threads of no runtime.
pub(super) struct Received {
    chunks: mpsc::Receiver<Chunk>,
    lines: Lines,
    /// How far they are read.
    at: usize,
    ended: bool,
}

impl Read for Received {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.at == self.lines.text().len() && !self.ended {
            match self.chunks.blocking_recv() {
                Some(Ok(Some(lines))) => (self.lines, self.at) = (lines, 0),
                Some(Ok(None)) => self.ended = true,
                Some(Err(error)) => return Err(io::Error::other(error)),
                None => return Err(io::Error::other("the task that receives it ended early")),
            }
        }
        let len = (&self.lines.text()[self.at..]).read(buf)?;
        self.at += len;
        Ok(len)
    }
}
