//! An ordered map whose clones share their entries: a clone costs nothing, and a change copies only the nodes on the way
//! to one entry.
//!
//! It is a B+ tree of reference-counted nodes. A node that no clone shares is changed in place.

mod changes;

pub use changes::MapChanges;

use std::borrow::Borrow;
use std::fmt;
use std::ops::Index;
use std::sync::Arc;

/// Maximum number of entries of a node. A change of a shared map copies this many entries a level at most.
const MOST: usize = 32;
/// A node with fewer entries is merged with a neighbour if both fit into one node.
const FEW: usize = MOST / 4;

/// An ordered map whose clones share their entries.
#[derive(Clone)]
pub struct SharedMap<K, V> {
    root: Arc<Node<K, V>>,
    count: usize,
}

#[derive(Clone)]
enum Node<K, V> {
    Leaf(Vec<(K, V)>),
    /// Each child with a lower bound of its keys; the first child has keys below its bound, too.
    Inner(Vec<Child<K, V>>),
}

type Child<K, V> = (K, Arc<Node<K, V>>);

/// The entries of a map in the order of their keys.
pub struct SharedEntries<'a, K, V> {
    leaf: std::slice::Iter<'a, (K, V)>,
    /// The rest of each inner node above the leaf, from the root down.
    above: Vec<std::slice::Iter<'a, Child<K, V>>>,
}

impl<K, V> Default for SharedMap<K, V> {
    fn default() -> Self {
        Self { root: Arc::new(Node::Leaf(Vec::new())), count: 0 }
    }
}

impl<K, V> SharedMap<K, V> {
    /// An empty map.
    pub fn new() -> Self {
        Self::default()
    }

    /// The number of entries.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The entries in the order of their keys.
    pub fn iter(&self) -> SharedEntries<'_, K, V> {
        SharedEntries::of(&self.root)
    }

    /// The entries from a key on, in the order of their keys.
    pub fn iter_from<Q: Ord + ?Sized>(&self, first: &Q) -> SharedEntries<'_, K, V>
    where
        K: Borrow<Q>,
    {
        let mut entries = SharedEntries { leaf: [].iter(), above: Vec::new() };
        let mut node = &*self.root;
        loop {
            match node {
                Node::Leaf(all) => {
                    entries.leaf = all[place(all, first).unwrap_or_else(|at| at)..].iter();
                    return entries;
                }
                Node::Inner(children) => {
                    let at = child(children, first);
                    entries.above.push(children[at + 1..].iter());
                    node = &children[at].1;
                }
            }
        }
    }

    /// The keys in order.
    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.iter().map(|(key, _)| key)
    }

    /// The values in the order of their keys.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }

    /// The value of a key.
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        let mut node = &*self.root;
        loop {
            match node {
                Node::Leaf(entries) => return place(entries, key).ok().map(|at| &entries[at].1),
                Node::Inner(children) => node = &children[child(children, key)].1,
            }
        }
    }

    /// Whether the key has a value.
    pub fn contains_key<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.get(key).is_some()
    }
}

impl<K: Clone + Ord, V: Clone> SharedMap<K, V> {
    /// The value of a key, to be changed. Values that other clones of the map share are copied first.
    pub fn value_mut<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        // A missing key must not copy nodes.
        self.get(key)?;
        let mut node = &mut self.root;
        loop {
            match Arc::make_mut(node) {
                Node::Leaf(entries) => return place(entries, key).ok().map(|at| &mut entries[at].1),
                Node::Inner(children) => {
                    let at = child(children, key);
                    node = &mut children[at].1;
                }
            }
        }
    }

    /// Gives a key a value; the value before is returned.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        let (before, right) = insert(Arc::make_mut(&mut self.root), key, value);
        if let Some(right) = right {
            let left = std::mem::take(&mut self.root);
            let first = left.first().expect("a node that was split has entries").clone();
            self.root = Arc::new(Node::Inner(vec![(first, left), right]));
        }
        self.count += usize::from(before.is_none());
        before
    }

    /// Removes a key; its value is returned.
    pub fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        self.get(key)?;
        let removed = remove(Arc::make_mut(&mut self.root), key);
        self.count -= usize::from(removed.is_some());
        while let Node::Inner(children) = Arc::make_mut(&mut self.root)
            && children.len() <= 1
        {
            self.root = children.pop().map(|(_, child)| child).unwrap_or_default();
        }
        removed
    }
}

/// Inserts below a node; returns the value before, and the right half of a node that was split.
fn insert<K: Clone + Ord, V: Clone>(
    node: &mut Node<K, V>,
    key: K,
    value: V,
) -> (Option<V>, Option<Child<K, V>>) {
    match node {
        Node::Leaf(entries) => match place(entries, &key) {
            Ok(at) => (Some(std::mem::replace(&mut entries[at].1, value)), None),
            Err(at) => {
                entries.insert(at, (key, value));
                (None, split(entries, at).map(|(first, right)| (first, Arc::new(Node::Leaf(right)))))
            }
        },
        Node::Inner(children) => {
            let at = child(children, &key);
            let (before, right) = insert(Arc::make_mut(&mut children[at].1), key, value);
            let Some(right) = right else { return (before, None) };
            children.insert(at + 1, right);
            (before, split(children, at + 1).map(|(first, right)| (first, Arc::new(Node::Inner(right)))))
        }
    }
}

