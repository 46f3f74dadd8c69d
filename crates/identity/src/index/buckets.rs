//! The buckets of an index: for a namespace, a label's name and its value, as far as each is given.

use super::small_set::SmallSet;
use crate::numbering::Numbering;
use crate::selector::{Operator, Requirement};
use crate::values::Values;
use foldhash::HashMap;

/// Items by bucket. Each word has a number, and bucket keys consist of numbers.
#[derive(Clone, Debug)]
pub(super) struct Buckets<T> {
    words: Numbering<Box<str>>,
    items: HashMap<BucketKey, SmallSet<T>>,
}

/// The name of a bucket; each of the three words is optional.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct BucketName<'a> {
    pub(super) namespace: Option<&'a str>,
    pub(super) name: Option<&'a str>,
    pub(super) value: Option<&'a str>,
}

/// The name of a bucket in numbers of words. The bucket references its words while it has items.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct BucketKey {
    pub(super) namespace: u32,
    pub(super) name: u32,
    pub(super) value: u32,
}

/// The number of a word that is not given.
pub(super) const NOT_GIVEN: u32 = 0;

impl<T> Default for Buckets<T> {
    fn default() -> Self {
        Self { words: Numbering::new(NOT_GIVEN + 1..=u32::MAX), items: HashMap::default() }
    }
}

impl<T: Ord> Buckets<T> {
    /// Adds an item.
    pub(super) fn insert(&mut self, bucket: BucketName<'_>, item: T) {
        match self.key(bucket).and_then(|key| self.items.get_mut(&key)) {
            Some(items) => items.insert(item),
            None => {
                let key = bucket.map(|word| match word {
                    Some(word) => {
                        self.words.acquire_from(word).expect("fewer words than numbers fit in memory").0
                    }
                    None => NOT_GIVEN,
                });
                self.items.insert(key, SmallSet::One(item));
            }
        }
    }

    /// Removes an item that may be absent.
    pub(super) fn remove(&mut self, bucket: BucketName<'_>, item: &T) {
        let Some(key) = self.key(bucket) else { return };
        let Some(items) = self.items.get_mut(&key) else { return };
        items.remove(item);
        if items.all().is_empty() {
            self.items.remove(&key);
            for word in [key.namespace, key.name, key.value] {
                self.words.release(word);
            }
        }
    }

    /// The items of a bucket, in order.
    pub(super) fn items(&self, bucket: BucketName<'_>) -> &[T] {
        self.key(bucket).map_or(&[], |key| self.items_by_key(key))
    }

    /// The items of a bucket, in order.
    pub(super) fn items_by_key(&self, key: BucketKey) -> &[T] {
        self.items.get(&key).map_or(&[], SmallSet::all)
    }

    /// The number of a word, if a bucket's name contains it.
    pub(super) fn word(&self, word: &str) -> Option<u32> {
        self.words.number(word)
    }

    fn key(&self, bucket: BucketName<'_>) -> Option<BucketKey> {
        let number = |word: Option<&str>| word.map_or(Some(NOT_GIVEN), |word| self.word(word));
        let BucketName { namespace, name, value } = bucket;
        Some(BucketKey { namespace: number(namespace)?, name: number(name)?, value: number(value)? })
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty() && self.words.iter().next().is_none()
    }
}

impl<'a> BucketName<'a> {
    /// The buckets that contain every item with a label that matches the requirement: one for each of its values, or
    /// the one of its name if any value matches.
    pub(super) fn matching(requirement: &'a Requirement) -> impl Iterator<Item = Self> {
        let of_any_value = Self { name: Some(&requirement.name), ..Self::default() };
        let (values, any) = match &requirement.operator {
            Operator::In(values) => (Some(values), None),
            _ => (None, Some(of_any_value)),
        };
        let of_values = values.into_iter().flat_map(Values::iter);
        of_values.map(move |value| Self { value: Some(value), ..of_any_value }).chain(any)
    }

    fn map(self, mut number: impl FnMut(Option<&'a str>) -> u32) -> BucketKey {
        BucketKey { namespace: number(self.namespace), name: number(self.name), value: number(self.value) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_removed_with_their_last_bucket() {
        let mut buckets = Buckets::default();
        let bucket = |name, value| BucketName { namespace: None, name: Some(name), value };
        buckets.insert(bucket("app", Some("web")), 1);
        buckets.insert(bucket("app", Some("web")), 2);
        buckets.insert(bucket("web", None), 3);
        assert_eq!(buckets.items(bucket("app", Some("web"))), [1, 2]);
        assert_eq!(buckets.items(bucket("app", None)), []);
        buckets.remove(bucket("app", Some("web")), &1);
        buckets.remove(bucket("app", Some("web")), &7);
        buckets.remove(bucket("app", Some("db")), &2);
        assert!(buckets.word("app").is_some());
        buckets.remove(bucket("app", Some("web")), &2);
        assert_eq!((buckets.word("app"), buckets.word("web").is_some()), (None, true));
        buckets.remove(bucket("web", None), &3);
        assert!(buckets.is_empty());
    }
}
