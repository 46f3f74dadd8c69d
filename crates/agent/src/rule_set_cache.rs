//! The node proxy's cache of compiled layer-7 rule sets; a separate thread compiles them and drops unused ones.

use crate::rule_sets::{self, FileIdentity};
use l7::Matcher;
use proxy::Rules;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::thread;
use std::time::{Duration, Instant};

/// How often unused sets are dropped.
const TIDY: Duration = Duration::from_millis(500);

/// Nice value of the compiling thread: threads that serve connections go first.
const NICENESS: i32 = 10;

/// The compiled sets, and the queue of those to compile.
#[derive(Debug)]
pub(crate) struct RuleSetCache {
    shelf: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    directory: PathBuf,
    state: Mutex<State>,
    wanted: Condvar,
}

#[derive(Debug, Default)]
struct State {
    sets: HashMap<u32, CompiledSet>,
    queue: VecDeque<u32>,
    /// Wakers of tasks that wait for a set of the queue, each task once: by the addresses of its data and vtable.
    wakers: HashMap<(usize, usize), Waker>,
    ended: bool,
}

/// A set, and the file that it was read from; without a matcher if the file is invalid.
#[derive(Debug)]
struct CompiledSet {
    file: FileIdentity,
    matcher: Option<Arc<Matcher>>,
}

impl CompiledSet {
    /// Whether no connection uses it.
    fn is_idle(&self) -> bool {
        self.matcher.as_ref().is_none_or(|matcher| Arc::strong_count(matcher) == 1)
    }
}

impl RuleSetCache {
    /// A cache of the rule sets in this directory; it compiles none before [`Self::start`].
    pub(crate) fn new(directory: &Path) -> Self {
        let shelf =
            Shared { directory: directory.to_path_buf(), state: Mutex::default(), wanted: Condvar::new() };
        Self { shelf: Arc::new(shelf) }
    }

    /// Starts the thread that compiles sets.
    pub(crate) fn start(&self) -> io::Result<()> {
        let own = Arc::clone(&self.shelf);
        let run = move || {
            // Applies to this thread alone. Without permission the thread competes with those that serve connections.
            let _ = rustix::process::nice(NICENESS);
            own.run();
        };
        thread::Builder::new().name("rule sets".into()).spawn(run).map(drop)
    }

    /// The compiled rules of a set's present file; [`Rules::Loading`] if they must be compiled first.
    pub(crate) fn rules(&self, number: u32) -> Rules {
        let file = match FileIdentity::current(&self.shelf.directory, number) {
            Ok(file) => file,
            Err(error) => {
                tracing::error!(%error, number, "a rule set cannot be read; requests that it applies to are denied");
                return Rules::Unknown;
            }
        };
        let mut state = self.shelf.state();
        match state.sets.get(&number).filter(|known| known.file == file) {
            Some(CompiledSet { matcher: Some(matcher), .. }) => return Rules::Ready(Arc::clone(matcher)),
            Some(_) => return Rules::Unknown,
            None => {}
        }
        if !state.queue.contains(&number) {
            state.queue.push_back(number);
            self.shelf.wanted.notify_one();
        }
        Rules::Loading
    }

    /// Wakes the task when the next set is compiled.
    pub(crate) fn wake(&self, waker: &Waker) {
        let mut state = self.shelf.state();
        if state.queue.is_empty() {
            waker.wake_by_ref();
        } else {
            let task = (waker.data().addr(), std::ptr::from_ref(waker.vtable()).addr());
            state.wakers.entry(task).or_insert_with(|| waker.clone());
        }
    }
}

impl Drop for RuleSetCache {
    fn drop(&mut self) {
        self.shelf.state().ended = true;
        self.shelf.wanted.notify_one();
    }
}

impl Shared {
    /// Compiles the sets of the queue, and drops unused ones.
    fn run(&self) {
        let mut tidied = Instant::now();
        loop {
            let state = self.state();
            let idle = |state: &mut State| state.queue.is_empty() && !state.ended;
            let waited = self.wanted.wait_timeout_while(state, TIDY, idle);
            let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
            if state.ended {
                return;
            }
            let next = state.queue.front().copied();
            drop(state);
            if let Some(number) = next {
                self.compile(number);
            }
            if tidied.elapsed() >= TIDY {
                self.tidy();
                tidied = Instant::now();
            }
        }
    }

