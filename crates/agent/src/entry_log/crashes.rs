//! A log is read as it was before a change or after it, wherever the writer is killed: random sequences of changes, with a crash
//! between any two system calls and at any byte.

use super::*;
use std::collections::BTreeSet;
use std::fs;

type Texts = BTreeMap<String, String>;

/// What a killed writer may leave: the log, and the file that would have replaced it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct OnDisk {
    log: Option<Vec<u8>>,
    new: Option<Vec<u8>>,
}

struct Scratch {
    path: PathBuf,
}

/// The random changes of a sequence.
struct Changes {
    random: u64,
    /// The greatest length of a text.
    longest: usize,
}

impl Scratch {
    /// In memory if possible: each state that a crash may leave is written and synchronised.
    fn new(name: &str) -> Self {
        let memory = Path::new("/dev/shm");
        let directory = if memory.is_dir() { memory.to_path_buf() } else { std::env::temp_dir() };
        let path = directory.join(format!("nexin-crash-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self { path: path.join("objects.log") }
    }

    fn disk(&self) -> OnDisk {
        OnDisk { log: fs::read(&self.path).ok(), new: fs::read(self.path.with_extension("new")).ok() }
    }

    fn restore(&self, disk: &OnDisk) {
        for (path, bytes) in [(self.path.clone(), &disk.log), (self.path.with_extension("new"), &disk.new)] {
            match bytes {
                Some(bytes) => fs::write(path, bytes).unwrap(),
                None => drop(fs::remove_file(path)),
            }
        }
    }

    fn read(&self) -> (EntryLog, Texts) {
        EntryLog::read(&self.path).unwrap()
    }
}

impl Changes {
    fn below(&mut self, bound: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random % bound as u64) as usize
    }

    /// A change of one to three keys; a key may be put and removed in one change.
    fn next(&mut self) -> Vec<(String, Option<String>)> {
        let count = 1 + self.below(3);
        let mut change = Vec::new();
        for _ in 0..count {
            let key = format!("key{}", self.below(5));
            let length = if self.below(4) == 0 { self.below(self.longest) } else { self.below(40) };
            let text = (self.below(3) > 0).then(|| "x".repeat(length) + &self.random.to_string());
            change.push((key, text));
        }
        change
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        fs::remove_dir_all(self.path.parent().unwrap()).unwrap();
    }
}

fn entries(change: &[(String, Option<String>)]) -> Vec<LogEntry<'_>> {
    let entry = change.iter().map(|(key, text)| match text {
        Some(text) => LogEntry::Put(key, text),
        None => LogEntry::Remove(key),
    });
    entry.collect()
}

fn after(texts: &Texts, change: &[(String, Option<String>)]) -> Texts {
    let mut texts = texts.clone();
    for (key, text) in change {
        match text {
            Some(text) => drop(texts.insert(key.clone(), text.clone())),
            None => drop(texts.remove(key)),
        }
    }
    texts
}

/// The states between two that one call left, if the writer is killed.
fn between(before: &OnDisk, now: &OnDisk, cuts: usize) -> BTreeSet<OnDisk> {
    let Some(new) = &now.log else { return BTreeSet::from([before.clone()]) };
    let Some(old) = &before.log else {
        // The log is created without entries first.
        let mut created = format::header(HEADER, HEADER + ROOM).to_vec();
        created.resize(HEADER + ROOM, 0);
        let mut states = replaced(None, &created, cuts);
        states.extend(between(&OnDisk { log: Some(created), new: None }, now, cuts));
        return states;
    };
    let is_same = |range: std::ops::Range<usize>| new.get(range.clone()) == old.get(range);
    if new.len() < old.len() || !is_same(0..HEADER) && !is_same(HEADER..old.len()) {
        // The header is written, and then the log anew.
        let tail = format::read(old).unwrap().tail;
        let committed = [&format::header(tail, old.len()), &old[HEADER..]].concat();
        let mut states = replaced(Some(&committed), new, cuts);
        states.insert(before.clone());
        return states;
    }
    written(old, new, cuts)
}

