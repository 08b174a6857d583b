//! Entries in pieces: how an encoded entry is cut up for sled, put together again, and how a tear is told from a hole.
//!
//! A key is the entry's index and the piece's number, both big-endian. A value is at most [`PIECE`] bytes: 16 values of 8 KiB
//! would make sled move a leaf to a file of its own, which it never syncs. The first piece begins with the entry's length, so
//! an entry whose last pieces never reached the disk is known by it. Knows nothing of what an entry says.

use std::{io, ops::RangeInclusive};

use sled::{IVec, Tree};

use super::error::{corrupt, failed};

/// The size of the largest value, in bytes.
pub(super) const PIECE: usize = 4096;

/// Bytes at the front of the first piece: the length of the whole entry.
const LENGTH: usize = 4;

fn key(index: u64, piece: u32) -> [u8; 12] {
    let mut key = [0; 12];
    key[..8].copy_from_slice(&index.to_be_bytes());
    key[8..].copy_from_slice(&piece.to_be_bytes());
    key
}

fn parse_key(key: &[u8]) -> io::Result<(u64, u32)> {
    let parts = key
        .split_first_chunk::<8>()
        .and_then(|(index, piece)| Some((u64::from_be_bytes(*index), u32::from_be_bytes(piece.try_into().ok()?))));
    parts.ok_or_else(|| corrupt(format!("the log has a key that is not one of a log entry: {key:?}")))
}

/// The keys of all pieces of the entries in `range`.
pub(super) fn keys(range: RangeInclusive<u64>) -> RangeInclusive<[u8; 12]> {
    key(*range.start(), 0)..=key(*range.end(), u32::MAX)
}

/// Cuts an encoded entry into keys and values, in the order they have to be written.
pub(super) fn cut(index: u64, bytes: &[u8]) -> io::Result<Vec<([u8; 12], Vec<u8>)>> {
    let length = u32::try_from(bytes.len())
        .map_err(failed(format!("store log entry {index}: {} bytes are more than 4 GiB", bytes.len())))?;
    let (head, rest) = bytes.split_at(bytes.len().min(PIECE - LENGTH));
    let first = [&length.to_be_bytes(), head].concat();
    let rest = rest.chunks(PIECE).map(<[u8]>::to_vec);
    Ok(std::iter::once(first).chain(rest).zip(0..).map(|(value, piece)| (key(index, piece), value)).collect())
}

/// An entry as it was found.
pub(super) struct Found {
    pub(super) index: u64,
    pub(super) bytes: Vec<u8>,
    /// False when pieces are missing.
    pub(super) whole: bool,
}

/// Walks the entries in `range` that have at least one piece, in order.
pub(super) fn walk(tree: &Tree, range: RangeInclusive<u64>) -> impl Iterator<Item = io::Result<Found>> + use<> {
    let mut pieces = tree.range(keys(range)).map(|item| {
        let (key, value) = item.map_err(failed("read the log"))?;
        parse_key(&key).map(|(index, piece)| (index, piece, value))
    });
    let mut ahead = None;
    std::iter::from_fn(move || {
        let (index, piece, value) = match ahead.take().or_else(|| pieces.next())? {
            Ok(first) => first,
            Err(error) => return Some(Err(error)),
        };
        let mut found = Builder::new(index, piece, &value);
        for next in pieces.by_ref() {
            match next {
                Ok((same, piece, value)) if same == index => found.push(piece, &value),
                other => {
                    ahead = Some(other);
                    break;
                }
            }
        }
        Some(Ok(found.finish()))
    })
}

struct Builder {
    index: u64,
    bytes: Vec<u8>,
    length: Option<usize>,
    next_piece: u32,
    contiguous: bool,
}

impl Builder {
    fn new(index: u64, piece: u32, value: &IVec) -> Self {
        let (length, bytes) = match value.split_first_chunk::<LENGTH>() {
            Some((length, bytes)) if piece == 0 => (usize::try_from(u32::from_be_bytes(*length)).ok(), bytes.to_vec()),
            _ => (None, Vec::new()),
        };
        Self { index, bytes, length, next_piece: 1, contiguous: true }
    }

    fn push(&mut self, piece: u32, value: &IVec) {
        self.contiguous &= piece == self.next_piece;
        self.next_piece = piece.saturating_add(1);
        self.bytes.extend_from_slice(value);
    }

    fn finish(self) -> Found {
        let whole = self.contiguous && self.length == Some(self.bytes.len());
        Found { index: self.index, bytes: self.bytes, whole }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> (sled::Db, Tree) {
        let db = sled::Config::new().temporary(true).open().unwrap();
        let tree = db.open_tree("raft_log").unwrap();
        (db, tree)
    }

    #[test]
    fn an_entry_of_any_size_comes_back_whole_from_pieces_of_bounded_size() {
        let (_db, tree) = tree();
        let sizes = [0, 1, PIECE - LENGTH - 1, PIECE - LENGTH, PIECE - LENGTH + 1, 2 * PIECE, 100_000];
        for (index, size) in sizes.into_iter().enumerate() {
            for (key, value) in cut(index as u64, &vec![7; size]).unwrap() {
                assert!(value.len() <= PIECE);
                tree.insert(key, value).unwrap();
            }
        }
        let found: Vec<_> = walk(&tree, 0..=u64::MAX).map(Result::unwrap).collect();
        assert!(found.iter().all(|entry| entry.whole));
        assert_eq!(found.iter().map(|entry| entry.bytes.len()).collect::<Vec<_>>(), sizes);
    }

    #[test]
    fn an_entry_with_a_piece_missing_is_not_whole() {
        let pieces = cut(5, &[1; 3 * PIECE]).unwrap();
        for missing in 0..pieces.len() {
            let (_db, tree) = tree();
            for (_, (key, value)) in pieces.iter().enumerate().filter(|(i, _)| *i != missing) {
                tree.insert(key, value.as_slice()).unwrap();
            }
            let found = walk(&tree, 0..=9).next().unwrap().unwrap();
            assert_eq!((found.index, found.whole), (5, false), "piece {missing}");
        }
    }
}
