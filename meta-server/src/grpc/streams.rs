//! Streams of a reply: made by a thread that may block on disk, bounded in memory, and ended when the server stops.

use std::pin::Pin;

use futures::{Stream, StreamExt, future::ready, stream};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Status;

/// The stream of a reply.
pub type ReplyStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Items that are made before the client has taken the first: enough to keep both sides busy, and little memory.
const AHEAD: usize = 16;

/// Runs an iterator on a thread that may block, no faster than the client takes its items. It ends after its first
/// error, and when the client is gone.
pub fn from_blocking<T, I>(items: impl FnOnce() -> I + Send + 'static) -> ReceiverStream<Result<T, Status>>
where
    T: Send + 'static,
    I: Iterator<Item = Result<T, Status>>,
{
    let (sender, receiver) = mpsc::channel(AHEAD);
    tokio::task::spawn_blocking(move || {
        for item in items() {
            let last = item.is_err();
            if sender.blocking_send(item).is_err() || last {
                return;
            }
        }
    });
    ReceiverStream::new(receiver)
}

/// The same stream, ended with an error once the server stops: a client must not take a part for the whole.
pub fn until_stopping<T: Send + 'static>(
    stream: impl Stream<Item = Result<T, Status>> + Send + 'static,
    stopping: CancellationToken,
) -> ReplyStream<T> {
    let stopped = stopping.clone();
    let last = stream::once(async move { stopped.is_cancelled() })
        .filter(|stopped| ready(*stopped))
        .map(|_| Err(Status::unavailable("the server is stopping; the stream is not complete")));
    Box::pin(stream.take_until(stopping.cancelled_owned()).chain(last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stream_ends_after_its_first_error() {
        let items = from_blocking(|| [Ok(1), Err(Status::internal("broken")), Ok(3)].into_iter());
        let items: Vec<_> = items.map(|item| item.map_err(|status| status.code())).collect().await;
        assert_eq!(items, [Ok(1), Err(tonic::Code::Internal)]);
    }

    #[tokio::test]
    async fn a_stream_says_when_the_server_cut_it() {
        let stopping = CancellationToken::new();
        let mut endless = until_stopping(stream::repeat(1).map(Ok), stopping.clone());
        assert_eq!(endless.next().await.unwrap().unwrap(), 1);
        stopping.cancel();
        let rest: Vec<_> = endless.collect().await;
        assert_eq!(rest.last().unwrap().as_ref().unwrap_err().code(), tonic::Code::Unavailable);
    }

    #[tokio::test]
    async fn a_stream_that_is_complete_ends_without_a_word() {
        let whole = until_stopping(stream::iter([Ok(1), Ok(2)]), CancellationToken::new());
        assert_eq!(whole.count().await, 2);
    }
}
