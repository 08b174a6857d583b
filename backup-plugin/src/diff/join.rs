//! Reads two sorted streams of records in step, one record of each at hand.

use std::{cmp::Ordering, iter::Peekable};

use super::{KeyRecord, Pair};

/// Every key of two sides whose keys ascend. Ends with the first error.
pub struct Join<A: Iterator, B: Iterator> {
    a: Peekable<A>,
    b: Peekable<B>,
    failed: bool,
}

impl<A: Iterator, B: Iterator> Join<A, B> {
    pub fn new(a: A, b: B) -> Self {
        Join { a: a.peekable(), b: b.peekable(), failed: false }
    }
}

impl<A, B, E> Iterator for Join<A, B>
where
    A: Iterator<Item = Result<KeyRecord, E>>,
    B: Iterator<Item = Result<KeyRecord, E>>,
{
    type Item = Result<Pair, E>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let order = match (self.a.peek(), self.b.peek()) {
            (Some(Ok((a, _))), Some(Ok((b, _)))) => a.cmp(b),
            // An error comes before every key: the key may be in what could not be read.
            (Some(Err(_)), _) | (_, None) => Ordering::Less,
            (_, Some(_)) => Ordering::Greater,
        };
        let a = if order.is_le() { self.a.next() } else { None };
        let b = if order.is_ge() { self.b.next() } else { None };
        let pair = match (a, b) {
            (None, None) => return None,
            (Some(Err(error)), _) | (_, Some(Err(error))) => Err(error),
            (Some(Ok((key, a))), b) => Ok(Pair { key, a: Some(a), b: b.and_then(Result::ok).map(|(_, b)| b) }),
            (None, Some(Ok((key, b)))) => Ok(Pair { key, a: None, b: Some(b) }),
        };
        self.failed = pair.is_err();
        Some(pair)
    }
}

/// A key that does not come after the one before it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the key {key:?} comes after {after:?}: its keys are not in order")]
pub struct OutOfOrder {
    pub key: String,
    pub after: String,
}

/// Passes records on for as long as their keys ascend.
pub fn ascending<E>(
    records: impl Iterator<Item = Result<KeyRecord, E>>,
    refuse: impl Fn(OutOfOrder) -> E,
) -> impl Iterator<Item = Result<KeyRecord, E>> {
    let mut last: Option<String> = None;
    records.map(move |record| {
        let (key, value) = record?;
        match &mut last {
            Some(last) if *last >= key => return Err(refuse(OutOfOrder { key, after: last.clone() })),
            Some(last) => last.clone_from(&key),
            None => last = Some(key.clone()),
        }
        Ok((key, value))
    })
}
