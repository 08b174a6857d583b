//! How many keys are under each prefix that ends before a slash, worked out while sorted keys go by. A prefix is counted when the
//! last key under it is past, so children come before their parents; the empty prefix, which is all keys, comes last.

use std::{io, iter, sync::Arc};

use meta_proto::pb::KeysCount;

/// Counts sorted keys. Prefixes of more than `depth` parts are left out.
pub fn keys_layout(
    keys: impl Iterator<Item = io::Result<Arc<str>>>,
    depth: Option<u32>,
) -> impl Iterator<Item = io::Result<KeysCount>> {
    let mut layout = Layout::new(depth);
    keys.map(Some).chain(iter::once(None)).flat_map(move |key| match key {
        Some(Ok(key)) => layout.count(key).into_iter().map(Ok).collect(),
        Some(Err(error)) => vec![Err(error)],
        None => layout.finish().into_iter().map(Ok).collect(),
    })
}

/// A prefix that the next key may still be under: where it ends in the last key, and how many there were.
struct Open {
    end: usize,
    count: u64,
}

struct Layout {
    depth: usize,
    last: Arc<str>,
    /// What the last key is under, outermost first.
    open: Vec<Open>,
    total: u64,
}

impl Layout {
    fn new(depth: Option<u32>) -> Self {
        let depth = depth.map_or(usize::MAX, |depth| usize::try_from(depth).unwrap_or(usize::MAX));
        Layout { depth, last: Arc::from(""), open: Vec::new(), total: 0 }
    }

    /// Takes the next key, and returns the prefixes that it has left behind.
    fn count(&mut self, key: Arc<str>) -> Vec<KeysCount> {
        // A prefix goes on as long as keys share it with its slash.
        let goes_on = |open: &&Open| key.as_bytes().starts_with(&self.last.as_bytes()[..=open.end]);
        let shared = self.open.iter().take_while(goes_on).count();
        let closed = self.close(shared);
        let slashes = key.bytes().enumerate().filter(|(_, byte)| *byte == b'/');
        self.open.extend(slashes.skip(shared).map(|(end, _)| Open { end, count: 0 }));
        for open in &mut self.open {
            open.count += 1;
        }
        self.total += 1;
        self.last = key;
        closed
    }

    fn finish(&mut self) -> Vec<KeysCount> {
        let mut counts = self.close(0);
        counts.push(KeysCount { prefix: String::new(), count: self.total });
        counts
    }

    /// Closes all prefixes but the outermost `kept`.
    fn close(&mut self, kept: usize) -> Vec<KeysCount> {
        let told = self.depth;
        let closed = self.open.drain(kept..).enumerate().filter(|(n, _)| kept + n < told);
        let mut closed: Vec<_> =
            closed.map(|(_, open)| KeysCount { prefix: self.last[..open.end].to_owned(), count: open.count }).collect();
        closed.reverse();
        closed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(keys: &[&str], depth: Option<u32>) -> Vec<String> {
        let keys: Vec<io::Result<Arc<str>>> = keys.iter().map(|key| Ok(Arc::from(*key))).collect();
        let counts = keys_layout(keys.into_iter(), depth).map(Result::unwrap);
        counts.map(|KeysCount { prefix, count }| format!("{prefix} {count}")).collect()
    }

    #[test]
    fn children_come_before_parents_and_all_keys_last() {
        let keys = [
            "databases/1/tables/orders/id",
            "databases/1/tables/users/id",
            "databases/1/tables/users/name",
            "databases/2/id",
            "system/config/max",
            "system/stats",
        ];
        let all = [
            "databases/1/tables/orders 1",
            "databases/1/tables/users 2",
            "databases/1/tables 3",
            "databases/1 3",
            "databases/2 1",
            "databases 4",
            "system/config 1",
            "system 2",
            " 6",
        ];
        assert_eq!(counts(&keys, None), all);
        for (depth, slashes) in [(0, None), (1, Some(0)), (2, Some(1)), (3, Some(2)), (u32::MAX, Some(9))] {
            let told = |line: &&&str| line.starts_with(' ') || slashes.is_some_and(|n| line.matches('/').count() <= n);
            let expected: Vec<&str> = all.iter().filter(told).copied().collect();
            assert_eq!(counts(&keys, Some(depth)), expected, "depth {depth}");
        }
    }

    #[test]
    fn a_prefix_ends_before_a_slash_and_nowhere_else() {
        for (keys, expected) in [
            (&[][..], &[" 0"][..]),
            (&["", "a", "b"], &[" 3"]),
            (&["a/"], &["a 1", " 1"]),
            (&["/", "/a", "//b"], &["/ 1", " 3", " 3"]),
            (&["a", "a!/x", "a/x", "a/x/y", "ab/x"], &["a! 1", "a/x 1", "a 2", "ab 1", " 5"]),
            (&["é/1", "é/2", "è"], &["é 2", " 3"]),
        ] {
            assert_eq!(counts(keys, None), expected, "{keys:?}");
        }
    }

    #[test]
    fn an_error_comes_through() {
        let keys = [Ok(Arc::from("a/b")), Err(io::Error::other("disk gone"))];
        let found: Vec<_> =
            keys_layout(keys.into_iter(), None).map(|count| count.map_err(|err| err.to_string())).collect();
        assert_eq!(found[0], Err("disk gone".to_owned()));
    }
}
