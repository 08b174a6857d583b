//! `Watch`: what a request asks for, and what a watcher is sent. The records that there were, the mark that ends them, then changes
//! until the watcher leaves, is cut off, or the server stops.

use std::{iter, sync::Arc};

use backup_plugin::record::SeqV;
use futures::{Stream, StreamExt, future, stream};
use meta_proto::pb::{self, watch_request::FilterType};
use tonic::Status;

use super::{
    convert::record_to_pb,
    kv::read_error,
    streams::{from_blocking, until_first_error},
};
use crate::{
    state::View,
    watch::{Cut, Event, Filter, KeyRange, Watching},
};

/// What a watcher asks for.
pub struct Wanted {
    pub range: KeyRange,
    pub filter: Filter,
    /// Whether it wants the records that there are, too.
    pub initial_flush: bool,
}

impl Wanted {
    pub fn of(request: pb::WatchRequest) -> Result<Wanted, Status> {
        let filter = FilterType::try_from(request.filter_type).map_err(|_| {
            Status::invalid_argument(format!(
                "WatchRequest.filter_type is {}; 0 (ALL), 1 (UPDATE) and 2 (DELETE) are known",
                request.filter_type
            ))
        })?;
        let range = KeyRange::new(request.key, request.key_end)
            .map_err(|error| Status::invalid_argument(format!("WatchRequest: {error}")))?;
        let filter = match filter {
            FilterType::All => Filter::All,
            FilterType::Update => Filter::Update,
            FilterType::Delete => Filter::Delete,
        };
        Ok(Wanted { range, filter, initial_flush: request.initial_flush })
    }
}

/// What a watcher is sent that came in with `view`. Records that have expired and are not removed yet are there: their removal
/// will be a change.
pub fn responses(
    wanted: Wanted,
    view: View,
    watching: Watching,
) -> impl Stream<Item = Result<pb::WatchResponse, Status>> + Send + 'static {
    let flush = wanted.initial_flush.then(|| {
        let records = iter::once_with(move || view.range(&wanted.range)).flatten().map(|record| match record {
            Ok((key, value)) => Ok(present(&key, &value)),
            Err(error) => Err(read_error(&error)),
        });
        from_blocking(records).chain(stream::once(future::ready(Ok(pb::WatchResponse::default()))))
    });
    let flush = stream::iter(flush).flatten();
    let changes = stream::unfold(watching, async |mut watching| {
        let response = watching.next().await.map(|event| changed(&event)).map_err(status);
        Some((response, watching))
    });
    until_first_error(flush.chain(changes))
}

fn present(key: &str, value: &Arc<SeqV>) -> pb::WatchResponse {
    let event = pb::Event { key: key.to_owned(), prev: None, current: record(Some(value)) };
    pb::WatchResponse { event: Some(event), is_initialization: true }
}

fn changed(event: &Event) -> pb::WatchResponse {
    let Event { key, prev, current } = event;
    let event = pb::Event { key: key.to_string(), prev: record(prev.as_ref()), current: record(current.as_ref()) };
    pb::WatchResponse { event: Some(event), is_initialization: false }
}

fn record(record: Option<&Arc<SeqV>>) -> Option<pb::SeqV> {
    record.map(|record| record_to_pb(SeqV::clone(record)))
}

fn status(cut: Cut) -> Status {
    let message = format!("the watch has ended: {cut}");
    match cut {
        Cut::Slow => Status::resource_exhausted(message),
        Cut::Replaced | Cut::Stopped => Status::unavailable(message),
    }
}
