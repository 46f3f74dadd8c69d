//! Tests that the policies of the policy directory are in force, however its files change.

use crate::bed::{Bed, eventually};
use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

/// A policy of this name, which allows nothing.
fn policy(name: &str) -> String {
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: {name}}}\nspec:\n  podSelector: {{}}\n  \
         ingress: []\n"
    )
}

/// Waits until the status names a file as a problem.
fn expect_problem(bed: &Bed, what: &str) {
    let problem = eventually(|| bed.status().problems.into_iter().find(|problem| problem.contains(what)));
    assert!(problem.is_some(), "no {what:?} in {:?}", bed.status().problems);
    assert_eq!(bed.exit_code(&["status"]), Some(1));
}

fn expect_all_well(bed: &Bed) {
    let well = eventually(|| bed.status().problems.is_empty().then_some(()));
    assert!(well.is_some(), "{:?}", bed.status().problems);
    assert_eq!(bed.exit_code(&["status"]), Some(0));
}

#[test]
#[ignore = "needs root"]
fn a_directory_that_replaces_the_watched_one_is_watched() {
    let bed = Bed::new("fa");
    let (policies, next, old) = (bed.path("policies"), bed.path("next"), bed.path("old"));
    bed.write_policy("p.yaml", &policy("one"));
    bed.expect_policies(&["one"]);
    // Another directory is renamed to the path.
    fs::create_dir(&next).unwrap();
    fs::write(next.join("p.yaml"), policy("one")).unwrap();
    fs::rename(&policies, &old).unwrap();
    fs::rename(&next, &policies).unwrap();
    thread::sleep(Duration::from_millis(700));
    fs::write(policies.join("p.yaml"), policy("two")).unwrap();
    bed.expect_policies(&["two"]);
    fs::write(old.join("p.yaml"), policy("old")).unwrap();
    bed.expect_no_change(&["two"]);
    // The directory is removed and created again.
    fs::remove_dir_all(&policies).unwrap();
    expect_problem(&bed, "policies");
    assert_eq!(bed.policies(), ["two"], "a directory that is gone takes nothing out of force");
    fs::create_dir(&policies).unwrap();
    fs::write(policies.join("p.yaml"), policy("two")).unwrap();
    expect_all_well(&bed);
    fs::write(policies.join("p.yaml"), policy("three")).unwrap();
    bed.expect_policies(&["three"]);
    // The path is a link that is switched, as for mounted ConfigMaps.
    fs::rename(&policies, bed.path("first")).unwrap();
    symlink("first", &policies).unwrap();
    fs::create_dir(bed.path("second")).unwrap();
    fs::write(bed.path("second/p.yaml"), policy("four")).unwrap();
    symlink("second", bed.path("switch")).unwrap();
    fs::rename(bed.path("switch"), &policies).unwrap();
    bed.expect_policies(&["four"]);
    fs::write(bed.path("second/p.yaml"), policy("five")).unwrap();
    bed.expect_policies(&["five"]);
}

#[test]
#[ignore = "needs root"]
fn a_file_with_the_longest_name_does_not_prevent_copies_of_others() {
    let mut bed = Bed::new("fb");
    let long = format!("{}.yaml", "l".repeat(250));
    for (file, name) in [(long.as_str(), "long"), ("aa.yaml", "aa"), ("zz.yaml", "zz")] {
        bed.write_policy(file, &policy(name));
    }
    bed.expect_policies(&["aa", "long", "zz"]);
    expect_all_well(&bed);
    fs::remove_file(bed.path("policies/aa.yaml")).unwrap();
    bed.expect_policies(&["long", "zz"]);
    bed.kill();
    for file in [long.as_str(), "zz.yaml"] {
        bed.write_policy(file, "kind: [");
    }
    bed.start();
    assert_eq!(bed.policies(), ["long", "zz"]);
    expect_problem(&bed, "zz.yaml");
}

#[test]
#[ignore = "needs root"]
fn copies_that_cannot_be_saved_are_a_problem_and_saved_later() {
    let mut bed = Bed::new("fc");
    // At the path of the log of copies is a directory that is not empty.
    let log = bed.path("run/kept/files.log");
    fs::create_dir_all(log.join("x")).unwrap();
    for name in ["a", "b"] {
        bed.write_policy(&format!("{name}.yaml"), &policy(name));
    }
    bed.expect_policies(&["a", "b"]);
    expect_problem(&bed, "copies of policy files");
    fs::remove_dir_all(&log).unwrap();
    expect_all_well(&bed);
    bed.kill();
    for name in ["a", "b"] {
        bed.write_policy(&format!("{name}.yaml"), "kind: [");
    }
    bed.start();
    assert_eq!(bed.policies(), ["a", "b"]);
}

