//! How many keys, and how many bytes, are under each prefix that ends before a slash; the largest prefixes, in bounded
//! memory.
//!
//! A prefix has what is under it, whatever is further down, as `keys-layout` and `du` have it. Of sorted keys, a prefix
//! is complete when a key comes that is not under it, so it is known at once whether it is among the largest: those
//! that are told are exact, however many there are. Keys in no order come back to a prefix; then they are exact as long
//! as all prefixes fit.

use std::{cmp::Reverse, collections::HashMap};

use serde::Serialize;

use super::Count;

/// Bytes that the prefixes which are complete may take, about.
const ROOM: usize = 1024 * 1024;
/// What one takes beside its text.
const ROW: usize = 64;

/// The largest prefixes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct PrefixTable {
    /// Prefixes have at most so many parts.
    pub depth: usize,
    /// Whether the numbers are exact. They always are where keys are in order.
    pub exact: bool,
    /// The largest first. Whatever a prefix is under is larger, so it is listed too.
    pub rows: Vec<PrefixRow>,
    /// Prefixes that are not listed.
    pub more: u64,
    /// Keys that are under none of those that are listed.
    pub others: Count,
}

/// A prefix and what is under it. Bytes are of keys and values as they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PrefixRow {
    /// Without the slash it ends before.
    pub prefix: String,
    #[serde(flatten)]
    pub keys: Count,
}

/// Takes keys.
pub(super) struct Prefixes {
    depth: usize,
    top: usize,
    total: Count,
    sorted: bool,
    last: String,
    /// What the last key is under, outermost first.
    open: Vec<Open>,
    complete: Complete,
}

/// A prefix that the next key may still be under: where it ends in the last key, and what was under it and no prefix
/// further down.
struct Open {
    end: usize,
    keys: Count,
}

impl Prefixes {
    pub(super) fn new(depth: usize, top: usize) -> Self {
        let complete = Complete { top, ..Complete::default() };
        Prefixes { depth, top, total: Count::default(), sorted: true, last: String::new(), open: Vec::new(), complete }
    }

    /// Counts a key that is under no prefix.
    pub(super) fn pass(&mut self, size: Count) {
        self.total += size;
    }

    pub(super) fn push(&mut self, key: &str, size: Count) {
        self.total += size;
        self.sorted &= self.last.as_str() <= key;
        let shared = self.shared(key);
        if shared < self.open.len() {
            self.close(shared);
        }
        if shared < self.depth {
            let start = self.open.last().map_or(0, |open| open.end + 1);
            let slashes = memchr::memchr_iter(b'/', &key.as_bytes()[start..]).take(self.depth - shared);
            self.open.extend(slashes.map(|at| Open { end: start + at, keys: Count::default() }));
        }
        if let Some(open) = self.open.last_mut() {
            open.keys += size;
        }
        self.last.clear();
        self.last.push_str(key);
    }

    /// How many of the open prefixes the key is under, outermost first. Mostly all of them.
    fn shared(&self, key: &str) -> usize {
        let is_under = |open: &Open| key.as_bytes().starts_with(&self.last.as_bytes()[..=open.end]);
        match self.open.last() {
            Some(innermost) if is_under(innermost) => self.open.len(),
            _ => self.open.iter().take_while(|open| is_under(open)).count(),
        }
    }

    /// Closes all but the outermost `kept`; each has what those further down have.
    fn close(&mut self, kept: usize) {
        while self.open.len() > kept
            && let Some(Open { end, keys }) = self.open.pop()
        {
            if let Some(parent) = self.open.last_mut() {
                parent.keys += keys;
            }
            self.complete.add(&self.last[..end], keys, self.sorted);
        }
    }

