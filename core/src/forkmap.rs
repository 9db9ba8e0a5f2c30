//! A map for all threads that a child of `fork` finds whole and free: each change makes a new version of it, which shares
//! what is the same with the one before, and is put into its place by one exchange of a pointer.

use std::borrow::Borrow;
use std::hash::Hash;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rpds::HashTrieMapSync;

pub(crate) struct ForkMap<K: Eq + Hash, V>(ArcSwap<HashTrieMapSync<K, V>>);

impl<K: Eq + Hash + Clone, V: Clone> ForkMap<K, V> {
    pub(crate) fn get<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        self.0.load().get(key).cloned()
    }

    /// What stands there, or this one, which then does.
    pub(crate) fn get_or_insert(&self, key: &K, value: V) -> V {
        let before = self.0.rcu(|map| match map.contains_key(key) {
            true => HashTrieMapSync::clone(map),
            false => map.insert(key.clone(), value.clone()),
        });
        before.get(key).cloned().unwrap_or(value)
    }

    pub(crate) fn insert(&self, key: &K, value: V) {
        self.0.rcu(|map| map.insert(key.clone(), value.clone()));
    }

    /// What stood there.
    pub(crate) fn remove<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        self.0.rcu(|map| map.remove(key)).get(key).cloned()
    }

    pub(crate) fn clear(&self) {
        self.0.store(Arc::default());
    }

    pub(crate) fn len(&self) -> usize {
        self.0.load().size()
    }

    /// As it is now, to go through it; the values are the map's own.
    pub(crate) fn snapshot(&self) -> Arc<HashTrieMapSync<K, V>> {
        self.0.load_full()
    }
}

impl<K: Eq + Hash, V> Default for ForkMap<K, V> {
    fn default() -> ForkMap<K, V> {
        ForkMap(ArcSwap::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_one_stands_until_it_is_removed() {
        let map = ForkMap::default();
        let (one, two) = (Arc::new(1), Arc::new(2));
        assert_eq!(map.get_or_insert(&"a", one.clone()), one);
        assert_eq!(map.get_or_insert(&"a", two.clone()), one);
        let before = map.snapshot();
        map.insert(&"b", two.clone());
        assert_eq!((map.len(), before.size()), (2, 1));
        // Versions share a value: whoever counts its holders counts the map once.
        assert_eq!((Arc::strong_count(&one), Arc::strong_count(&two)), (2, 2));
        assert_eq!((map.remove("a"), map.remove("a"), map.get("a")), (Some(one), None, None));
        map.clear();
        assert_eq!(map.len(), 0);
    }

    #[test]
    fn nothing_is_lost_or_doubled_where_threads_change_it_at_once() {
        let map = ForkMap::default();
        let won = |own: usize| (0..500).filter(|key| map.get_or_insert(key, own) == own).count();
        let removed = || (0..500).filter(|key| map.remove(key).is_some()).count();
        let sum = |work: &(dyn Fn(usize) -> usize + Sync)| {
            std::thread::scope(|scope| {
                let threads: Vec<_> = (0..4).map(|own| scope.spawn(move || work(own))).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).sum::<usize>()
            })
        };
        assert_eq!(sum(&won), 500);
        assert_eq!(map.len(), 500);
        assert_eq!(sum(&|_| removed()), 500);
        assert_eq!(map.len(), 0);
    }
}