    fn compile(&self, number: u32) {
        let before = FileIdentity::current(&self.directory, number);
        let made = rule_sets::compile(&self.directory, number);
        let set = match made {
            Ok((file, matcher)) => Some(CompiledSet { file, matcher: Some(Arc::new(matcher)) }),
            Err(error) => {
                let error = api::sentence(error.as_ref());
                tracing::error!(
                    error,
                    number,
                    "a rule set cannot be compiled; requests that it applies to are denied"
                );
                before.ok().map(|file| CompiledSet { file, matcher: None })
            }
        };
        let mut state = self.state();
        let old = set.and_then(|set| state.sets.insert(number, set));
        // The number stays in the queue until the set is compiled, so that no second request queues it again.
        state.queue.retain(|queued| *queued != number);
        let wakers = std::mem::take(&mut state.wakers);
        drop(state);
        wakers.into_values().for_each(Waker::wake);
        drop(old);
    }

    /// Drops sets that no connection uses and whose files are gone. Dropping takes time, hence in this thread.
    fn tidy(&self) {
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

    fn state(&self) -> MutexGuard<'_, State> {
        // No code panics between two changes that belong together.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule_sets::Publisher;
    use l7::rule::{HttpRule, RequestView};
    use std::fs;

    fn wait_for(library: &RuleSetCache, number: u32) -> Rules {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            match library.rules(number) {
                Rules::Loading if Instant::now() < deadline => thread::sleep(Duration::from_millis(1)),
                rules => return rules,
            }
        }
    }

    fn rule(path: &str) -> HttpRule {
        HttpRule { path: Some(path.into()), ..HttpRule::default() }
    }

    fn directory(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("nexin-library-{name}-{}", std::process::id()))
    }

    #[test]
    fn a_changed_file_is_compiled_again_and_a_missing_file_is_unknown() {
        let directory = directory("a");
        let publisher = Publisher::new(&directory);
        let library = RuleSetCache::new(&directory);
        library.start().unwrap();
        let request = |path| RequestView { method: "GET", path, host: "app1", headers: &[] };
        assert!(matches!(library.rules(7), Rules::Unknown));
        publisher.publish(7, &[rule("/public")]).unwrap();
        let Rules::Ready(matcher) = wait_for(&library, 7) else { panic!("it is there") };
        assert!(matcher.matches(&request("/public")).is_some());
        publisher.publish(7, &[rule("/private")]).unwrap();
        let Rules::Ready(matcher) = wait_for(&library, 7) else { panic!("it is there") };
        assert_eq!(matcher.matches(&request("/public")), None, "another file is another set");
        fs::write(directory.join("8.json"), "[nonsense").unwrap();
        assert!(matches!(wait_for(&library, 8), Rules::Unknown));
        fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn a_set_is_dropped_once_its_file_is_gone_and_no_connection_uses_it() {
        let directory = directory("b");
        let publisher = Publisher::new(&directory);
        let library = RuleSetCache::new(&directory);
        library.start().unwrap();
        publisher.publish(1, &[rule("/a")]).unwrap();
        publisher.publish(2, &[rule("/b")]).unwrap();
        let Rules::Ready(used) = wait_for(&library, 1) else { panic!("it is there") };
        let Rules::Ready(kept) = wait_for(&library, 2) else { panic!("it is there") };
        let (used_by_no_other, kept_by_file) = (Arc::downgrade(&used), Arc::downgrade(&kept));
        drop(kept);
        publisher.withdraw(1);
        thread::sleep(3 * TIDY);
        assert!(library.shelf.state().sets.contains_key(&1), "a connection uses it");
        drop(used);
        let deadline = Instant::now() + Duration::from_secs(20);
        while used_by_no_other.strong_count() > 0 {
            assert!(Instant::now() < deadline, "it is held");
            thread::sleep(Duration::from_millis(5));
        }
        assert!(kept_by_file.strong_count() > 0);
        fs::remove_dir_all(&directory).unwrap();
    }
}