#[test]
#[ignore = "needs root"]
fn an_unreadable_file_removes_no_policy() {
    let bed = Bed::new("fd");
    let (file, target) = (bed.path("policies/p.yaml"), bed.path("target.yaml"));
    let put = |make: &dyn Fn(&Path)| {
        let next = bed.path("policies/.next");
        make(&next);
        if file.is_dir() {
            fs::remove_dir(&file).unwrap();
        }
        if next.is_dir() && !next.is_symlink() {
            fs::remove_file(&file).unwrap();
        }
        fs::rename(&next, &file).unwrap();
    };
    bed.write_policy("p.yaml", &policy("one"));
    bed.expect_policies(&["one"]);
    for (make, said) in [
        (
            &(|next: &Path| symlink("/nowhere/p.yaml", next).unwrap()) as &dyn Fn(&Path),
            "a link to /nowhere/p.yaml",
        ),
        (&|next: &Path| symlink("p.yaml", next).unwrap(), "cannot be read"),
        (&|next: &Path| fs::create_dir(next).unwrap(), "is a directory"),
        (&|next: &Path| symlink("/dev/zero", next).unwrap(), "a device"),
        (&|next: &Path| fs::write(next, b"\xff\xfe").unwrap(), "not UTF-8"),
    ] {
        put(make);
        expect_problem(&bed, said);
        bed.expect_no_change(&["one"]);
    }
    fs::write(&target, policy("two")).unwrap();
    put(&|next: &Path| symlink(&target, next).unwrap());
    bed.expect_policies(&["two"]);
    fs::write(&target, policy("three")).unwrap();
    bed.expect_policies(&["three"]);
    fs::write(bed.path("other.yaml"), policy("four")).unwrap();
    fs::rename(bed.path("other.yaml"), &target).unwrap();
    bed.expect_policies(&["four"]);
    fs::remove_file(&target).unwrap();
    expect_problem(&bed, "which is not there");
    bed.expect_no_change(&["four"]);
    fs::remove_file(&file).unwrap();
    bed.expect_policies(&[]);
    expect_all_well(&bed);
}

#[test]
#[ignore = "needs root"]
fn a_file_whose_name_is_not_utf8_is_read() {
    let mut bed = Bed::new("fe");
    let file = bed.path("policies").join(OsStr::from_bytes(b"\xff\xfe.yaml"));
    fs::write(&file, policy("one")).unwrap();
    bed.expect_policies(&["one"]);
    bed.kill();
    fs::write(&file, "kind: [").unwrap();
    bed.start();
    expect_problem(&bed, r"\xff\xfe.yaml");
    assert_eq!(bed.policies(), ["one"]);
    fs::remove_file(&file).unwrap();
    bed.expect_policies(&[]);
    expect_all_well(&bed);
}

#[test]
#[ignore = "needs root"]
fn a_file_that_is_being_written_keeps_its_policies_until_it_is_closed() {
    let mut bed = Bed::new("ff");
    let path = bed.path("policies/p.yaml");
    let both = format!("{}---\n{}", policy("two"), policy("three"));
    let half = policy("two");
    // A new file.
    let mut file = fs::File::create(&path).unwrap();
    file.write_all(half.as_bytes()).unwrap();
    bed.expect_no_change(&[]);
    file.write_all(&both.as_bytes()[half.len()..]).unwrap();
    drop(file);
    bed.expect_policies(&["three", "two"]);
    // One that is written in place, while others in the directory change.
    let one = policy("one");
    let mut file = fs::File::create(&path).unwrap();
    file.write_all(one.as_bytes()).unwrap();
    bed.write_policy("q.yaml", &policy("q"));
    bed.expect_policies(&["q", "three", "two"]);
    bed.expect_no_change(&["q", "three", "two"]);
    // Another process that opens and closes the file does not end the writing.
    drop(fs::OpenOptions::new().append(true).open(&path).unwrap());
    bed.expect_no_change(&["q", "three", "two"]);
    thread::sleep(Duration::from_secs(2));
    expect_problem(&bed, "is open for writing");
    // A start of the agent meanwhile does not end it either.
    bed.kill();
    bed.start();
    bed.expect_no_change(&["q", "three", "two"]);
    drop(file);
    bed.expect_policies(&["one", "q"]);
    expect_all_well(&bed);
    // A file that is written at the target of a link.
    let target = bed.path("target.yaml");
    fs::rename(&path, &target).unwrap();
    symlink(&target, &path).unwrap();
    bed.expect_no_change(&["one", "q"]);
    let mut file = fs::File::create(&target).unwrap();
    file.write_all(half.as_bytes()).unwrap();
    bed.expect_no_change(&["one", "q"]);
    file.write_all(&both.as_bytes()[half.len()..]).unwrap();
    drop(file);
    bed.expect_policies(&["q", "three", "two"]);
}

