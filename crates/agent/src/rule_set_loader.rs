//! Reads and compiles the rule sets that the node proxy's cache lacks, in threads of their own.
//!
//! A set that differs from a loaded one in a few rules is loaded within a millisecond, by the thread that reads. Any other
//! large set is compiled by a thread with a low priority. The agent writes the file of a set before the map entries that
//! name the set, and inotify reports the file, so that most sets are loaded before a connection needs them.

use crate::rule_set_cache::{CompiledSet, LARGE, RuleSetCache, UncompiledSet, Urgency};
use crate::rule_sets::{self, FileIdentity};
use crate::threads;
use l7::{HttpRule, Matcher};
use rustix::fs::inotify::{self, WatchFlags};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often unused sets are dropped.
const TIDY: Duration = Duration::from_millis(500);

/// Nice value of the compiling thread: threads that serve connections go first.
const NICENESS: i32 = 10;

/// How many loaded sets are compared with a new one.
const CANDIDATES: usize = 16;

/// The cache of rule sets, and the threads that fill it. They end with this value.
#[derive(Debug)]
pub(crate) struct RuleSetLoader {
    cache: Arc<RuleSetCache>,
    /// Reports new files.
    announcements: Option<OwnedFd>,
}

impl RuleSetLoader {
    /// A cache of the rule sets in this directory; it loads none before [`Self::start`]. A process that is confined later calls
    /// this before.
    pub(crate) fn new(directory: &Path) -> Self {
        let announcements = watch(directory).inspect_err(|error| {
            tracing::warn!(%error, "new rule sets are not reported; each is loaded when a connection needs it");
        });
        Self { cache: Arc::new(RuleSetCache::new(directory)), announcements: announcements.ok() }
    }

    /// The cache.
    pub(crate) fn cache(&self) -> &RuleSetCache {
        &self.cache
    }

    /// Starts the threads that load sets; one that ends, also by a panic, calls `ended`.
    pub(crate) fn start(&mut self, ended: impl Fn(&str) + Clone + Send + 'static) -> io::Result<()> {
        let spawn = |name: &'static str, run: Box<dyn FnOnce() + Send>| {
            let ended = ended.clone();
            threads::start_then(name, move || ended(name), run).map(drop)
        };
        let cache = Arc::clone(&self.cache);
        spawn("rule sets", Box::new(move || read_sets(&cache)))?;
        let cache = Arc::clone(&self.cache);
        spawn("compiler", Box::new(move || compile_sets(&cache)))?;
        if let Some(announcements) = self.announcements.take() {
            let cache = Arc::clone(&self.cache);
            spawn("announcements", Box::new(move || announce_sets(&announcements, &cache)))?;
        }
        Ok(())
    }
}

impl Drop for RuleSetLoader {
    fn drop(&mut self) {
        self.cache.end();
    }
}

/// Watches for files that get their name, and so are complete.
fn watch(directory: &Path) -> io::Result<OwnedFd> {
    let watcher = inotify::init(inotify::CreateFlags::CLOEXEC)?;
    inotify::add_watch(&watcher, directory, WatchFlags::ONLYDIR | WatchFlags::MOVED_TO)?;
    Ok(watcher)
}

