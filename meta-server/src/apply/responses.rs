//! The responses of one transaction, up to what a reply may carry. An operation of a few bytes may answer with a value of any
//! size, and a transaction may ask for the same one again and again.

use super::OpResponse;

/// The most that the responses of a transaction may take together, in bytes.
pub const MAX_REPLY_BYTES: usize = 32 * 1024 * 1024;

/// Collects responses. Once they are too many all of them are dropped: a part would be taken for the whole.
#[derive(Default)]
pub(super) struct Responses {
    kept: Vec<OpResponse>,
    bytes: usize,
}

impl Responses {
    pub(super) fn push(&mut self, response: OpResponse) {
        self.bytes = self.bytes.saturating_add(size_of(&response));
        if self.bytes <= MAX_REPLY_BYTES {
            self.kept.push(response);
        } else {
            self.kept = Vec::new();
        }
    }

    /// The responses; `None` if they are too large.
    pub(super) fn finish(self) -> Option<Vec<OpResponse>> {
        (self.bytes <= MAX_REPLY_BYTES).then_some(self.kept)
    }
}

/// What a response takes in memory, roughly; on the wire it is less.
fn size_of(response: &OpResponse) -> usize {
    let (key, values) = match response {
        OpResponse::Get { key, value } => (key, [value.as_ref(), None]),
        OpResponse::Put { key, prev, current } => (key, [prev.as_ref(), current.as_ref()]),
        OpResponse::Delete { key, prev, .. } => (key, [prev.as_ref(), None]),
        OpResponse::DeleteByPrefix { prefix: key, .. } | OpResponse::FetchIncreaseU64 { key, .. } => {
            (key, [None, None])
        }
    };
    let data: usize = values.into_iter().flatten().map(|value| value.data.len()).sum();
    std::mem::size_of::<OpResponse>() + key.len() + data
}