    /// All keys, whether they were in order, and the largest prefixes.
    pub(super) fn finish(mut self) -> (Count, bool, PrefixTable) {
        self.close(0);
        let exact = self.sorted || !self.complete.lossy;
        let mut rows = self.complete.best();
        let more = self.complete.left_out + rows.len().saturating_sub(self.top) as u64;
        rows.truncate(self.top);
        let listed = rows.iter().filter(|row| !row.prefix.contains('/'));
        let mut others = self.total;
        for row in listed {
            others.count = others.count.saturating_sub(row.keys.count);
            others.bytes = others.bytes.saturating_sub(row.keys.bytes);
        }
        (self.total, self.sorted, PrefixTable { depth: self.depth, exact, rows, more, others })
    }
}

/// Where a prefix stands: the largest first, and of equals the first by name, so what a prefix is under comes before
/// it.
type Rank<'a> = (Reverse<u64>, &'a str);

fn rank<'a>(prefix: &'a str, keys: &Count) -> Rank<'a> {
    (Reverse(keys.bytes), prefix)
}

/// The prefixes that are complete, as far as they matter.
#[derive(Default)]
struct Complete {
    top: usize,
    rows: HashMap<Box<str>, Count>,
    /// Of [`ROOM`].
    used: usize,
    /// What stands last among the best, once some were left out: of sorted keys, nothing that is worse will ever be
    /// told.
    last_told: Option<(Box<str>, Count)>,
    /// Prefixes that were left out.
    left_out: u64,
    /// If keys come back to a prefix, it may have been left out.
    lossy: bool,
}

impl Complete {
    fn add(&mut self, prefix: &str, keys: Count, sorted: bool) {
        if let Some(row) = self.rows.get_mut(prefix) {
            *row += keys;
            return;
        }
        let is_worse = |(last, count): &(Box<str>, Count)| rank(prefix, &keys) > rank(last, count);
        if sorted && self.last_told.as_ref().is_some_and(is_worse) {
            self.left_out += 1;
            return;
        }
        self.used += ROW + prefix.len();
        self.rows.insert(prefix.into(), keys);
        if self.used > ROOM && self.rows.len() > self.top {
            self.shrink();
        }
    }

    /// Leaves out the worst, until half the room is free or only those are left that would be told.
    fn shrink(&mut self) {
        self.lossy = true;
        let mut rows: Vec<(Box<str>, Count)> = self.rows.drain().collect();
        rows.sort_unstable_by(|(a, a_keys), (b, b_keys)| rank(a, a_keys).cmp(&rank(b, b_keys)));
        self.last_told = rows.get(self.top.saturating_sub(1)).cloned();
        let before = rows.len();
        self.used = 0;
        for (n, (prefix, keys)) in rows.into_iter().enumerate() {
            let bytes = ROW + prefix.len();
            if n < self.top || self.used + bytes <= ROOM / 2 {
                self.used += bytes;
                self.rows.insert(prefix, keys);
            } else {
                break;
            }
        }
        self.left_out += (before - self.rows.len()) as u64;
    }

