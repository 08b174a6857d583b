//! A view as a stream of chunks of lines: read on a thread that may block, a few chunks ahead of the reader and no more.
//!
//! The stream ends cleanly only after the last line; whatever else ends it is an error in the stream. Dropping it lets go of the view.

use std::{
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    thread::{self, Thread},
    time::Duration,
};

use meta_proto::Lines;
use tokio::sync::{
    mpsc::{self, error::TrySendError},
    oneshot,
};
use tokio_stream::Stream;

use super::lines::{push, records};
use crate::{
    source::BackupView,
    urgency::{Steps, Urgency},
};

/// The lines in a chunk when the client does not say.
pub const DEFAULT_CHUNK_LINES: u64 = 32;

/// The lines in a chunk of small records, where only bytes matter.
pub const LARGE_CHUNK_LINES: u64 = 256;

/// The text in a chunk, in bytes, however many lines were asked for: well below the 4 MiB that every gRPC client takes.
/// A line that is longer travels alone.
const MAX_CHUNK_BYTES: usize = 1024 * 1024;

/// How many chunks wait for the reader before the view's thread does.
const CHUNKS_AHEAD: usize = 4;

/// While the reader is slow: how often the view is asked whether it may still be held.
const LIMIT_CHECK: Duration = Duration::from_secs(1);

/// An export on its way to a reader; see [`chunks`].
pub struct Chunks {
    chunks: mpsc::Receiver<Lines>,
    /// What the thread came to. It says nothing if it panics.
    outcome: oneshot::Receiver<io::Result<()>>,
    /// `None`: it could not be started.
    producer: Option<Thread>,
    ended: bool,
}

/// Starts to export `view`. A chunk has at most `lines_per_chunk` lines ([`DEFAULT_CHUNK_LINES`] when 0) and 1 MiB of text.
///
/// Memory is bounded by a few chunks. The view is dropped when the last line is read, on an error, when its own limit is
/// reached, and when the stream is dropped.
pub fn chunks<V: BackupView>(view: V, lines_per_chunk: u64, urgency: Urgency) -> Chunks {
    let max_lines = if lines_per_chunk == 0 { DEFAULT_CHUNK_LINES } else { lines_per_chunk };
    let (sender, chunks) = mpsc::channel(CHUNKS_AHEAD);
    let (end, mut outcome) = oneshot::channel();
    let work = move || {
        urgency.apply();
        let produced = produce(&view, max_lines, urgency.steps(), &Sender(sender));
        drop(view);
        // Where nobody waits for the end, nobody is told.
        let _ = end.send(produced);
    };
    let producer = match thread::Builder::new().name("export".to_owned()).spawn(work) {
        Ok(handle) => Some(handle.thread().clone()),
        Err(error) => {
            let (end, failed) = oneshot::channel();
            let _ = end.send(Err(error));
            outcome = failed;
            None
        }
    };
    Chunks { chunks, outcome, producer, ended: false }
}

impl Stream for Chunks {
    type Item = io::Result<Lines>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.ended {
            return Poll::Ready(None);
        }
        if let Some(chunk) = ready!(self.chunks.poll_recv(cx)) {
            // For more than one at once, which is less to wake up for.
            if self.chunks.len() <= CHUNKS_AHEAD / 2 {
                self.wake();
            }
            return Poll::Ready(Some(Ok(chunk)));
        }
        // The channel alone cannot tell the end from a thread that gave up or panicked.
        let outcome = ready!(Pin::new(&mut self.outcome).poll(cx));
        self.ended = true;
        Poll::Ready(match outcome {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(Err(error)),
            Err(_) => Some(Err(io::Error::other("the thread that exports panicked"))),
        })
    }
}

impl Chunks {
    fn wake(&self) {
        if let Some(producer) = &self.producer {
            producer.unpark();
        }
    }
}

impl Drop for Chunks {
    /// Has the thread let go of the view at once.
    fn drop(&mut self) {
        self.chunks.close();
        self.wake();
    }
}

fn produce<V: BackupView>(view: &V, max_lines: u64, mut steps: Steps, sender: &Sender) -> io::Result<()> {
    let mut chunk = Lines::default();
    for record in records(view)? {
        let before = chunk.text().len();
        push(&record?, &mut chunk)?;
        steps.did(chunk.text().len() - before);
        sender.check_wanted()?;
        if !is_within(&chunk, max_lines) {
            let next = chunk.split_last();
            sender.send(view, std::mem::replace(&mut chunk, next))?;
        }
    }
    sender.send(view, chunk)
}

/// The thread's end of the channel.
struct Sender(mpsc::Sender<Lines>);

impl Sender {
    /// Fails once the reader is gone, also between two chunks. Nobody sees this error: it only ends the thread.
    fn check_wanted(&self) -> io::Result<()> {
        if self.0.is_closed() { Err(reader_gone()) } else { Ok(()) }
    }

