//! Tests that a change among many policies costs the change, and not what is stored.

use crate::bed::{Bed, eventually};
use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

const MANY: usize = 1000;

/// A policy of this number, for endpoints with this label; about 300 bytes.
fn policy(number: usize, label: &str) -> String {
    format!(
        "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {{name: p{number:04}}}\nspec:\n  endpointSelector: \
         {{matchLabels: {{app: {label}}}}}\n  ingress:\n  - fromEndpoints:\n    - matchLabels: {{app: c{number}}}\n    \
         toPorts:\n    - ports:\n      - {{port: \"80\", protocol: TCP}}\n# {:-<60}\n",
        ""
    )
}

/// The number of bytes that the agent has read.
fn bytes_read(bed: &Bed) -> u64 {
    let counts = fs::read_to_string(format!("/proc/{}/io", bed.agent())).unwrap();
    counts.lines().find_map(|line| line.strip_prefix("rchar: ")?.parse().ok()).unwrap()
}

fn size(directory: &Path) -> u64 {
    let files = fs::read_dir(directory).unwrap();
    files.map(|file| file.unwrap().metadata().unwrap().len()).sum()
}

fn expect_policies(bed: &Bed, count: usize) {
    let found = eventually(|| (bed.status().policies == count).then_some(()));
    assert!(found.is_some(), "{} policies, {:?}", bed.status().policies, bed.status().problems);
}

#[test]
#[ignore = "needs root"]
fn files_that_are_copied_one_after_another_delay_no_answer() {
    let bed = Bed::new("mc");
    let mut slowest = Duration::ZERO;
    thread::scope(|scope| {
        let copying = scope.spawn(|| {
            for number in 0..MANY {
                bed.write_policy(&format!("p{number:04}.yaml"), &policy(number, "server"));
                // The agent reads the directory several times meanwhile.
                thread::sleep(Duration::from_millis(1));
            }
        });
        while !copying.is_finished() {
            let began = Instant::now();
            bed.status();
            slowest = slowest.max(began.elapsed());
            thread::sleep(Duration::from_millis(5));
        }
    });
    expect_policies(&bed, MANY);
    println!("slowest answer while {MANY} files were copied: {slowest:?}");
    assert!(slowest < Duration::from_millis(700), "{slowest:?}");
    let status = bed.status();
    assert_eq!((status.policies, status.problems), (MANY, Vec::new()));
}

#[test]
#[ignore = "needs root"]
fn changes_in_quick_succession_do_not_wait_for_each_other() {
    const CHANGES: usize = 40;
    /// After this time a change removes what packets on their way may still read.
    const GRACE: Duration = Duration::from_millis(20);
    let bed = Bed::new("md");
    bed.bare_workload("server");
    let mut took: Vec<_> = (0..CHANGES)
        .map(|number| {
            let began = Instant::now();
            bed.apply(&policy(0, if number % 2 == 0 { "server" } else { "none" }));
            began.elapsed()
        })
        .collect();
    took.sort();
    // Other tests may delay some of them; if each waited for the one before, all would take about the grace time.
    let fast = took[CHANGES / 10];
    println!("a tenth of the changes takes less than {fast:?}");
    assert!(fast < GRACE / 2, "{took:?}");
}

#[test]
#[ignore = "needs root"]
fn an_edited_file_among_many_is_read_alone() {
    let mut bed = Bed::new("ma");
    let name = |number: usize| format!("p{number:04}.yaml");
    for number in 0..MANY {
        bed.write_policy(&name(number), &policy(number, "server"));
    }
    expect_policies(&bed, MANY);
    // The copies of all files are few writes.
    assert_eq!(fs::read_dir(bed.path("run/kept")).unwrap().count(), 1);
    let all = size(&bed.path("policies"));
    let before = bytes_read(&bed);
    for number in 0..3 {
        bed.write_policy(&name(number), &policy(MANY + number, "server"));
        let renamed = format!("p{:04}", MANY + number);
        assert!(eventually(|| bed.policies().contains(&renamed).then_some(())).is_some());
    }
    let read = bytes_read(&bed) - before;
    assert!(read < all / 2, "{read} bytes of {all} are read for three edits");
    bed.kill();
    bed.start();
    assert_eq!((bed.status().policies, bed.status().problems), (MANY, Vec::new()));
}

#[test]
#[ignore = "needs root"]
fn an_applied_object_among_many_is_stored_once() {
    let mut bed = Bed::new("mb");
    let all = (0..MANY).map(|number| policy(number, "server")).collect::<Vec<_>>().join("---\n");
    bed.apply(&all);
    for number in 0..20 {
        bed.apply(&policy(number, "other"));
    }
    let stored = size(&bed.path("run/applied"));
    assert!(stored < 2 * all.len() as u64, "{stored} bytes for a file of {}", all.len());
    bed.kill();
    bed.start();
    assert_eq!((bed.status().policies, bed.status().problems), (MANY, Vec::new()));
    // An edit is stored, and not the file again.
    let before = size(&bed.path("run/applied"));
    bed.apply(&policy(0, "third"));
    bed.delete("CiliumNetworkPolicy/default/p0001");
    assert!(size(&bed.path("run/applied")) < before + all.len() as u64 / 4);
    assert_eq!(bed.status().policies, MANY - 1);
}