#[test]
#[ignore = "needs root"]
fn policies_stay_in_force_however_an_editor_saves_a_file() {
    let bed = Bed::new("fg");
    let (path, beside) = (bed.path("policies/p.yaml"), bed.path("policies/p.yaml~"));
    bed.write_policy("p.yaml", &policy("one"));
    bed.expect_policies(&["one"]);
    // The old file is moved away, and a new one written slowly.
    fs::rename(&path, &beside).unwrap();
    thread::sleep(Duration::from_millis(100));
    let mut file = fs::File::create(&path).unwrap();
    bed.expect_no_change(&["one"]);
    file.write_all(policy("two").as_bytes()).unwrap();
    drop(file);
    bed.expect_policies(&["two"]);
    // The new file is written beside the old one and renamed to its path.
    fs::write(&beside, policy("three")).unwrap();
    fs::rename(&beside, &path).unwrap();
    bed.expect_policies(&["three"]);
    // The file is renamed.
    fs::rename(&path, bed.path("policies/q.yaml")).unwrap();
    for _ in 0..20 {
        assert_eq!((bed.policies(), bed.status().problems), (vec!["three".to_string()], Vec::new()));
        thread::sleep(Duration::from_millis(20));
    }
    fs::rename(bed.path("policies/q.yaml"), &path).unwrap();
    bed.expect_no_change(&["three"]);
    // The file is emptied first.
    fs::write(&path, "").unwrap();
    bed.expect_no_change(&["three"]);
    fs::write(&path, policy("four")).unwrap();
    bed.expect_policies(&["four"]);
    fs::remove_file(&path).unwrap();
    bed.expect_policies(&[]);
}

#[test]
#[ignore = "needs root"]
fn writes_without_an_event_of_the_directory_are_noticed() {
    let bed = Bed::new("fh");
    let path = bed.path("policies/p.yaml");
    bed.write_policy("p.yaml", &policy("one"));
    bed.expect_policies(&["one"]);
    // Through a second name, which was linked after the file was read.
    let other = bed.path("other");
    fs::hard_link(&path, &other).unwrap();
    bed.expect_no_change(&["one"]);
    fs::write(&other, policy("two")).unwrap();
    bed.expect_policies(&["two"]);
    fs::remove_file(&other).unwrap();
    // In place, alone in the directory, by a process that does not close it.
    let mut file = fs::File::create(&path).unwrap();
    file.write_all(policy("three").as_bytes()).unwrap();
    bed.expect_no_change(&["two"]);
    expect_problem(&bed, "p.yaml is open for writing");
    drop(file);
    bed.expect_policies(&["three"]);
    expect_all_well(&bed);
}

/// A file system in memory that is mounted over a directory until it is dropped.
struct MountedOver(std::path::PathBuf);

impl MountedOver {
    fn new(directory: &Path) -> Self {
        let mounted = Command::new("mount").args(["-t", "tmpfs", "none"]).arg(directory).status().unwrap();
        assert!(mounted.success());
        Self(directory.to_path_buf())
    }
}

impl Drop for MountedOver {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

#[test]
#[ignore = "needs root"]
fn a_file_system_that_is_mounted_over_a_directory_is_noticed() {
    let bed = Bed::new("fi");
    let targets = bed.path("targets");
    fs::create_dir(&targets).unwrap();
    fs::write(targets.join("q.yaml"), policy("linked")).unwrap();
    symlink("../targets/q.yaml", bed.path("policies/q.yaml")).unwrap();
    bed.write_policy("p.yaml", &policy("one"));
    bed.expect_policies(&["linked", "one"]);
    let over = MountedOver::new(&targets);
    expect_problem(&bed, "which is not there");
    bed.expect_no_change(&["linked", "one"]);
    fs::write(targets.join("q.yaml"), policy("mounted")).unwrap();
    bed.expect_policies(&["mounted", "one"]);
    drop(over);
    bed.expect_policies(&["linked", "one"]);
    let over = MountedOver::new(&bed.path("policies"));
    bed.write_policy("p.yaml", &policy("two"));
    bed.expect_policies(&["two"]);
    drop(over);
    bed.expect_policies(&["linked", "one"]);
    expect_all_well(&bed);
}
