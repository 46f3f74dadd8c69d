//! Tests of the reports of inotify on real directories.

use super::*;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// A scratch directory with the watched directory `top/policies`.
struct Scratch {
    top: PathBuf,
    watcher: Watcher,
    reports: Receiver<Reported>,
}

impl Scratch {
    fn new(name: &str) -> Self {
        let root = std::env::temp_dir().join(format!("nexin-watch-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        let top = root.join("top");
        fs::create_dir_all(top.join("policies")).unwrap();
        let (send, reports) = channel();
        let report = move |reported| drop(send.send(reported));
        let mut watcher = Watcher::new(&top.join("policies"), report);
        watcher.renew();
        assert_eq!(watcher.unwatched(), None);
        Self { top, watcher, reports }
    }

    fn write(&self, file: &str, text: &str) {
        fs::write(self.top.join(file), text).unwrap();
    }

    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.top.join(from), self.top.join(to)).unwrap();
    }

    fn link(&self, target: &str, name: &str) {
        symlink(target, self.top.join(name)).unwrap();
    }

    /// Switches a link, as mounted ConfigMaps do.
    fn switch(&self, target: &str, name: &str) {
        self.link(target, "next");
        self.rename("next", name);
    }

    fn follow(&mut self, file: &str) {
        self.watcher.follow(file, &self.top.join("policies").join(file));
        assert_eq!(self.watcher.unwatched(), None);
    }

    /// What is reported until nothing is for a moment, other than changes of the mounts, which other programs make.
    fn reported(&self) -> BTreeSet<String> {
        let mut reported = BTreeSet::new();
        while let Ok(one) = self.reports.recv_timeout(Duration::from_millis(200)) {
            match one {
                Reported::Name(name) => reported.insert(name.into_string().unwrap()),
                Reported::Known(name) => reported.insert(format!("known {name}")),
                Reported::Any => reported.insert("any".into()),
                Reported::Mounts => false,
                Reported::Lost(why) => panic!("{why}"),
            };
        }
        reported
    }

    fn expect(&self, expected: &[&str], what: &str) {
        let expected: BTreeSet<String> = expected.iter().map(ToString::to_string).collect();
        assert_eq!(self.reported(), expected, "{what}");
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(self.top.parent().unwrap());
    }
}

#[test]
fn a_directory_that_is_replaced_is_reported_however_it_is_replaced() {
    let mut scratch = Scratch::new("replaced");
    let top = scratch.top.clone();
    scratch.write("policies/a.yaml", "");
    scratch.expect(&["a.yaml"], "a new file");
    scratch.write("beside", "");
    scratch.expect(&[], "another name beside the directory");
    scratch.rename("policies", "old");
    fs::create_dir(top.join("policies")).unwrap();
    scratch.expect(&["any"], "another directory");
    scratch.watcher.renew();
    scratch.write("old/a.yaml", "");
    scratch.expect(&[], "the directory of before");
    scratch.write("policies/b.yaml", "");
    scratch.expect(&["b.yaml"], "the new directory");
    // A process that holds the removed directory keeps its inode.
    let held = File::open(top.join("policies")).unwrap();
    fs::remove_dir_all(top.join("policies")).unwrap();
    scratch.expect(&["any", "b.yaml"], "removed");
    drop(held);
    scratch.watcher.renew();
    fs::create_dir(top.join("policies")).unwrap();
    scratch.expect(&["any"], "created again");
    scratch.watcher.renew();
    // The directory above is replaced, and the one above that is a link.
    fs::rename(&top, top.with_file_name("away")).unwrap();
    scratch.expect(&["any"], "a directory above");
    symlink("away", &top).unwrap();
    scratch.expect(&["any"], "a link in its place");
    scratch.watcher.renew();
    scratch.write("policies/c.yaml", "");
    scratch.expect(&["c.yaml"], "through a link");
    fs::create_dir_all(top.with_file_name("third").join("policies")).unwrap();
    symlink("third", top.with_file_name("next")).unwrap();
    fs::rename(top.with_file_name("next"), &top).unwrap();
    scratch.expect(&["any"], "the link is switched");
}

#[test]
fn a_file_that_changes_outside_of_the_directory_is_reported() {
    let mut scratch = Scratch::new("outside");
    let top = scratch.top.clone();
    for version in ["v1", "v2"] {
        fs::create_dir(top.join(version)).unwrap();
        scratch.write(&format!("{version}/p.yaml"), "");
    }
    scratch.link("../v1", "policies/..data");
    scratch.link("..data/p.yaml", "policies/p.yaml");
    scratch.follow("p.yaml");
    scratch.reported();
    scratch.write("v1/p.yaml", "text");
    scratch.expect(&["known p.yaml"], "the target is written");
    scratch.write("v1/other.yaml", "");
    scratch.expect(&[], "a file beside the target");
    scratch.write("v1/next", "");
    scratch.rename("v1/next", "v1/p.yaml");
    scratch.expect(&["known p.yaml"], "the target is replaced");
    scratch.follow("p.yaml");
    scratch.switch("../v2", "policies/..data");
    scratch.expect(&["..data", "known p.yaml"], "the link on the way is switched");
    scratch.follow("p.yaml");
    scratch.write("v1/p.yaml", "text");
    scratch.expect(&[], "the target of before");
    fs::remove_file(top.join("v2/p.yaml")).unwrap();
    scratch.expect(&["known p.yaml"], "the target is removed");
    scratch.follow("p.yaml");
    scratch.write("v2/p.yaml", "");
    scratch.expect(&["known p.yaml"], "the target is there again");
    scratch.rename("v2", "gone");
    scratch.expect(&["known p.yaml"], "a directory on the way is gone");
    // A file with a second name.
    scratch.write("policies/q.yaml", "");
    fs::hard_link(top.join("policies/q.yaml"), top.join("second")).unwrap();
    scratch.follow("q.yaml");
    scratch.reported();
    scratch.write("second", "text");
    scratch.expect(&["known q.yaml"], "through the second name");
    scratch.watcher.forget("q.yaml");
    scratch.watcher.forget("p.yaml");
    scratch.write("gone/p.yaml", "text");
    scratch.expect(&[], "forgotten");
}

#[test]
fn a_path_that_is_not_watched_is_named_until_it_is() {
    let scratch = Scratch::new("unwatched");
    let mut watcher = Watcher::new(Path::new("/proc/self/policies"), |_| {});
    watcher.renew();
    assert_eq!(watcher.unwatched(), None, "a missing directory is watched from above");
    let remote = check_file_system(&scratch.top);
    assert_eq!(remote, Ok(()));
    let why = Unwatched::Remote { path: "/p".into(), file_system: "NFS" };
    assert_eq!(why.to_string(), "/p is on NFS, and inotify reports no changes that other hosts make");
}