/// Announces each new file to the cache.
fn announce_sets(announcements: &OwnedFd, cache: &RuleSetCache) {
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut events = inotify::Reader::new(announcements, &mut buffer);
    loop {
        match events.next() {
            Ok(event) => {
                let name = event.file_name().and_then(|name| name.to_str().ok());
                if let Some(number) = name.and_then(|name| rule_sets::number(Path::new(name))) {
                    cache.announce(number);
                }
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => {
                tracing::error!(%error, "new rule sets are not reported any more");
                return;
            }
        }
    }
}

/// Reads the sets of the queue, and compiles those that take little time.
fn read_sets(cache: &RuleSetCache) {
    while let Some(number) = cache.next_to_read() {
        let before = FileIdentity::current(cache.directory(), number);
        match rule_sets::read(cache.directory(), number) {
            Ok((file, rules)) => {
                load(cache, UncompiledSet { number, file, rules, urgency: Urgency::Missing })
            }
            Err(_) if cache.give_up(number) => {}
            Err(error) => {
                report(number, error.as_ref());
                cache.finish(number, before.ok().map(|file| CompiledSet { file, matcher: None }));
            }
        }
    }
}

/// Compiles a set here if that takes little time, or lets the other thread compile it.
fn load(cache: &RuleSetCache, set: UncompiledSet) {
    match updated(cache, &set.rules) {
        Some(matcher) => {
            let is_worn = matcher.is_worn();
            let matcher = Some(Arc::new(matcher));
            cache.finish(set.number, Some(CompiledSet { file: set.file, matcher }));
            if is_worn {
                cache.compile_later(UncompiledSet { urgency: Urgency::Worn, ..set });
            }
        }
        None if cache.give_up(set.number) => {}
        None if set.rules.len() < LARGE => compile(cache, &set),
        None => cache.compile_later(set),
    }
}

/// The matcher of rules that differ from those of a loaded set in a few places.
fn updated(cache: &RuleSetCache, rules: &[HttpRule]) -> Option<Matcher> {
    if rules.len() < LARGE {
        return None;
    }
    cache.candidates(CANDIDATES).iter().find_map(|matcher| matcher.updated(rules))
}

/// Compiles the sets of the queue, and drops unused ones.
fn compile_sets(cache: &RuleSetCache) {
    // Applies to this thread alone. Without permission the thread competes with those that serve connections.
    let _ = rustix::process::nice(NICENESS);
    let mut tidied = Instant::now();
    while let Ok(next) = cache.next_to_compile(TIDY) {
        if let Some(set) = next {
            compile(cache, &set);
        }
        if tidied.elapsed() >= TIDY {
            cache.drop_unused();
            tidied = Instant::now();
        }
    }
}

/// Compiles a whole set.
fn compile(cache: &RuleSetCache, set: &UncompiledSet) {
    let UncompiledSet { number, file, rules, urgency } = set;
    let matcher = Matcher::new(rules).map(Arc::new);
    match (urgency, matcher) {
        (Urgency::Worn, Ok(matcher)) => {
            cache.renew(*number, CompiledSet { file: *file, matcher: Some(matcher) });
        }
        // The worn matcher stays, which decides the same.
        (Urgency::Worn, Err(error)) => tracing::debug!(%error, number, "a rule set is not compiled anew"),
        (Urgency::Missing, matcher) => {
            let matcher = matcher.inspect_err(|error| report(*number, error)).ok();
            cache.finish(*number, Some(CompiledSet { file: *file, matcher }));
        }
    }
}

fn report(number: u32, error: &(dyn std::error::Error + 'static)) {
    let error = api::sentence(error);
    tracing::error!(error, number, "a rule set cannot be compiled; requests that it applies to are denied");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule_sets::Publisher;
    use l7::RequestView;
    use proxy::Rules;
    use std::fs;
    use std::path::PathBuf;
    use std::thread;

    fn wait_for(library: &RuleSetLoader, number: u32) -> Rules {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            match library.cache().rules(number) {
                Rules::Loading if Instant::now() < deadline => thread::sleep(Duration::from_millis(1)),
                rules => return rules,
            }
        }
    }

    fn rule(path: &str) -> HttpRule {
        HttpRule { path: Some(path.into()), ..HttpRule::default() }
    }

    fn directory(name: &str) -> PathBuf {
        // The directory is there when the loader starts to watch it, as in the proxy.
        let directory = std::env::temp_dir().join(format!("nexin-library-{name}-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        directory
    }

    /// A rule set of this many rules, of which the one with this number is special.
    fn large(count: usize, special: usize) -> Vec<HttpRule> {
        let ending = |number| if number == special { "/special" } else { "" };
        (0..count).map(|number| rule(&format!("/{number:05}{}", ending(number)))).collect()
    }

    /// Waits until a set is loaded that no connection asks for.
    fn wait_until_loaded(library: &RuleSetLoader, number: u32) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !library.cache().holds(number) {
            assert!(Instant::now() < deadline, "set {number} is not loaded");
            thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn a_set_that_differs_from_a_loaded_one_in_a_rule_is_loaded_before_a_connection_needs_it() {
        let directory = directory("c");
        let publisher = Publisher::new(&directory);
        let mut library = RuleSetLoader::new(&directory);
        library.start(|_| ()).unwrap();
        publisher.publish(1, &large(1000, 3)).unwrap();
        publisher.publish(2, &large(500, 3)).unwrap();
        thread::sleep(Duration::from_millis(200));
        assert!(!library.cache().holds(1) && !library.cache().holds(2), "no connection uses such rules");
        let Rules::Ready(_used) = wait_for(&library, 1) else { panic!("it is there") };
        for number in 3..60 {
            publisher.publish(number, &large(1000, number as usize)).unwrap();
            publisher.withdraw(number - 1);
            wait_until_loaded(&library, number);
            let Rules::Ready(matcher) = library.cache().rules(number) else { panic!("it is loaded") };
            let matches = |path: &str| {
                matcher.matches(&RequestView { method: "GET", path, host: "app1", headers: &[] })
            };
            assert_eq!(matches(&format!("/{number:05}/special")), Some(number as usize));
            assert_eq!(matches(&format!("/{number:05}")), None);
            assert_eq!(matches("/00999"), Some(999));
        }
        assert!(!library.cache().holds(2), "it resembles no set in use");
        fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn a_changed_rule_costs_less_than_the_whole_set() {
        let directory = directory("d");
        let publisher = Publisher::new(&directory);
        let mut library = RuleSetLoader::new(&directory);
        library.start(|_| ()).unwrap();
        let loading = |number: u32| {
            publisher.publish(number, &large(5000, number as usize)).unwrap();
            let began = Instant::now();
            let Rules::Ready(matcher) = wait_for(&library, number) else { panic!("it is there") };
            (began.elapsed(), matcher)
        };
        let (whole, _used) = loading(1);
        let changes: Vec<Duration> = (2..12).map(|number| loading(number).0).collect();
        let least = changes.iter().min().unwrap();
        assert!(*least < whole / 3, "{changes:?} of {whole:?}");
        fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn a_changed_file_is_compiled_again_and_a_missing_file_is_unknown() {
        let directory = directory("a");
        let publisher = Publisher::new(&directory);
        let mut library = RuleSetLoader::new(&directory);
        library.start(|_| ()).unwrap();
        let request = |path| RequestView { method: "GET", path, host: "app1", headers: &[] };
        assert!(matches!(library.cache().rules(7), Rules::Unknown));
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
        let mut library = RuleSetLoader::new(&directory);
        library.start(|_| ()).unwrap();
        publisher.publish(1, &[rule("/a")]).unwrap();
        publisher.publish(2, &[rule("/b")]).unwrap();
        let Rules::Ready(used) = wait_for(&library, 1) else { panic!("it is there") };
        let Rules::Ready(kept) = wait_for(&library, 2) else { panic!("it is there") };
        let (used_by_no_other, kept_by_file) = (Arc::downgrade(&used), Arc::downgrade(&kept));
        drop(kept);
        publisher.withdraw(1);
        thread::sleep(3 * TIDY);
        assert!(library.cache().holds(1), "a connection uses it");
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