    /// Waits for room, for as long as the view may be held.
    fn send<V: BackupView>(&self, view: &V, mut chunk: Lines) -> io::Result<()> {
        loop {
            view.check_limit()?;
            chunk = match self.0.try_send(chunk) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Closed(_)) => return Err(reader_gone()),
                Err(TrySendError::Full(chunk)) => chunk,
            };
            // Until the reader has made room: where that was since, this returns at once.
            thread::park_timeout(LIMIT_CHECK);
        }
    }
}

/// Whether lines may travel together. A single one always may.
fn is_within(lines: &Lines, max_lines: u64) -> bool {
    let bytes = lines.text().len() - lines.len();
    lines.len() <= 1 || lines.len() as u64 <= max_lines && bytes <= MAX_CHUNK_BYTES
}

fn reader_gone() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the reader of the export is gone")
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use tokio_stream::StreamExt;

    use super::*;
    use crate::export::{
        lines,
        testing::{FakeView, eventually},
    };

    async fn collect(view: FakeView, lines_per_chunk: u64) -> io::Result<Vec<Lines>> {
        chunks(view, lines_per_chunk, Urgency::Now).collect().await
    }

    #[tokio::test]
    async fn chunks_are_bounded_in_lines_and_in_bytes() {
        // (lines asked for, sizes of values, lines of the chunks that follow the ten of the sample)
        let small = [10; 60];
        let half = [130_000; 5]; // 260 kB as text
        let large = [10, 1_100_000, 10];
        let cases: [(u64, &[usize], &[usize]); 7] = [
            (0, &small, &[32, 32, 6]),
            (1, &[10], &[1; 11]),
            (7, &small[..4], &[7, 7]),
            (70, &small, &[70]),
            (4_294_967_295, &small, &[70]),
            (u64::MAX, &half, &[14, 1]),
            (u64::MAX, &large, &[11, 1, 1]),
        ];
        for (lines_per_chunk, values, expected) in cases {
            let mut view = FakeView::sample();
            for (i, size) in values.iter().enumerate() {
                view.push_value(&format!("k{i:03}"), *size);
            }
            let all: Lines = lines(&view).unwrap().map(Result::unwrap).collect();
            let chunks = collect(view, lines_per_chunk).await.unwrap();
            let sizes: Vec<usize> = chunks.iter().map(Lines::len).collect();
            assert_eq!(sizes, expected, "{lines_per_chunk} lines of {values:?}");
            assert_eq!(chunks.iter().flat_map(Lines::iter).collect::<Lines>(), all);
        }
    }

    #[tokio::test]
    async fn an_error_midway_ends_the_stream_as_an_error() {
        let mut view = FakeView::sample();
        view.fail_after = Some(1);
        let mut stream = chunks(view, 2, Urgency::Background);
        let mut whole = 0;
        let error = loop {
            match stream.next().await.expect("the error comes before the end") {
                Ok(chunk) => whole += chunk.len(),
                Err(error) => break error,
            }
        };
        assert_eq!(error.to_string(), "disk gone");
        assert_eq!(whole, 6, "whole chunks before the error");
        assert!(stream.next().await.is_none());
    }

    #[tokio::test]
    async fn a_panic_in_the_view_does_not_look_like_the_end() {
        let mut view = FakeView::sample();
        view.panic_after = Some(1);
        assert!(collect(view, 100).await.is_err());
    }

    #[tokio::test]
    async fn a_dropped_stream_releases_the_view() {
        // Blocked on a full channel, and between two chunks of a huge one.
        for lines_per_chunk in [1, u64::MAX] {
            let mut view = FakeView::sample();
            view.endless = true;
            let released = view.released();
            let mut stream = chunks(view, lines_per_chunk, Urgency::Background);
            if lines_per_chunk == 1 {
                stream.next().await.unwrap().unwrap();
            }
            assert!(!released());
            drop(stream);
            eventually(&released).await;
        }
    }

    #[tokio::test]
    async fn a_slow_reader_lets_no_more_than_a_few_chunks_wait() {
        let mut view = FakeView::sample();
        view.endless = true;
        let read = view.records_read();
        let stream = chunks(view, 10, Urgency::Background);
        eventually(&|| read() > 0).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        // Those in the channel, the one that waits for room, and the line that filled it.
        assert!(read() <= (CHUNKS_AHEAD + 1) * 10 + 1, "{} records were read ahead", read());
        drop(stream);
    }

    #[tokio::test]
    async fn a_stalled_reader_loses_the_view_at_its_limit_and_is_told() {
        let mut view = FakeView::sample();
        view.endless = true;
        view.held_until = Some(Instant::now() + Duration::from_millis(100));
        let released = view.released();
        let mut stream = chunks(view, 1, Urgency::Background);
        eventually(&released).await;
        let error = loop {
            match stream.next().await.expect("the error comes before the end") {
                Ok(_) => {}
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
