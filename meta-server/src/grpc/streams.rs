//! Streams of a reply: read a few items at a time on a thread that may block, which no client can keep by not reading;
//! bounded in memory and in the time a client may stall, and ended when the server stops.

use std::{pin::Pin, time::Duration};

use futures::{Stream, StreamExt, future::ready, stream};
use prost::Message;
use tokio::{
    sync::{Semaphore, mpsc},
    task::spawn_blocking,
    time::timeout,
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Status;

/// The stream of a reply.
pub type ReplyStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Items that are read at once: enough to be worth the way to another thread, and little memory.
const BATCH_ITEMS: usize = 32;
/// Bytes after which a batch is full. An item that is longer travels alone.
const BATCH_BYTES: usize = 64 * 1024;

/// Batches that are read at a time, each on a thread of its own. When the machine has stood still, all calls that waited
/// go on at once. Without a bound each would start a thread, with the memory that the allocator keeps for it.
static READERS: Semaphore = Semaphore::const_new(16);

/// How long a client may take none of a batch. What its stream reads from, old bases and overlays, is kept for so long.
const STALL_LIMIT: Duration = Duration::from_secs(60);

/// Reads an iterator that may block, no faster than the client takes its items. It ends after its first error, and
/// when the client is gone or stalls; the iterator goes then.
pub fn from_blocking<T, I>(items: I) -> impl Stream<Item = Result<T, Status>> + Send + 'static
where
    T: Message + 'static,
    I: Iterator<Item = Result<T, Status>> + Send + 'static,
{
    // Room for one batch while the client takes another, and for the last word.
    let (sender, receiver) = mpsc::channel(2);
    tokio::spawn(produce(items, sender, STALL_LIMIT));
    ReceiverStream::new(receiver).flat_map(stream::iter)
}

type Batch<T> = Vec<Result<T, Status>>;

async fn produce<T, I>(mut items: I, sender: mpsc::Sender<Batch<T>>, stall_limit: Duration)
where
    T: Message + 'static,
    I: Iterator<Item = Result<T, Status>> + Send + 'static,
{
    // A client that stalls leaves no room; why its stream ends must reach it all the same when it reads on.
    let Ok(last_word) = sender.clone().try_reserve_owned() else { return };
    loop {
        let read = async {
            let reader = READERS.acquire().await.map_err(drop)?;
            let read = move || {
                let _reader = reader;
                let (batch, more) = next_batch(&mut items);
                (batch, more, items)
            };
            spawn_blocking(read).await.map_err(drop)
        };
        let Ok((batch, more, rest)) = read.await else {
            last_word.send(vec![Err(Status::internal("reading the store panicked; the stream is not complete"))]);
            return;
        };
        match timeout(stall_limit, sender.send(batch)).await {
            Ok(Ok(())) if more => items = rest,
            Ok(_) => return,
            Err(_) => {
                let stalled = format!("nothing was read for {} s; the stream is not complete", stall_limit.as_secs());
                last_word.send(vec![Err(Status::deadline_exceeded(stalled))]);
                return;
            }
        }
    }
}

/// The next items, and whether others may follow.
fn next_batch<T: Message>(items: &mut impl Iterator<Item = Result<T, Status>>) -> (Batch<T>, bool) {
    let mut batch = Vec::new();
    let mut bytes = 0;
    while batch.len() < BATCH_ITEMS && bytes < BATCH_BYTES {
        let Some(item) = items.next() else { return (batch, false) };
        let failed = item.is_err();
        bytes += item.as_ref().map_or(0, Message::encoded_len);
        batch.push(item);
        if failed {
            return (batch, false);
        }
    }
    (batch, true)
}

/// The same stream, ended behind its first error.
pub fn until_first_error<T, S>(stream: S) -> impl Stream<Item = Result<T, Status>> + Send + 'static
where
    T: Send + 'static,
    S: Stream<Item = Result<T, Status>> + Send + 'static,
{
    stream.scan(false, |failed, item| {
        let ended = *failed;
        *failed = item.is_err();
        ready((!ended).then_some(item))
    })
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
    use std::{
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        thread,
    };

    use futures::future::join_all;

    use super::*;

    #[tokio::test]
    async fn a_stream_ends_after_its_first_error() {
        let items = from_blocking([Ok(1), Err(Status::internal("broken")), Ok(3)].into_iter());
        let items: Vec<_> = items.map(|item| item.map_err(|status| status.code())).collect().await;
        assert_eq!(items, [Ok(1), Err(tonic::Code::Internal)]);
    }

    #[tokio::test]
    async fn a_stream_is_whole_however_many_batches_it_takes() {
        for count in [0, 1, BATCH_ITEMS, BATCH_ITEMS + 1, 10 * BATCH_ITEMS] {
            let items = from_blocking((0..count as u64).map(Ok));
            let items: Vec<u64> = items.map(Result::unwrap).collect().await;
            assert_eq!(items, (0..count as u64).collect::<Vec<_>>());
        }
        let large = from_blocking(std::iter::repeat_n(Ok(vec![7; BATCH_BYTES]), 5));
        assert_eq!(large.count().await, 5);
    }

    #[tokio::test]
    async fn however_many_streams_begin_at_once_few_are_read_at_a_time() {
        let (reading, most) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let one = |n: u64| {
            let (reading, most) = (reading.clone(), most.clone());
            let item = move || {
                most.fetch_max(reading.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
                thread::sleep(Duration::from_millis(2));
                reading.fetch_sub(1, Ordering::Relaxed);
                Ok(n)
            };
            from_blocking(std::iter::once_with(item)).collect::<Vec<_>>()
        };
        let all = join_all((0..200).map(one)).await;
        assert!(all.into_iter().flatten().map(Result::unwrap).eq(0..200));
        assert!((2..=16).contains(&most.load(Ordering::Relaxed)), "{most:?} at a time");
    }

    #[tokio::test]
    async fn a_panic_does_not_look_like_the_end() {
        let items = from_blocking((0..3u64).map(|n| if n == 2 { panic!("a store that panics") } else { Ok(n) }));
        let items: Vec<_> = items.collect().await;
        assert_eq!(items.last().unwrap().as_ref().unwrap_err().code(), tonic::Code::Internal);
    }

    #[tokio::test]
    async fn a_client_that_stalls_lets_go_of_what_is_read_and_is_told() {
        let held = Arc::new(());
        let items = {
            let held = held.clone();
            (0..u64::MAX).map(move |n| Ok(n + Arc::strong_count(&held) as u64))
        };
        let (sender, receiver) = mpsc::channel(2);
        produce(items, sender, Duration::from_millis(50)).await;
        assert_eq!(Arc::strong_count(&held), 1);
        let items: Vec<_> = ReceiverStream::new(receiver).flat_map(stream::iter).collect().await;
        assert_eq!(items.len(), BATCH_ITEMS + 1, "one batch was read ahead, and then why it ends");
        assert_eq!(items.last().unwrap().as_ref().unwrap_err().code(), tonic::Code::DeadlineExceeded);
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
