//! Calls that begin at a fixed rate, whether or not earlier ones were answered. Each knows the moment it was due: who counts
//! from there leaves out no wait behind a slow answer, as clients that wait for one another do. Knows nothing of what is called.

use std::{
    fmt,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use tokio::{
    runtime::Handle,
    sync::{Semaphore, oneshot},
};

/// Calls of so many seconds may be under way at a time.
const MOST_SECONDS: u64 = 30;

/// Who is called has fallen behind for good.
#[derive(Debug)]
pub struct Behind {
    per_second: u64,
}

impl fmt::Display for Behind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Behind { per_second } = self;
        let calls = per_second * MOST_SECONDS;
        write!(f, "{calls} calls wait for their answers: {per_second} a second are more than this machine can do")
    }
}

impl std::error::Error for Behind {}

/// Begins `call`, with its number and the moment it was due, `per_second` times a second from `begin` until `end`, and waits for
/// all of them. Gives how many there were.
pub async fn beat<F>(
    per_second: u64,
    begin: Instant,
    end: Instant,
    call: impl Fn(u64, Instant) -> F + Send + 'static,
) -> Result<u64, Behind>
where
    F: Future<Output = ()> + Send + 'static,
{
    let most = per_second * MOST_SECONDS;
    let under_way = Arc::new(Semaphore::new(usize::try_from(most).unwrap_or(Semaphore::MAX_PERMITS)));
    let (runtime, permits, (done, ended)) = (Handle::current(), under_way.clone(), oneshot::channel());
    // A thread of its own: the runtime's timer is no finer than a millisecond.
    thread::spawn(move || {
        let begun = (0..).map(|n| (n, begin + Duration::from_nanos(n * 1_000_000_000 / per_second)));
        for (n, due) in begun {
            if due >= end || done.is_closed() {
                // Nobody may be there to hear it.
                let _ = done.send(Ok(n));
                return;
            }
            thread::sleep(due.saturating_duration_since(Instant::now()));
            let Ok(permit) = permits.clone().try_acquire_owned() else {
                let _ = done.send(Err(Behind { per_second }));
                return;
            };
            let call = call(n, due);
            runtime.spawn(async move {
                call.await;
                drop(permit);
            });
        }
    });
    let begun = ended.await.expect("the thread says how it ended")?;
    let all = u32::try_from(most).expect("as many permits as there are");
    drop(under_way.acquire_many(all).await);
    Ok(begun)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[tokio::test]
    async fn calls_begin_when_they_are_due_and_all_of_them_end() {
        let (begin, ended) = (Instant::now(), Arc::<AtomicU64>::default());
        let count = ended.clone();
        let begun = beat(200, begin, begin + Duration::from_millis(100), move |n, due| {
            assert_eq!(due - begin, Duration::from_millis(5 * n));
            assert!(Instant::now() >= due);
            let count = count.clone();
            async move {
                tokio::time::sleep(Duration::from_millis(50)).await;
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
        assert_eq!(begun.await.unwrap(), 20);
        assert_eq!(ended.load(Ordering::Relaxed), 20);
    }

    #[tokio::test]
    async fn who_never_answers_is_given_up() {
        let begin = Instant::now() - Duration::from_secs(60);
        let behind = beat(10, begin, begin + Duration::from_secs(120), |_, _| std::future::pending()).await;
        assert_eq!(
            behind.unwrap_err().to_string(),
            "300 calls wait for their answers: 10 a second are more than this machine can do"
        );
    }
}
