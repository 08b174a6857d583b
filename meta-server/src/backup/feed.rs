//! Takes the records of an import, in whatever order they come, and builds a base of them. As long as keys ascend they go
//! straight into it; from the first that does not, the rest is sorted on disk and merged at the end.

use std::{
    io,
    path::{Path, PathBuf},
};

use backup_plugin::{cluster::ContentDigest, record::SeqV};

use crate::{
    base::{Base, BaseBuilder, BaseMeta, Sorter, decode_value, encode_value},
    state::base_name,
};

pub(super) struct StateFeed {
    dir: PathBuf,
    bases: u64,
    last_key: Option<String>,
    phase: Phase,
}

enum Phase {
    Empty,
    /// Every key so far was above the one before it.
    Ascending(BaseBuilder),
    /// The keys up to the first that was out of order, and the others.
    Mixed {
        first: Base,
        rest: Sorter,
    },
}

/// What became of a record.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fed {
    Taken,
    /// This key was there before.
    Duplicate(String),
}

impl StateFeed {
    /// Bases are built inside `dir`.
    pub(super) fn new(dir: &Path) -> StateFeed {
        StateFeed { dir: dir.to_owned(), bases: 0, last_key: None, phase: Phase::Empty }
    }

    pub(super) fn record(&mut self, key: String, value: SeqV) -> io::Result<Fed> {
        if let Phase::Empty = self.phase {
            self.phase = Phase::Ascending(BaseBuilder::create(&self.next_base())?);
        }
        if self.last_key.as_ref().is_some_and(|last| *last >= key) {
            self.start_sorting()?;
        }
        match &mut self.phase {
            Phase::Ascending(builder) => {
                let last = self.last_key.get_or_insert_default();
                last.clear();
                last.push_str(&key);
                builder.push(key, value)?;
            }
            Phase::Mixed { first, rest } => {
                if rest.contains(key.as_bytes())? || first.get(&key)?.is_some() {
                    return Ok(Fed::Duplicate(key));
                }
                rest.insert(key.as_bytes(), &encode_value(&value))?;
            }
            Phase::Empty => return Err(io::Error::other("a record came after the end")),
        }
        Ok(Fed::Taken)
    }

    /// Completes the base. `meta` is what the state is beside its records.
    pub(super) fn finish(&mut self, meta: BaseMeta) -> io::Result<(Base, ContentDigest)> {
        match std::mem::replace(&mut self.phase, Phase::Empty) {
            Phase::Empty => BaseBuilder::create(&self.next_base())?.finish(meta),
            Phase::Ascending(builder) => builder.finish(meta),
            Phase::Mixed { first, rest } => {
                let mut builder = BaseBuilder::create(&self.next_base())?;
                let mut rest = rest.into_sorted().map(sorted_record).peekable();
                for item in first.prefix("") {
                    let (key, value) = item?;
                    while let Some(item) = rest.next_if(|item| item.as_ref().map_or(true, |(other, _)| **other < *key))
                    {
                        let (key, value) = item?;
                        builder.push(key, value)?;
                    }
                    builder.push(key.to_string(), SeqV::clone(&value))?;
                }
                for item in rest {
                    let (key, value) = item?;
                    builder.push(key, value)?;
                }
                first.retire();
                builder.finish(meta)
            }
        }
    }

    /// The folder for one more base.
    pub(super) fn next_base(&mut self) -> PathBuf {
        self.bases += 1;
        self.dir.join(base_name(self.bases))
    }

    fn start_sorting(&mut self) -> io::Result<()> {
        self.last_key = None;
        let Phase::Ascending(builder) = std::mem::replace(&mut self.phase, Phase::Empty) else { return Ok(()) };
        let (first, _) = builder.finish(BaseMeta::default())?;
        self.phase = Phase::Mixed { first, rest: Sorter::new(&self.dir)? };
        Ok(())
    }
}

fn sorted_record(item: io::Result<(Vec<u8>, Vec<u8>)>) -> io::Result<(String, SeqV)> {
    let (key, value) = item?;
    let key = String::from_utf8(key).map_err(|err| io::Error::new(io::ErrorKind::InvalidData, err))?;
    Ok((key, decode_value(&value)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed(keys: &[&str]) -> (tempfile::TempDir, StateFeed, Vec<Fed>) {
        let dir = tempfile::tempdir().unwrap();
        let mut feed = StateFeed::new(dir.path());
        let value = |seq| SeqV { seq, meta: None, data: vec![1, 2] };
        let fed = (1..).zip(keys).map(|(seq, key)| feed.record((*key).to_owned(), value(seq)).unwrap()).collect();
        (dir, feed, fed)
    }

    #[test]
    fn any_order_gives_the_same_base() {
        for keys in [["a", "a\0", "b", "c"], ["c", "b", "a\0", "a"], ["b", "c", "a", "a\0"]] {
            let (_dir, mut feed, fed) = feed(&keys);
            assert!(fed.iter().all(|fed| *fed == Fed::Taken));
            let (base, _) = feed.finish(BaseMeta::default()).unwrap();
            let found: Vec<_> = base.prefix("").map(|item| item.unwrap().0.to_string()).collect();
            assert_eq!(found, ["a", "a\0", "b", "c"]);
            assert_eq!(base.meta().keys, 4);
        }
    }

    #[test]
    fn a_key_that_was_there_is_told() {
        for keys in [&["a", "b", "b"][..], &["b", "a", "b"], &["b", "a", "a"], &["a", "a"]] {
            let (_dir, _feed, fed) = feed(keys);
            let last = (*keys.last().unwrap()).to_owned();
            assert_eq!(fed.last(), Some(&Fed::Duplicate(last)), "{keys:?}");
        }
    }
}
