//! openraft's own test suite, over the real log and the real state machine, on disk.

use openraft::{
    StorageError,
    testing::log::{StoreBuilder, Suite},
};
use tempfile::TempDir;

use super::{log_store::LogStore, types::TypeConfig};
use crate::{
    state::{StateMachine, StateOptions},
    store::Store,
};

struct Builder;

/// Keeps the folder, and its lock, while the suite runs on it.
struct Held {
    _store: Store,
    _dir: TempDir,
}

impl StoreBuilder<TypeConfig, LogStore, StateMachine, Held> for Builder {
    async fn build(&self) -> Result<(Held, LogStore, StateMachine), StorageError<TypeConfig>> {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), StateOptions::default()).unwrap();
        let (log, state) = (LogStore::new(store.log.clone()), store.state.clone());
        Ok((Held { _store: store, _dir: dir }, log, state))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn openrafts_suite_passes() {
    Suite::test_all(Builder).await.unwrap();
}