/// Splits a node with too many entries, of which one was inserted at a place. After a last entry more ascending keys follow
/// mostly, so the left node stays full then.
fn split<K: Clone, T>(entries: &mut Vec<(K, T)>, inserted: usize) -> Option<(K, Vec<(K, T)>)> {
    if entries.len() <= MOST {
        return None;
    }
    let right = entries.split_off(if inserted + 1 == entries.len() { MOST } else { entries.len() / 2 });
    entries.shrink_to_fit();
    Some((right[0].0.clone(), right))
}

fn remove<K: Clone + Ord + Borrow<Q>, V: Clone, Q: Ord + ?Sized>(
    node: &mut Node<K, V>,
    key: &Q,
) -> Option<V> {
    match node {
        Node::Leaf(entries) => place(entries, key).ok().map(|at| entries.remove(at).1),
        Node::Inner(children) => {
            let at = child(children, key);
            let removed = remove(Arc::make_mut(&mut children[at].1), key);
            if children[at].1.count() < FEW {
                merge(children, at);
            }
            removed
        }
    }
}

/// Merges a child that has few entries with a neighbour if both fit into one node.
fn merge<K: Clone, V: Clone>(children: &mut Vec<Child<K, V>>, at: usize) {
    if children[at].1.count() == 0 {
        children.remove(at);
        return;
    }
    let left = if at + 1 < children.len() { at } else { at.saturating_sub(1) };
    if left + 1 >= children.len() || children[left].1.count() + children[left + 1].1.count() > MOST {
        return;
    }
    let (_, right) = children.remove(left + 1);
    match (Arc::make_mut(&mut children[left].1), Arc::unwrap_or_clone(right)) {
        (Node::Leaf(entries), Node::Leaf(mut more)) => entries.append(&mut more),
        (Node::Inner(entries), Node::Inner(mut more)) => entries.append(&mut more),
        _ => unreachable!("all leaves have the same depth"),
    }
}

fn place<K: Borrow<Q>, T, Q: Ord + ?Sized>(entries: &[(K, T)], key: &Q) -> Result<usize, usize> {
    entries.binary_search_by(|(known, _)| known.borrow().cmp(key))
}

/// The place of the child that may contain a key.
fn child<K: Borrow<Q>, T, Q: Ord + ?Sized>(children: &[(K, T)], key: &Q) -> usize {
    children.partition_point(|(bound, _)| bound.borrow() <= key).saturating_sub(1)
}

impl<K, V> Node<K, V> {
    fn count(&self) -> usize {
        match self {
            Self::Leaf(entries) => entries.len(),
            Self::Inner(children) => children.len(),
        }
    }

    fn first(&self) -> Option<&K> {
        match self {
            Self::Leaf(entries) => entries.first().map(|(key, _)| key),
            Self::Inner(children) => children.first().map(|(key, _)| key),
        }
    }
}

impl<K, V> Default for Node<K, V> {
    fn default() -> Self {
        Self::Leaf(Vec::new())
    }
}

impl<'a, K, V> SharedEntries<'a, K, V> {
    /// The entries below a node.
    fn of(node: &'a Node<K, V>) -> Self {
        let mut entries = Self { leaf: [].iter(), above: Vec::new() };
        entries.descend(node);
        entries
    }

    /// Goes to the first leaf below a node.
    fn descend(&mut self, mut node: &'a Node<K, V>) {
        loop {
            match node {
                Node::Leaf(entries) => return self.leaf = entries.iter(),
                Node::Inner(children) => {
                    let mut children = children.iter();
                    let Some((_, first)) = children.next() else { return };
                    self.above.push(children);
                    node = first;
                }
            }
        }
    }
}

impl<'a, K, V> Iterator for SharedEntries<'a, K, V> {
    type Item = (&'a K, &'a V);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some((key, value)) = self.leaf.next() {
                return Some((key, value));
            }
            match self.above.last_mut()?.next() {
                Some((_, node)) => self.descend(node),
                None => drop(self.above.pop()),
            }
        }
    }
}

impl<'a, K, V> IntoIterator for &'a SharedMap<K, V> {
    type Item = (&'a K, &'a V);
    type IntoIter = SharedEntries<'a, K, V>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<K: Clone + Ord, V> FromIterator<(K, V)> for SharedMap<K, V> {
    /// The nodes are full, where those of a map that grows may be half empty. Of equal keys the last one counts.
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let mut entries: Vec<(K, V)> = entries.into_iter().collect();
        entries.sort_by(|(one, _), (other, _)| one.cmp(other));
        entries.reverse();
        entries.dedup_by(|(one, _), (other, _)| one == other);
        entries.reverse();
        let count = entries.len();
        let mut nodes = chunks(entries, Node::Leaf);
        while nodes.len() > 1 {
            nodes = chunks(nodes, Node::Inner);
        }
        Self { root: nodes.pop().map(|(_, root)| root).unwrap_or_default(), count }
    }
}

