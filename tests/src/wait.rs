//! Waiting for something to become true, with an end: no test sleeps and hopes.

use std::{future::Future, time::Duration};

use tokio::time::{Instant, sleep};

/// Longer than anything takes on a slow machine that runs other tests at the same time.
pub const DEADLINE: Duration = Duration::from_secs(30);

const PAUSE: Duration = Duration::from_millis(10);

/// Asks until `probe` has a value, and gives it.
///
/// # Panics
///
/// When there is none by the [`DEADLINE`], with `what`.
pub async fn until<T, F: Future<Output = Option<T>>>(what: &str, mut probe: impl FnMut() -> F) -> T {
    let end = Instant::now() + DEADLINE;
    loop {
        if let Some(value) = probe().await {
            return value;
        }
        assert!(Instant::now() < end, "gave up after {} s waiting for {what}", DEADLINE.as_secs());
        sleep(PAUSE).await;
    }
}

/// The same for a condition that is looked up without waiting.
pub async fn until_true(what: &str, mut condition: impl FnMut() -> bool) {
    until(what, || std::future::ready(condition().then_some(()))).await;
}
