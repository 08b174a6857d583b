//! Watchers of the state machine: who is told of which changes, in the order in which they were made, and how far one may lag.
//! Knows ranges of keys and changes of records; nothing of what makes them or of how a watcher is reached.
//!
//! The state machine tells of changes, and lets watchers in, under one lock. So a watcher that is let in with a view is told
//! exactly of what the view does not have.

mod range;

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use backup_plugin::record::SeqV;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

pub use range::{KeyRange, RangeError, prefix_end};

/// What all watchers together may lag behind, in bytes of changes; each has an equal share.
const MAX_BACKLOG: usize = 256 << 20;
/// What one may lag behind, however few there are.
const MAX_SHARE: usize = 32 << 20;
/// What a change takes beside its key and its values.
const OVERHEAD: usize = 200;

/// A record before and after a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    pub key: Arc<str>,
    pub prev: Option<Arc<SeqV>>,
    pub current: Option<Arc<SeqV>>,
}

impl Event {
    fn bytes(&self) -> usize {
        let values = [&self.prev, &self.current].into_iter().flatten();
        OVERHEAD + self.key.len() + values.map(|value| value.data.len()).sum::<usize>()
    }
}

/// Which changes a watcher is told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filter {
    All,
    /// Those that leave a record.
    Update,
    /// Those that leave none.
    Delete,
}

impl Filter {
    fn passes(self, event: &Event) -> bool {
        match self {
            Filter::All => true,
            Filter::Update => event.current.is_some(),
            Filter::Delete => event.current.is_none(),
        }
    }
}

/// Why a watcher is told of no more changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// More changes waited for it than are kept.
    Slow,
    /// The whole state was replaced, and what changed on the way there is not known.
    Replaced,
    /// The state machine is gone.
    Stopped,
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reason = match self {
            Cut::Slow => "the watcher is too slow: more changes waited for it than this node keeps",
            Cut::Replaced => {
                "this node was behind, and took over the leader's state as a whole: single changes are not known"
            }
            Cut::Stopped => "this node is stopping",
        };
        write!(f, "{reason}; watch again with initial_flush")
    }
}

/// Everybody who watches one state machine. Clones share it.
#[derive(Clone, Default)]
pub struct Watchers {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    last_id: u64,
    /// Bytes that wait for all who watch, and for those who were cut off and have not taken what they were told before.
    backlog: Arc<AtomicUsize>,
    watchers: HashMap<u64, Watcher>,
}

struct Watcher {
    range: KeyRange,
    filter: Filter,
    events: UnboundedSender<Result<Arc<Event>, Cut>>,
    backlog: Backlog,
}

/// Bytes that were sent and not taken yet: by one watcher, and by all.
#[derive(Clone)]
struct Backlog {
    own: Arc<AtomicUsize>,
    all: Arc<AtomicUsize>,
}

impl Backlog {
    /// Whether one who has taken all else may have so much more, or anybody within these bounds.
    fn has_room(&self, bytes: usize, share: usize) -> bool {
        let (own, all) = (self.own.load(Ordering::Relaxed), self.all.load(Ordering::Relaxed));
        // One change always fits: its values are held anyway.
        own == 0 || own + bytes <= share && all + bytes <= MAX_BACKLOG
    }

    fn add(&self, bytes: usize) {
        self.own.fetch_add(bytes, Ordering::Relaxed);
        self.all.fetch_add(bytes, Ordering::Relaxed);
    }

