//! Requests that travel as JSON inside a `RaftRequest`: one upsert, or a read. Knows the JSON and what a read gives
//! back, not how a node comes by its view.

use std::{io, iter};

use backup_plugin::record::SeqV;
use futures::Stream;
use meta_proto::{
    pb,
    raft::{Keys, read_request::What},
};
use serde::{Deserialize, Serialize};
use tonic::Status;

use super::{convert, streams::from_blocking};
use backup_plugin::clock::now_ms;

use crate::{apply::Change, command::UpsertKv, state::View};

/// What `KvApi` takes.
#[derive(Debug, Deserialize)]
pub enum WriteRequest {
    UpsertKV(UpsertKv),
}

/// What `KvList` answers: the first records under a prefix, at most `limit` where there is one.
pub fn list(
    request: pb::KvListRequest,
    view: View,
) -> impl Stream<Item = Result<pb::StreamItem, Status>> + Send + 'static {
    let limit = request.limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let list = ReadRequest::ListKV { prefix: request.prefix };
    from_blocking(iter::once_with(move || list.read(view, now_ms())).flatten().take(limit))
}

/// What `KvApi` answers.
#[derive(Debug, Serialize)]
pub struct WriteReply {
    /// Always null; clients expect the field.
    ident: (),
    prev: Option<SeqV>,
    result: Option<SeqV>,
}

/// What `KvReadV1` takes.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub enum ReadRequest {
    GetKV { key: String },
    MGetKV { keys: Vec<String> },
    ListKV { prefix: String },
}

/// Reads the JSON of a request.
pub fn parse<'a, T: Deserialize<'a>>(request: &'a pb::RaftRequest) -> Result<T, Status> {
    serde_json::from_str(&request.data)
        .map_err(|error| Status::invalid_argument(format!("cannot understand the request: {error}")))
}

impl WriteReply {
    pub fn of(change: Change) -> Self {
        Self { ident: (), prev: change.prev, result: change.result }
    }

    pub fn encode(&self) -> Result<pb::RaftReply, Status> {
        let data = serde_json::to_string(self).map_err(|error| {
            Status::internal(format!("the write was done, but its result can not be encoded: {error}"))
        })?;
        Ok(pb::RaftReply { data, error: String::new() })
    }
}

impl ReadRequest {
    /// As one member asks it of another.
    pub fn to_pb(&self) -> What {
        let keys = match self {
            ReadRequest::GetKV { key } => vec![key.clone()],
            ReadRequest::MGetKV { keys } => keys.clone(),
            ReadRequest::ListKV { prefix } => return What::Prefix(prefix.clone()),
        };
        What::Keys(Keys { keys })
    }

    pub fn from_pb(what: What) -> Self {
        match what {
            What::Keys(Keys { keys }) => ReadRequest::MGetKV { keys },
            What::Prefix(prefix) => ReadRequest::ListKV { prefix },
        }
    }

    /// The answer to a read of one key that was written lately: in memory, so that nothing blocks. `None`: it may be on disk.
    pub fn recent(&self, view: &View, now_ms: u64) -> Option<pb::StreamItem> {
        let ReadRequest::GetKV { key } = self else { return None };
        let value = view.recent(key)?.filter(|value| !value.is_expired(now_ms));
        Some(item(key.clone(), value.cloned()))
    }

    /// One item per key asked for, or per record listed, no faster than they are taken. Records that have expired are not there.
    pub fn stream(self, view: View) -> impl Stream<Item = Result<pb::StreamItem, Status>> + Send + 'static {
        // Already to begin reading may block.
        from_blocking(iter::once_with(move || self.read(view, now_ms())).flatten())
    }

    /// Records that have expired at `now_ms` are not there. Reading blocks.
    fn read(self, view: View, now_ms: u64) -> Box<dyn Iterator<Item = Result<pb::StreamItem, Status>> + Send> {
        let keys = match self {
            ReadRequest::GetKV { key } => vec![key],
            ReadRequest::MGetKV { keys } => keys,
            ReadRequest::ListKV { prefix } => {
                return Box::new(view.prefix(&prefix).filter_map(move |record| match record {
                    Ok((_, value)) if value.is_expired(now_ms) => None,
                    Ok((key, value)) => Some(Ok(item(key.to_string(), Some(SeqV::clone(&value))))),
                    Err(error) => Some(Err(read_error(&error))),
                }));
            }
        };
        Box::new(keys.into_iter().map(move |key| {
            let value = view.get(&key).map_err(|error| read_error(&error))?;
            Ok(item(key, value.filter(|value| !value.is_expired(now_ms))))
        }))
    }
}

fn item(key: String, value: Option<SeqV>) -> pb::StreamItem {
    pb::StreamItem { key, value: value.map(convert::record_to_pb) }
}

pub fn read_error(error: &io::Error) -> Status {
    Status::internal(format!("cannot read the store: {error}"))
}

#[cfg(test)]
mod tests {
    use backup_plugin::record::KvMeta;

    use super::*;
    use crate::command::{MatchSeq, ValueOp};

    fn request(data: &str) -> pb::RaftRequest {
        pb::RaftRequest { data: data.into() }
    }

    #[test]
    fn requests_of_real_clients_are_read() {
        let WriteRequest::UpsertKV(upsert) =
            parse(&request(r#"{"UpsertKV":{"key":"k","seq":{"GE":0},"value":{"Update":[1,2]},"value_meta":null}}"#))
                .unwrap();
        assert_eq!((upsert.key.as_str(), upsert.seq), ("k", MatchSeq::GE(0)));
        assert_eq!(upsert.value, ValueOp::Update(vec![1, 2]));

        for (data, expected) in [
            (r#"{"GetKV":{"key":"k"}}"#, ReadRequest::GetKV { key: "k".into() }),
            (r#"{"MGetKV":{"keys":["a","b"]}}"#, ReadRequest::MGetKV { keys: vec!["a".into(), "b".into()] }),
            (r#"{"ListKV":{"prefix":"p"}}"#, ReadRequest::ListKV { prefix: "p".into() }),
        ] {
            let read = parse::<ReadRequest>(&request(data)).unwrap();
            assert_eq!(read, expected);
            let forwarded = match read.clone() {
                ReadRequest::GetKV { key } => ReadRequest::MGetKV { keys: vec![key] },
                other => other,
            };
            assert_eq!(ReadRequest::from_pb(read.to_pb()), forwarded);
        }
    }

    #[test]
    fn what_is_no_request_is_the_clients_fault() {
        for data in ["", "{}", r#"{"DropKV":{"key":"k"}}"#, r#"{"GetKV":{}}"#] {
            let status = parse::<ReadRequest>(&request(data)).unwrap_err();
            assert_eq!(status.code(), tonic::Code::InvalidArgument, "{data}");
        }
    }

    #[test]
    fn a_reply_has_the_shape_that_clients_read() {
        let meta = Some(KvMeta { expire_at: None, proposed_at_ms: Some(7) });
        let change = Change { prev: None, result: Some(SeqV { seq: 2, meta, data: vec![1] }) };
        assert_eq!(
            WriteReply::of(change).encode().unwrap().data,
            r#"{"ident":null,"prev":null,"result":{"seq":2,"meta":{"proposed_at_ms":7},"data":[1]}}"#
        );
    }
}
