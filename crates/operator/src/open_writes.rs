//! Writes whose effect no watch has shown yet.

use std::collections::BTreeMap;
use std::time::Duration;

/// How long a write may take until its effect is seen. Then it is returned again: it failed, or its answer was lost.
const PATIENCE: Duration = Duration::from_secs(5);

/// The open writes, one for each object.
#[derive(Clone, Debug)]
pub(crate) struct OpenWrites<K, W> {
    open: BTreeMap<K, (W, Duration)>,
}

impl<K, W> Default for OpenWrites<K, W> {
    fn default() -> Self {
        Self { open: BTreeMap::new() }
    }
}

impl<K: Ord + Clone, W: Clone> OpenWrites<K, W> {
    /// Opens a write.
    pub(crate) fn insert(&mut self, key: K, write: W, now: Duration) {
        self.open.insert(key, (write, now));
    }

    /// The open write of an object.
    pub(crate) fn find(&self, key: &K) -> Option<&W> {
        self.open.get(key).map(|(write, _)| write)
    }

    /// All open writes.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &W)> {
        self.open.iter().map(|(key, (write, _))| (key, write))
    }

    /// Closes a write: its effect is seen, or it is void.
    pub(crate) fn remove(&mut self, key: &K) -> Option<W> {
        self.open.remove(key).map(|(write, _)| write)
    }

    /// Closes and returns the writes that took too long.
    pub(crate) fn take_overdue(&mut self, now: Duration) -> Vec<(K, W)> {
        let is_overdue = |since: Duration| now.saturating_sub(since) >= PATIENCE;
        let overdue = self.open.iter().filter(|(_, (_, since))| is_overdue(*since));
        let keys: Vec<K> = overdue.map(|(key, _)| key.clone()).collect();
        keys.into_iter().filter_map(|key| Some((key.clone(), self.remove(&key)?))).collect()
    }
}
