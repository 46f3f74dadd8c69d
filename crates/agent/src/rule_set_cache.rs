//! The node proxy's cache of compiled layer-7 rule sets, by number.
//!
//! Threads that serve connections only look sets up. [`rule_set_loader`](crate::rule_set_loader) reads and compiles the sets
//! that they miss, and sets that the agent announces by a new file.

use crate::rule_sets::FileIdentity;
use l7::{HttpRule, Matcher};
use proxy::Rules;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

/// The compiled sets, and the queues of those to read and to compile.
#[derive(Debug)]
pub(crate) struct RuleSetCache {
    directory: PathBuf,
    state: Mutex<State>,
    /// Notified when a set is to be read.
    announced: Condvar,
    /// Notified when a set is to be compiled.
    read: Condvar,
}

#[derive(Debug, Default)]
struct State {
    sets: HashMap<u32, CompiledSet>,
    /// The sets that are being loaded.
    loading: HashMap<u32, Demand>,
    to_read: VecDeque<u32>,
    to_compile: VecDeque<UncompiledSet>,
    /// Wakers of tasks that wait for a set, each task once: by the addresses of its data and vtable.
    wakers: HashMap<(usize, usize), Waker>,
    has_ended: bool,
}

/// Why a set is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Demand {
    /// It is new, and may replace a set that connections use.
    Announced,
    /// A connection waits for it.
    Requested,
}

/// A set, and the file that it was read from; without a matcher if the file is invalid.
#[derive(Clone, Debug)]
pub(crate) struct CompiledSet {
    pub(crate) file: FileIdentity,
    pub(crate) matcher: Option<Arc<Matcher>>,
}

/// A set that was read and must be compiled as a whole.
#[derive(Debug)]
pub(crate) struct UncompiledSet {
    pub(crate) number: u32,
    pub(crate) file: FileIdentity,
    pub(crate) rules: Vec<HttpRule>,
    pub(crate) urgency: Urgency,
}

/// Why a whole set is compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Urgency {
    /// Connections wait for its matcher.
    Missing,
    /// Its matcher is a worn update of another one.
    Worn,
}

impl CompiledSet {
    /// Whether no connection uses it.
    fn is_idle(&self) -> bool {
        self.matcher.as_ref().is_none_or(|matcher| Arc::strong_count(matcher) == 1)
    }
}

impl RuleSetCache {
    /// A cache of the rule sets in this directory.
    pub(crate) fn new(directory: &Path) -> Self {
        Self {
            directory: directory.to_path_buf(),
            state: Mutex::default(),
            announced: Condvar::new(),
            read: Condvar::new(),
        }
    }

    /// The directory of the rule sets.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The compiled rules of a set's present file; [`Rules::Loading`] if they must be loaded first.
    pub(crate) fn rules(&self, number: u32) -> Rules {
        let file = match FileIdentity::current(&self.directory, number) {
            Ok(file) => file,
            Err(error) => {
                tracing::error!(%error, number, "a rule set cannot be read; requests that it applies to are denied");
                return Rules::Unknown;
            }
        };
        let mut state = self.state();
        match state.sets.get(&number).filter(|known| known.file == file) {
            Some(CompiledSet { matcher: Some(matcher), .. }) => return Rules::Ready(Arc::clone(matcher)),
            Some(_) => return Rules::Unknown,
            None => {}
        }
        self.load(&mut state, number, Demand::Requested);
        Rules::Loading
    }

    /// Loads a set that has a new file, if it resembles one that is loaded.
    pub(crate) fn announce(&self, number: u32) {
        let Ok(file) = FileIdentity::current(&self.directory, number) else { return };
        let mut state = self.state();
        if state.sets.get(&number).is_none_or(|known| known.file != file) {
            self.load(&mut state, number, Demand::Announced);
        }
    }

    fn load(&self, state: &mut State, number: u32, demand: Demand) {
        match state.loading.entry(number) {
            Entry::Occupied(mut known) if demand == Demand::Requested => drop(known.insert(demand)),
            Entry::Occupied(_) => {}
            Entry::Vacant(place) => {
                place.insert(demand);
                state.to_read.push_back(number);
                self.announced.notify_one();
            }
        }
    }

    /// Wakes the task when the next set is loaded.
    pub(crate) fn wake(&self, waker: &Waker) {
        let mut state = self.state();
        if state.loading.is_empty() {
            waker.wake_by_ref();
        } else {
            let task = (waker.data().addr(), std::ptr::from_ref(waker.vtable()).addr());
            state.wakers.entry(task).or_insert_with(|| waker.clone());
        }
    }

