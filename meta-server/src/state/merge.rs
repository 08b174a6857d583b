//! Merges the base with the layers over it, in key order: for each key the newest layer that speaks of it decides. Knows
//! nothing of what keys and values are.

use std::{cmp::Ordering, collections::VecDeque, io, iter::Peekable, sync::Arc};

/// Changes in key order: a key with its new value, or `None` when it is gone.
type Changes<K, V> = VecDeque<(K, Option<Arc<V>>)>;

/// The next changes after a key, or the first ones.
type Read<K, V> = Box<dyn Fn(Option<&K>) -> Changes<K, V> + Send>;

/// Reads a layer in key order, some changes at a time. Holds its own handle of the layer.
pub(super) struct Cursor<K, V: ?Sized> {
    read: Read<K, V>,
    ahead: Changes<K, V>,
}

impl<K: Clone, V: ?Sized> Cursor<K, V> {
    pub(super) fn new(read: impl Fn(Option<&K>) -> Changes<K, V> + Send + 'static) -> Self {
        let ahead = read(None);
        Cursor { read: Box::new(read), ahead }
    }

    fn peek(&self) -> Option<&K> {
        self.ahead.front().map(|(key, _)| key)
    }

    fn next(&mut self) -> Option<(K, Option<Arc<V>>)> {
        let item = self.ahead.pop_front()?;
        if self.ahead.is_empty() {
            self.ahead = (self.read)(Some(&item.0));
        }
        Some(item)
    }
}

/// An iterator over base and layers, giving what the base gives. After an error of the base it ends.
pub(super) struct Merge<K, V: ?Sized, B: Iterator, BK, BV> {
    base: Peekable<B>,
    /// Oldest first.
    layers: Vec<Cursor<K, V>>,
    /// The smallest key that some layer has.
    changed: Option<K>,
    /// Where a key of the base stands to one of a layer.
    order: fn(&BK, &K) -> Ordering,
    /// What a layer has, as the base would give it.
    as_base: fn(K, Arc<V>) -> (BK, BV),
}

impl<K, V, B> Merge<K, V, B, K, Arc<V>>
where
    K: Ord + Clone,
    V: ?Sized,
    B: Iterator<Item = io::Result<(K, Arc<V>)>>,
{
    /// Of a base that shares what it gives, as layers do.
    pub(super) fn new(base: B, layers: Vec<Cursor<K, V>>) -> Self {
        Merge::of(base, layers, Ord::cmp, |key, value| (key, value))
    }
}

impl<K, V, B, BK, BV> Merge<K, V, B, BK, BV>
where
    K: Ord + Clone,
    V: ?Sized,
    B: Iterator<Item = io::Result<(BK, BV)>>,
{
    pub(super) fn of(
        base: B,
        layers: Vec<Cursor<K, V>>,
        order: fn(&BK, &K) -> Ordering,
        as_base: fn(K, Arc<V>) -> (BK, BV),
    ) -> Self {
        let mut merge = Merge { base: base.peekable(), layers, changed: None, order, as_base };
        merge.changed = merge.smallest_change();
        merge
    }

    fn smallest_change(&self) -> Option<K> {
        self.layers.iter().filter_map(Cursor::peek).min().cloned()
    }

    /// Takes the smallest key that some layer has, with its newest change.
    fn take_change(&mut self) -> Option<(K, Option<Arc<V>>)> {
        let key = self.changed.take()?;
        let mut newest = None;
        for layer in &mut self.layers {
            if layer.peek() == Some(&key) {
                newest = layer.next().and_then(|(_, change)| change);
            }
        }
        self.changed = self.smallest_change();
        Some((key, newest))
    }
}

impl<K, V, B, BK, BV> Iterator for Merge<K, V, B, BK, BV>
where
    K: Ord + Clone,
    V: ?Sized,
    B: Iterator<Item = io::Result<(BK, BV)>>,
{
    type Item = io::Result<(BK, BV)>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let Some(changed) = &self.changed else { return self.base.next() };
            let order = match self.base.peek() {
                Some(Ok((key, _))) => (self.order)(key, changed),
                Some(Err(_)) => Ordering::Less,
                None => Ordering::Greater,
            };
            match order {
                Ordering::Less => return self.base.next(),
                Ordering::Equal => {
                    self.base.next();
                }
                Ordering::Greater => {}
            }
            if let (key, Some(value)) = self.take_change()? {
                return Some(Ok((self.as_base)(key, value)));
            }
        }
    }
}