/// The states while a file is written beside the log and then renamed.
fn replaced(old: Option<&[u8]>, new: &[u8], cuts: usize) -> BTreeSet<OnDisk> {
    let beside = cut_points(new.len(), 0, cuts).into_iter().map(|cut| Some(new[..cut].to_vec()));
    let of = |beside| OnDisk { log: old.map(<[u8]>::to_vec), new: beside };
    let renamed = OnDisk { log: Some(new.to_vec()), new: None };
    [None].into_iter().chain(beside).map(of).chain([renamed]).collect()
}

/// The states while the log is written: it gets room first, and then bytes from the first to the last that differ.
fn written(old: &[u8], new: &[u8], cuts: usize) -> BTreeSet<OnDisk> {
    let log = |bytes: Vec<u8>| OnDisk { log: Some(bytes), new: None };
    let longer = |length: usize| log([old, &vec![0; length]].concat());
    let mut states: BTreeSet<OnDisk> =
        cut_points(new.len() - old.len(), 0, 3).into_iter().map(longer).collect();
    states.insert(log(new.to_vec()));
    let mut base = old.to_vec();
    base.resize(new.len(), 0);
    let mut differing = (0..new.len()).filter(|at| base[*at] != new[*at]);
    let Some(first) = differing.next() else { return states };
    let end = differing.next_back().unwrap_or(first) + 1;
    // The header is written by one call of 32 bytes within one page, which a signal does not interrupt.
    if first >= HEADER {
        let torn = |cut: usize| log([&new[..cut], &base[cut..]].concat());
        states.extend(cut_points(end - first, first, cuts).into_iter().map(torn));
    }
    states
}

/// Positions in a range of this length: all of them, or the first and last ones and some between.
fn cut_points(length: usize, start: usize, most: usize) -> BTreeSet<usize> {
    let step = length.div_ceil(most).max(1);
    let ends = (0..length.min(12)).chain(length.saturating_sub(12)..=length);
    ends.chain((0..length).step_by(step)).map(|at| start + at).collect()
}

/// Reads each state that a crash may leave. It must be one of these, also after the next change.
fn check(beside: &Scratch, crashed: &BTreeSet<OnDisk>, allowed: &[&Texts]) {
    for disk in crashed {
        beside.restore(disk);
        let (mut log, found) = beside.read();
        assert!(allowed.contains(&&found), "{found:?} of {allowed:?}");
        let next = [("next".to_owned(), Some("text".to_owned())), ("key0".to_owned(), None)];
        let pending = log.append(&entries(&next)).unwrap();
        log.commit(pending);
        assert_eq!(beside.read().1, after(&found, &next));
    }
}

/// Makes random changes, and crashes in each; returns how often the log was written anew.
fn crash(seed: u64, longest: usize, (count, cuts): (usize, usize)) -> usize {
    let (scratch, beside) = (Scratch::new(&format!("{seed}")), Scratch::new(&format!("{seed}-beside")));
    let mut changes = Changes { random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1, longest };
    let (mut log, mut texts) = scratch.read();
    let mut rewritten = 0;
    for _ in 0..count {
        let change = changes.next();
        let changed = after(&texts, &change);
        let before = scratch.disk();
        let pending = log.append(&entries(&change)).unwrap();
        let written = scratch.disk();
        check(&beside, &between(&before, &written, cuts), &[&texts, &changed]);
        let is_committed = changes.below(4) > 0;
        if is_committed {
            log.commit(pending);
        } else {
            log.roll_back(&pending).unwrap();
        }
        let now = scratch.disk();
        // A change that is on disk and not committed is found by the next reader.
        let allowed: &[&Texts] = if is_committed { &[&changed] } else { &[&texts, &changed] };
        check(&beside, &between(&written, &now, cuts), allowed);
        rewritten += usize::from(now.log.map(|log| log.len()) < written.log.map(|log| log.len()));
        texts = if is_committed { changed } else { texts };
        assert_eq!(scratch.read().1, texts);
        if changes.below(8) == 0 {
            log = scratch.read().0;
        }
    }
    rewritten
}

#[test]
fn every_crash_leaves_the_texts_before_a_change_or_after_it() {
    let rewritten: usize = (1..=4).map(|seed| crash(seed, 9_000, (30, 8))).sum();
    assert!(rewritten > 4, "written anew {rewritten} times");
}

#[test]
fn a_crash_at_every_byte_of_a_change_leaves_the_texts_before_it_or_after_it() {
    crash(100, 200, (8, usize::MAX));
}