    fn best(&mut self) -> Vec<PrefixRow> {
        let mut rows: Vec<PrefixRow> =
            self.rows.drain().map(|(prefix, keys)| PrefixRow { prefix: prefix.into(), keys }).collect();
        rows.sort_unstable_by(|a, b| rank(&a.prefix, &a.keys).cmp(&rank(&b.prefix, &b.keys)));
        rows
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn table(keys: &[impl AsRef<str>], depth: usize, top: usize) -> PrefixTable {
        let mut prefixes = Prefixes::new(depth, top);
        for key in keys {
            prefixes.push(key.as_ref(), Count::one(key.as_ref().len()));
        }
        prefixes.finish().2
    }

    /// All prefixes up to a depth, from a map that holds them all; the largest first.
    fn counted(keys: &[impl AsRef<str>], depth: usize) -> Vec<PrefixRow> {
        let mut counts = BTreeMap::<&str, Count>::new();
        for key in keys.iter().map(AsRef::as_ref) {
            for (end, _) in key.match_indices('/').take(depth) {
                *counts.entry(&key[..end]).or_default() += Count::one(key.len());
            }
        }
        let mut rows: Vec<PrefixRow> =
            counts.into_iter().map(|(prefix, keys)| PrefixRow { prefix: prefix.to_owned(), keys }).collect();
        rows.sort_by_key(|row| Reverse(row.keys.bytes));
        rows
    }

    fn shown(table: &PrefixTable) -> Vec<String> {
        table.rows.iter().map(|row| format!("{} {} {}", row.prefix, row.keys.count, row.keys.bytes)).collect()
    }

    #[test]
    fn a_prefix_has_all_that_is_under_it() {
        let keys = ["/x", "a", "a!/1", "a/b/1", "a/b/2", "a/c", "ab/1", "é/1"];
        assert_eq!(shown(&table(&keys, 1, 9)), ["a 3 13", "a! 1 4", "ab 1 4", "é 1 4", " 1 2"]);
        let deep = table(&keys, 2, 2);
        assert_eq!(shown(&deep), ["a 3 13", "a/b 2 10"]);
        assert_eq!((deep.more, deep.others), (4, Count { count: 5, bytes: 15 }));
        let none = table(&keys, 0, 9);
        assert_eq!((none.rows.len(), none.others), (0, Count { count: 8, bytes: 28 }));
    }

    #[test]
    fn more_prefixes_than_there_is_room_for_leave_the_largest_exact() {
        // Every one has a key, some have more, and the largest come first, in between and last.
        let large = |n: u32| n.is_multiple_of(9_999);
        let keys: Vec<String> = (0..100_000)
            .flat_map(|n| (0..if large(n) { n / 9_999 + 2 } else { 1 }).map(move |k| format!("p{n:06}/{k:02}")))
            .collect();
        let found = table(&keys, 1, 8);
        assert!(found.exact);
        assert_eq!(found.rows, counted(&keys, 1)[..8]);
        assert_eq!(found.more, 100_000 - 8);
    }

    #[test]
    fn keys_in_no_order_are_exact_as_long_as_their_prefixes_fit() {
        let key = |n: u64, prefixes: u64| format!("p{}/{n}", n * 7919 % prefixes);
        let few: Vec<String> = (0..50_000).map(|n| key(n, 5_000)).collect();
        let found = table(&few, 1, 8);
        assert!(found.exact);
        assert_eq!(found.rows, counted(&few, 1)[..8]);
        assert_eq!(found.more, 5_000 - 8);

        let mut many = Prefixes::new(1, 8);
        (0..100_000).for_each(|n| many.push(&key(n, 50_000), Count::one(1)));
        let used = many.complete.used;
        let (total, sorted, found) = many.finish();
        assert!(!sorted && !found.exact && used <= ROOM, "{used} bytes");
        assert_eq!(total.count, 100_000);
    }

    #[test]
    fn long_prefixes_take_no_more_than_their_room() {
        let mut prefixes = Prefixes::new(3, 4);
        for n in 0..2000 {
            prefixes.push(&format!("{n:04}/{}/x", "y".repeat(60_000)), Count::one(1));
            assert!(prefixes.complete.used <= ROOM + 61_000, "{}", prefixes.complete.used);
        }
        assert!(prefixes.finish().2.exact);
    }

    proptest! {
        #[test]
        fn what_is_told_of_sorted_keys_is_what_a_map_of_all_prefixes_tells(
            mut keys in vec("[ab/]{0,7}", 0..200), depth in 0usize..5, top in 0usize..12
        ) {
            keys.sort();
            let (found, expected) = (table(&keys, depth, top), counted(&keys, depth));
            let told = expected.len().min(top);
            prop_assert!(found.exact);
            prop_assert_eq!(&found.rows, &expected[..told]);
            prop_assert_eq!(found.more, (expected.len() - told) as u64);
            let listed = |key: &str| found.rows.iter().any(|row| key.starts_with(&format!("{}/", row.prefix)));
            let others: Vec<usize> = keys.iter().filter(|key| !listed(key)).map(String::len).collect();
            prop_assert_eq!(found.others, Count { count: others.len() as u64, bytes: others.iter().sum::<usize>() as u64 });
        }
    }
}