    fn take(&self, bytes: usize) {
        self.own.fetch_sub(bytes, Ordering::Relaxed);
        self.all.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Watchers {
    /// Lets a watcher in, until it is dropped.
    pub fn add(&self, range: KeyRange, filter: Filter) -> Watching {
        let (sender, events) = mpsc::unbounded_channel();
        let mut inner = self.lock();
        let backlog = Backlog { own: Arc::default(), all: inner.backlog.clone() };
        inner.last_id += 1;
        let id = inner.last_id;
        inner.watchers.insert(id, Watcher { range, filter, events: sender, backlog: backlog.clone() });
        Watching { id, watchers: self.clone(), events, backlog }
    }

    pub fn count(&self) -> usize {
        self.lock().watchers.len()
    }

    /// Tells everybody whom it concerns. Waits for nobody: who lags too far is cut off behind what it was told.
    pub fn tell(&self, events: Vec<Event>) {
        let mut inner = self.lock();
        let share = MAX_SHARE.min(MAX_BACKLOG / inner.watchers.len().max(1));
        for event in events {
            let (bytes, event) = (event.bytes(), Arc::new(event));
            inner.watchers.retain(|_, watcher| watcher.tell(&event, bytes, share));
        }
    }

    /// Cuts everybody off.
    pub fn cut(&self, why: Cut) {
        for (_, watcher) in self.lock().watchers.drain() {
            // A watcher that is gone need not know.
            let _ = watcher.events.send(Err(why));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watcher {
    /// Whether it goes on being told.
    fn tell(&self, event: &Arc<Event>, bytes: usize, share: usize) -> bool {
        if !self.range.contains(&event.key) || !self.filter.passes(event) {
            return true;
        }
        let slow = !self.backlog.has_room(bytes, share);
        if !slow {
            self.backlog.add(bytes);
        }
        let told = self.events.send(if slow { Err(Cut::Slow) } else { Ok(event.clone()) });
        told.is_ok() && !slow
    }
}

/// A watcher's side.
pub struct Watching {
    id: u64,
    watchers: Watchers,
    events: UnboundedReceiver<Result<Arc<Event>, Cut>>,
    backlog: Backlog,
}

impl Watching {
    /// The next change; after an error there are no more.
    pub async fn next(&mut self) -> Result<Arc<Event>, Cut> {
        let event = self.events.recv().await.unwrap_or(Err(Cut::Stopped))?;
        self.backlog.take(event.bytes());
        Ok(event)
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        // Nobody tells it anything any more once this is done.
        self.watchers.lock().watchers.remove(&self.id);
        self.backlog.take(self.backlog.own.load(Ordering::Relaxed));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(key: &str, prev: Option<u64>, current: Option<u64>) -> Event {
        sized(key, prev, current, 0)
    }

    fn sized(key: &str, prev: Option<u64>, current: Option<u64>, bytes: usize) -> Event {
        let record = |seq| Arc::new(SeqV { seq, meta: None, data: vec![0; bytes] });
        Event { key: key.into(), prev: prev.map(record), current: current.map(record) }
    }

    fn range(key: &str, end: Option<&str>) -> KeyRange {
        KeyRange::new(key.to_owned(), end.map(str::to_owned)).unwrap()
    }

    async fn told(watching: &mut Watching, watchers: &Watchers) -> Vec<(String, u64, u64)> {
        watchers.cut(Cut::Replaced);
        let mut told = Vec::new();
        while let Ok(event) = watching.next().await {
            let seq = |record: &Option<Arc<SeqV>>| record.as_ref().map_or(0, |record| record.seq);
            told.push((event.key.to_string(), seq(&event.prev), seq(&event.current)));
        }
        told
    }

    #[tokio::test]
    async fn a_watcher_is_told_what_is_in_its_range_and_passes_its_filter() {
        let events = [
            event("a", None, Some(1)),
            event("b", None, Some(2)),
            event("b", Some(2), Some(3)),
            event("b", Some(3), None),
            event("c", None, Some(4)),
        ];
        let all = [("a", 0, 1), ("b", 0, 2), ("b", 2, 3), ("b", 3, 0), ("c", 0, 4)];
        for (range, filter, expected) in [
            (range("b", None), Filter::All, &all[1..4]),
            (range("b", None), Filter::Update, &all[1..3]),
            (range("b", None), Filter::Delete, &all[3..4]),
            (range("a", Some("c")), Filter::All, &all[..4]),
            (range("", Some("z")), Filter::All, &all[..]),
            (range("d", None), Filter::All, &[]),
        ] {
            let watchers = Watchers::default();
            let mut watching = watchers.add(range.clone(), filter);
            watchers.tell(events.to_vec());
            let expected: Vec<_> = expected.iter().map(|(key, prev, now)| (key.to_string(), *prev, *now)).collect();
            assert_eq!(told(&mut watching, &watchers).await, expected, "{range:?} {filter:?}");
        }
    }

    #[tokio::test]
    async fn who_lags_too_far_gets_what_was_kept_and_then_why_it_ends() {
        let watchers = Watchers::default();
        let (mut slow, mut quick) =
            (watchers.add(range("k", None), Filter::All), watchers.add(range("k", None), Filter::All));
        for n in 1..=100 {
            watchers.tell(vec![sized("k", None, Some(n), 1 << 20)]);
            assert_eq!(quick.next().await.unwrap().current.as_ref().unwrap().seq, n);
        }
        assert_eq!(watchers.count(), 1, "the slow one is not told any more");
        for n in 1..32 {
            assert_eq!(slow.next().await.unwrap().current.as_ref().unwrap().seq, n);
        }
        assert_eq!(slow.next().await, Err(Cut::Slow));
    }

    #[tokio::test]
    async fn many_watchers_share_what_is_kept() {
        let watchers = Watchers::default();
        let mut all: Vec<_> = (0..64).map(|_| watchers.add(range("k", None), Filter::All)).collect();
        for n in 1..=5 {
            watchers.tell(vec![sized("k", None, Some(n), (1 << 20) - 1000)]);
        }
        assert_eq!(watchers.count(), 0);
        for watching in &mut all {
            for _ in 0..4 {
                watching.next().await.unwrap();
            }
            assert_eq!(watching.next().await, Err(Cut::Slow));
        }
    }

    #[tokio::test]
    async fn what_waits_for_those_who_were_cut_off_counts_until_they_go() {
        let watchers = Watchers::default();
        let mut cut_off = Vec::new();
        let mut told = 0;
        while told < 2 * MAX_BACKLOG {
            cut_off.push(watchers.add(range("k", None), Filter::All));
            for n in 0..40 {
                watchers.tell(vec![sized("k", None, Some(n), 1 << 20)]);
            }
            assert_eq!(watchers.count(), 0);
            told += MAX_SHARE;
        }
        let waits = || watchers.lock().backlog.load(Ordering::Relaxed);
        // One change always fits.
        assert!(waits() <= MAX_BACKLOG + cut_off.len() * (2 << 20), "{}", waits());
        cut_off.clear();
        assert_eq!(waits(), 0);
    }

    #[tokio::test]
    async fn a_watcher_that_is_dropped_is_forgotten() {
        let watchers = Watchers::default();
        let watching = watchers.add(range("k", None), Filter::All);
        assert_eq!(watchers.count(), 1);
        drop(watching);
        assert_eq!(watchers.count(), 0);
    }
}