/// Nodes of these entries, each with its first key.
fn chunks<K: Clone, V, T>(
    entries: Vec<(K, T)>,
    node: impl Fn(Vec<(K, T)>) -> Node<K, V>,
) -> Vec<Child<K, V>> {
    let mut nodes = Vec::with_capacity(entries.len().div_ceil(MOST));
    let mut entries = entries.into_iter().peekable();
    while let Some((first, _)) = entries.peek() {
        let first = first.clone();
        let mut chunk = Vec::with_capacity(MOST.min(entries.len()));
        chunk.extend(entries.by_ref().take(MOST));
        nodes.push((first, Arc::new(node(chunk))));
    }
    nodes
}

impl<K: Borrow<Q>, V, Q: Ord + ?Sized> Index<&Q> for SharedMap<K, V> {
    type Output = V;

    /// # Panics The key has no value.
    fn index(&self, key: &Q) -> &V {
        self.get(key).expect("the key has a value")
    }
}

impl<K: PartialEq, V: PartialEq> PartialEq for SharedMap<K, V> {
    fn eq(&self, other: &Self) -> bool {
        self.count == other.count && (Arc::ptr_eq(&self.root, &other.root) || self.iter().eq(other.iter()))
    }
}

impl<K: Eq, V: Eq> Eq for SharedMap<K, V> {}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for SharedMap<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// Numbers that look random.
    fn numbers(count: u64, below: u64) -> impl Iterator<Item = u64> {
        let mut state = 1u64;
        (0..count).map(move |_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        })
    }

    #[track_caller]
    fn check(map: &SharedMap<u64, u64>, wanted: &BTreeMap<u64, u64>) {
        assert_eq!(map.len(), wanted.len());
        assert!(map.iter().eq(wanted.iter()), "{map:?} is not {wanted:?}");
        assert!(wanted.iter().all(|(key, value)| map.get(key) == Some(value)));
        for first in [0, 17, 250, 4_999, u64::MAX] {
            assert!(map.iter_from(&first).eq(wanted.range(first..)), "{map:?} from {first}");
        }
    }

    #[test]
    fn it_is_the_map_that_a_tree_map_is() {
        for below in [50, 5_000] {
            let (mut map, mut wanted) = (SharedMap::new(), BTreeMap::new());
            for (turn, key) in numbers(20_000, below).enumerate() {
                // It grows, and then shrinks to nothing.
                if key % 3 < if turn < 10_000 { 2 } else { 1 } {
                    assert_eq!(map.insert(key, turn as u64), wanted.insert(key, turn as u64));
                } else {
                    assert_eq!(map.remove(&key), wanted.remove(&key));
                }
                assert_eq!(map.get(&key), wanted.get(&key));
            }
            check(&map, &wanted);
            let keys: Vec<u64> = wanted.keys().copied().collect();
            for key in keys {
                assert_eq!(map.value_mut(&key).copied(), wanted.remove(&key));
                assert!(map.remove(&key).is_some() && map.remove(&key).is_none());
            }
            check(&map, &wanted);
        }
    }

    #[test]
    fn a_clone_stays_as_it_is() {
        let (mut map, mut wanted) = (SharedMap::new(), BTreeMap::new());
        let mut clones = Vec::new();
        for (turn, key) in numbers(2_000, 500).enumerate() {
            if turn % 100 == 0 {
                clones.push((map.clone(), wanted.clone()));
            }
            match turn % 3 {
                0 => drop((map.remove(&key), wanted.remove(&key))),
                _ => drop((map.insert(key, turn as u64), wanted.insert(key, turn as u64))),
            }
            if let Some(value) = map.value_mut(&(key + 1)) {
                *value += 1;
                *wanted.get_mut(&(key + 1)).unwrap() += 1;
            }
        }
        clones.iter().for_each(|(map, wanted)| check(map, wanted));
        check(&map, &wanted);
    }

    #[test]
    fn a_map_of_many_entries_is_made_at_once() {
        for count in [0, 1, 32, 33, 1024, 1025, 40_000] {
            let entries: Vec<(u64, u64)> = numbers(count, 30_000).zip(0..).collect();
            check(&entries.iter().copied().collect(), &entries.into_iter().collect());
        }
    }

    #[test]
    fn ascending_keys_fill_the_nodes() {
        let mut map = SharedMap::new();
        (0..32 * 32).for_each(|key| _ = map.insert(key, ()));
        match &*map.root {
            Node::Inner(children) => assert_eq!(children.len(), 32),
            Node::Leaf(_) => panic!("one leaf"),
        }
    }
}
