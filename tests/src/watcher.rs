//! A watcher that believes nothing: it keeps the records that it was told of, and asserts that each change begins where the one
//! before it ended.

use std::collections::BTreeMap;

use meta_proto::pb::{self, watch_request::FilterType};
use tonic::{Status, Streaming};

use crate::client::Client;

/// A watch request for the keys from `key` on and before `key_end`.
pub fn request(key: &str, key_end: Option<&str>, initial_flush: bool) -> pb::WatchRequest {
    pb::WatchRequest {
        key: key.to_owned(),
        key_end: key_end.map(str::to_owned),
        filter_type: FilterType::All.into(),
        initial_flush,
    }
}

/// Begins to watch, without a token: real clients send none.
pub async fn watch(client: &Client, request: pb::WatchRequest) -> Result<Streaming<pb::WatchResponse>, Status> {
    let mut rpc = client.rpc.clone();
    Ok(rpc.watch(request).await?.into_inner())
}

/// An event in brief: its key, and the seq before and after, 0 for none.
pub fn brief(event: &pb::Event) -> (String, u64, u64) {
    let seq = |record: &Option<pb::SeqV>| record.as_ref().map_or(0, |record| record.seq);
    (event.key.clone(), seq(&event.prev), seq(&event.current))
}

/// A watcher that was shown the records that there were.
pub struct Watcher {
    stream: Streaming<pb::WatchResponse>,
    pub records: BTreeMap<String, pb::SeqV>,
    /// Changes so far.
    pub changes: u64,
}

impl Watcher {
    /// Comes in and takes the records that there are.
    ///
    /// # Panics
    ///
    /// When they are not in order, one comes twice, or what is no record comes before the mark.
    pub async fn start(client: &Client, key: &str, key_end: &str) -> Watcher {
        let mut stream = watch(client, request(key, Some(key_end), true)).await.unwrap();
        let mut records: BTreeMap<String, pb::SeqV> = BTreeMap::new();
        loop {
            let response = stream.message().await.unwrap().expect("a watch has no end");
            let Some(pb::Event { key, current, prev }) = response.event else {
                assert!(!response.is_initialization);
                return Watcher { stream, records, changes: 0 };
            };
            assert!(response.is_initialization, "a change of {key} before the mark");
            assert_eq!(prev, None, "a record that was there has nothing before it");
            assert!(records.last_key_value().is_none_or(|(last, _)| *last < key), "{key} is out of order");
            records.insert(key, current.expect("a record that was there"));
        }
    }

    /// Takes the next change, and gives its key; or why there are no more.
    ///
    /// # Panics
    ///
    /// When it does not begin where the one before it ended.
    pub async fn next(&mut self) -> Result<String, Status> {
        let response = self.stream.message().await?.expect("a watch has no end");
        assert!(!response.is_initialization);
        let pb::Event { key, current, prev } = response.event.expect("one mark, and no other");
        let before = match current {
            Some(current) => self.records.insert(key.clone(), current),
            None => self.records.remove(&key),
        };
        assert_eq!(before, prev, "the record of {key} before its change number {}", self.changes);
        self.changes += 1;
        Ok(key)
    }

    /// Takes changes up to one of `key`.
    pub async fn until(&mut self, key: &str) {
        while self.next().await.unwrap() != key {}
    }
}