    /// Lets the threads end that read and compile.
    pub(crate) fn end(&self) {
        self.state().has_ended = true;
        self.announced.notify_all();
        self.read.notify_all();
    }

    /// Waits for a set to read; none where the cache ends.
    pub(crate) fn next_to_read(&self) -> Option<u32> {
        let idle = |state: &mut State| state.to_read.is_empty() && !state.has_ended;
        let waited = self.announced.wait_while(self.state(), idle);
        waited.unwrap_or_else(PoisonError::into_inner).to_read.pop_front()
    }

    /// Waits at most this long for a set to compile. An error where the cache ends.
    pub(crate) fn next_to_compile(&self, most: Duration) -> Result<Option<UncompiledSet>, CacheEnded> {
        let idle = |state: &mut State| state.to_compile.is_empty() && !state.has_ended;
        let waited = self.read.wait_timeout_while(self.state(), most, idle);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner).0;
        if state.has_ended { Err(CacheEnded) } else { Ok(state.to_compile.pop_front()) }
    }

    /// The matchers of large sets, the latest first: a new set may differ from one of them in a few rules.
    pub(crate) fn candidates(&self, most: usize) -> Vec<Arc<Matcher>> {
        let state = self.state();
        let mut large: Vec<(u32, &Arc<Matcher>)> = (state.sets.iter())
            .filter_map(|(number, set)| Some((*number, set.matcher.as_ref()?)))
            .filter(|(_, matcher)| matcher.rule_count() >= LARGE)
            .collect();
        large.sort_unstable_by_key(|(number, _)| std::cmp::Reverse(*number));
        large.into_iter().take(most).map(|(_, matcher)| Arc::clone(matcher)).collect()
    }

    /// Records a loaded set, or that it cannot be loaded, and wakes the tasks that wait for it.
    pub(crate) fn finish(&self, number: u32, set: Option<CompiledSet>) {
        let mut state = self.state();
        let replaced = set.and_then(|set| state.sets.insert(number, set));
        state.loading.remove(&number);
        let wakers = std::mem::take(&mut state.wakers);
        drop(state);
        wakers.into_values().for_each(Waker::wake);
        drop(replaced);
    }

    /// Replaces the matcher of a set that is still the same.
    pub(crate) fn renew(&self, number: u32, set: CompiledSet) {
        let mut state = self.state();
        let known = state.sets.get_mut(&number).filter(|known| known.file == set.file);
        let replaced = known.map(|known| std::mem::replace(known, set));
        drop(state);
        drop(replaced);
    }

    /// Queues a set to be compiled as a whole.
    pub(crate) fn compile_later(&self, set: UncompiledSet) {
        let mut state = self.state();
        if set.urgency == Urgency::Worn {
            // Only the latest is worth the time.
            state.to_compile.retain(|queued| queued.urgency != Urgency::Worn);
        }
        state.to_compile.push_back(set);
        self.read.notify_one();
    }

    /// Gives up loading an announced set for which no connection waits. False where one waits for it.
    pub(crate) fn give_up(&self, number: u32) -> bool {
        let mut state = self.state();
        let is_wanted = state.loading.get(&number) == Some(&Demand::Requested);
        if !is_wanted {
            state.loading.remove(&number);
        }
        !is_wanted
    }

    /// Drops sets that no connection uses and whose files are gone. Dropping takes time, hence not in a thread that serves
    /// connections.
    pub(crate) fn drop_unused(&self) {
        let state = self.state();
        let idle = state.sets.iter().filter(|(_, set)| set.is_idle());
        let idle: Vec<(u32, FileIdentity)> = idle.map(|(number, set)| (*number, set.file)).collect();
        drop(state);
        // Files are checked without the lock: threads that serve connections wait for it, and this thread has a low
        // priority.
        let is_gone = |(number, file): &(u32, FileIdentity)| {
            !FileIdentity::current(&self.directory, *number).is_ok_and(|current| current == *file)
        };
        let gone: Vec<_> = idle.into_iter().filter(is_gone).collect();
        let mut state = self.state();
        let unused = gone.into_iter().filter_map(|(number, file)| match state.sets.entry(number) {
            Entry::Occupied(set) if set.get().file == file && set.get().is_idle() => Some(set.remove()),
            _ => None,
        });
        let unused: Vec<CompiledSet> = unused.collect();
        drop(state);
        drop(unused);
    }

    /// Whether a set is loaded.
    #[cfg(test)]
    pub(crate) fn holds(&self, number: u32) -> bool {
        self.state().sets.contains_key(&number)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code panics between two changes that belong together.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The cache ends, and so must its threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CacheEnded;

/// The least number of rules that are worth sharing with another set: fewer are compiled as fast.
pub(crate) const LARGE: usize = 64;
