//! The differences of two maps, without a look at what they share.

use super::{Node, SharedEntries, SharedMap};
use std::cmp::Ordering;
use std::sync::Arc;

/// The keys with another value than before, with their values; none for a key that is removed.
pub type MapChanges<'a, K, V> = Vec<(&'a K, Option<&'a V>)>;

impl<K: Ord, V: PartialEq> SharedMap<K, V> {
    /// What changed since an earlier clone, in the order of the keys. Entries that both maps share are not compared.
    pub fn changes_since<'a>(&'a self, before: &'a Self) -> MapChanges<'a, K, V> {
        let mut changes = Vec::new();
        compare(&before.root, &self.root, &mut changes);
        changes
    }
}

fn compare<'a, K: Ord, V: PartialEq>(
    before: &'a Arc<Node<K, V>>,
    after: &'a Arc<Node<K, V>>,
    changes: &mut MapChanges<'a, K, V>,
) {
    if Arc::ptr_eq(before, after) {
        return;
    }
    if let (Node::Inner(before), Node::Inner(after)) = (&**before, &**after)
        && before.len() == after.len()
        && before.iter().zip(after).skip(1).all(|((before, _), (after, _))| before == after)
    {
        // The same bounds: no key moved from one child to another.
        let children = before.iter().zip(after);
        return children.for_each(|((_, before), (_, after))| compare(before, after, changes));
    }
    merge(SharedEntries::of(before), SharedEntries::of(after), changes);
}

/// Compares the entries of two nodes in order.
fn merge<'a, K: Ord, V: PartialEq>(
    before: SharedEntries<'a, K, V>,
    after: SharedEntries<'a, K, V>,
    changes: &mut MapChanges<'a, K, V>,
) {
    let (mut before, mut after) = (before.peekable(), after.peekable());
    loop {
        let order = match (before.peek(), after.peek()) {
            (None, None) => return,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((old, _)), Some((new, _))) => old.cmp(new),
        };
        let old = before.next_if(|_| order.is_le());
        let new = after.next_if(|_| order.is_ge());
        match (old, new) {
            (Some((_, old)), Some((_, new))) if old == new => {}
            (_, Some((key, new))) => changes.push((key, Some(new))),
            (Some((key, _)), None) => changes.push((key, None)),
            (None, None) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// A map in which comparing values is counted.
    #[derive(Clone)]
    struct Counted(u32, std::rc::Rc<std::cell::Cell<usize>>);

    impl PartialEq for Counted {
        fn eq(&self, other: &Self) -> bool {
            self.1.set(self.1.get() + 1);
            self.0 == other.0
        }
    }

    #[test]
    fn changes_lead_from_one_map_to_the_other() {
        let mut random = 1_u32;
        let mut next = |below: u32| {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (random >> 8) % below
        };
        for keys in [1, 20, 100, 5_000] {
            let mut map: SharedMap<u32, u32> = SharedMap::new();
            for _ in 0..60 {
                let before = map.clone();
                for _ in 0..next(keys) {
                    match next(3) {
                        0 => _ = map.remove(&next(keys)),
                        _ => _ = map.insert(next(keys), next(4)),
                    }
                }
                let changes = map.changes_since(&before);
                assert!(changes.is_sorted_by_key(|(key, _)| **key));
                let differs = |(key, value): &(&u32, Option<&u32>)| before.get(*key) != *value;
                assert!(changes.iter().all(differs), "no change is a value of before");
                let mut made: BTreeMap<u32, u32> = before.iter().map(|(key, value)| (*key, *value)).collect();
                for (key, value) in changes {
                    match value {
                        Some(value) => _ = made.insert(*key, *value),
                        None => _ = made.remove(key),
                    }
                }
                assert!(made.iter().eq(map.iter()));
            }
        }
    }

    #[test]
    fn what_both_maps_share_is_not_compared() {
        let compared = std::rc::Rc::new(std::cell::Cell::new(0));
        let value = |number| Counted(number, std::rc::Rc::clone(&compared));
        let before: SharedMap<u32, Counted> = (0..10_000).map(|key| (key, value(0))).collect();
        let mut after = before.clone();
        assert!(after.changes_since(&before).is_empty());
        after.insert(7, value(1));
        after.insert(9_000, value(1));
        let changed: Vec<u32> = after.changes_since(&before).into_iter().map(|(key, _)| *key).collect();
        assert_eq!(changed, [7, 9_000]);
        assert!(compared.get() <= 64, "{} compared", compared.get());
    }
}
