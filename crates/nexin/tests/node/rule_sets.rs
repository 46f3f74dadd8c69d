//! Tests that HTTP rules reach the proxy whatever happened to the files that contain them.

use crate::REQUESTS;
use crate::bed::{Bed, Disk, Host, eventually};
use rustix::fs::{Gid, Mode, Uid, chmod, chown};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Waits until REQUESTS is in force for connections of a client to a server.
fn expect(client: &Host, server: &Host, what: &str) {
    let fetched = || [client.fetch(server, "/public"), client.fetch(server, "/private")];
    let right = eventually(|| (fetched() == [Some(200), Some(403)]).then_some(()));
    assert!(right.is_some(), "{what}: {:?}", fetched());
}

/// Makes a file or directory accessible to the superuser only.
fn close(path: &Path) {
    let rights = if path.is_dir() { 0o700 } else { 0o600 };
    chown(path, Some(Uid::ROOT), Some(Gid::ROOT)).unwrap();
    chmod(path, Mode::from_raw_mode(rights)).unwrap();
}

/// The files of rule sets.
fn files(bed: &Bed) -> Vec<std::path::PathBuf> {
    fs::read_dir(bed.path("run/rule-sets")).unwrap().map(|entry| entry.unwrap().path()).collect()
}

/// Kills only the proxy.
fn end_proxy(bed: &Bed) {
    let record = fs::read_to_string(bed.path("run/proxy.json")).unwrap();
    let record: serde_json::Value = serde_json::from_str(&record).unwrap();
    crate::end(record["process"]["process"].as_u64().unwrap() as u32);
}

#[test]
#[ignore = "needs root"]
fn the_proxy_reads_rule_sets_that_an_earlier_release_or_an_agent_that_was_killed_left() {
    let mut bed = Bed::new("ra");
    let (server, client) = (bed.workload("server"), bed.workload("client"));
    bed.apply(REQUESTS);
    for proxy_is_new in [true, false] {
        bed.kill();
        if proxy_is_new {
            end_proxy(&bed);
        }
        files(&bed).iter().for_each(|file| close(file));
        close(&bed.path("run/rule-sets"));
        close(&bed.path("run"));
        bed.start();
        expect(&client, &server, &format!("a new proxy: {proxy_is_new}"));
        assert_eq!(bed.status().problems, Vec::<String>::new());
    }
}

#[test]
#[ignore = "needs root"]
fn rule_sets_that_others_remove_or_change_are_restored() {
    let mut bed = Bed::new("rb");
    let (server, client) = (bed.workload("server"), bed.workload("client"));
    bed.apply(REQUESTS);
    expect(&client, &server, "at first");
    let directory = bed.path("run/rule-sets");
    type Damage = fn(&Path, &Path);
    let damages: [(&str, Damage); 7] = [
        ("the directory is removed", |directory, _| fs::remove_dir_all(directory).unwrap()),
        ("a copy takes its place", |directory, file| {
            let text = fs::read(file).unwrap();
            fs::remove_dir_all(directory).unwrap();
            fs::create_dir(directory).unwrap();
            fs::write(file, text).unwrap();
        }),
        ("the directory is closed", |directory, _| close(directory)),
        ("the agent's directory is closed", |directory, _| close(directory.parent().unwrap())),
        ("a file is removed", |_, file| fs::remove_file(file).unwrap()),
        ("a file is closed", |_, file| close(file)),
        ("a file says something else", |_, file| fs::write(file, "[{").unwrap()),
    ];
    for (what, damage) in damages {
        for is_running in [true, false] {
            // That of the policy before is removed a moment after a change.
            let file = eventually(|| <[PathBuf; 1]>::try_from(files(&bed)).ok());
            let [file] = file.unwrap_or_else(|| panic!("{what}: {:?}", files(&bed)));
            if !is_running {
                bed.kill();
            }
            damage(&directory, &file);
            bed.try_start();
            let damaged_file = what.starts_with("a file");
            let what = format!("{what}, the agent runs: {is_running}");
            expect(&client, &server, &what);
            let problems = eventually(|| bed.status().problems.is_empty().then_some(()));
            assert!(problems.is_some(), "{what}: {:?}", bed.status().problems);
            if is_running && damaged_file {
                let text = "files of HTTP rule sets were missing or changed";
                let noted = || bed.status().notes.iter().any(|note| note.contains(text)).then_some(());
                assert!(eventually(noted).is_some(), "{what}: {:?}", bed.status().notes);
            }
            // Rule sets that are published afterwards are read as well.
            bed.apply(&REQUESTS.replace("/public", "/private"));
            let turned = eventually(|| client.fetch(&server, "/private").filter(|status| *status == 200));
            assert_eq!((turned, client.fetch(&server, "/public")), (Some(200), Some(403)), "{what}");
            bed.apply(REQUESTS);
        }
    }
}

#[test]
#[ignore = "needs root"]
fn a_group_that_an_administrator_chose_may_still_use_the_api() {
    const OPERATORS: u32 = 4242;
    let mut bed = Bed::new("rc");
    let (server, client) = (bed.workload("server"), bed.workload("client"));
    bed.apply(REQUESTS);
    let directory = bed.path("run");
    chown(&directory, None, Some(Gid::from_raw(OPERATORS))).unwrap();
    chmod(&directory, Mode::from_raw_mode(0o750)).unwrap();
    let check = |what: &str| {
        let status = fs::metadata(&directory).unwrap();
        let rights = status.permissions().mode() & 0o777;
        assert_eq!((status.gid(), rights & 0o056), (OPERATORS, 0o050), "{what}: {rights:o}");
        expect(&client, &server, what);
    };
    check("at once");
    end_proxy(&bed);
    check("after a start of the proxy");
    bed.kill();
    bed.start();
    check("after a start of the agent");
}

#[test]
#[ignore = "needs root"]
fn a_proxy_whose_own_user_cannot_read_rule_sets_keeps_its_user_and_reports_it() {
    let mut bed = Bed::idle("rd", &serde_json::json!({}));
    let closed = bed.path("closed");
    fs::create_dir(&closed).unwrap();
    close(&closed);
    std::os::unix::fs::symlink(closed.join("inner"), bed.path("run")).unwrap();
    fs::create_dir(closed.join("inner")).unwrap();
    bed.start();
    let (server, client) = (bed.workload("server"), bed.workload("client"));
    bed.apply(REQUESTS);
    expect(&client, &server, "behind a closed directory");
    let notes = bed.status().notes;
    assert!(
        notes.iter().any(|note| note.starts_with("the proxy runs without a user of its own: ")),
        "{notes:?}"
    );
    assert_eq!(bed.exit_code(&["status"]), Some(0));
}

#[test]
#[ignore = "needs root"]
fn a_proxy_that_starts_on_a_full_disk_is_confined() {
    let disk = Disk::new("re", "run");
    let bed = Bed::new("re");
    let (server, client) = (bed.workload("server"), bed.workload("client"));
    bed.apply(REQUESTS);
    let before = bed.status().proxy;
    fs::remove_file(bed.path("run/proxy-report.json")).unwrap();
    disk.fill();
    end_proxy(&bed);
    assert!(eventually(|| bed.status().proxy.filter(|now| Some(*now) != before)).is_some(), "{}", bed.log());
    expect(&client, &server, "on a full disk");
    let proxy = bed.status().proxy.unwrap();
    let text = fs::read_to_string(format!("/proc/{proxy}/status")).unwrap();
    assert!(text.contains("Uid:\t90080\t90080\t90080\t90080"), "{text}");
    // Only the changed set cannot be written; no other set is reported as lost.
    let refusal = bed.try_apply(&REQUESTS.replace("/public", "/private")).unwrap_err().to_string();
    assert!(refusal.contains("No space left"), "{refusal}");
    std::thread::sleep(std::time::Duration::from_millis(1200));
    expect(&client, &server, "after a change that failed");
    let problems = bed.status().problems;
    assert!(problems.iter().all(|problem| !problem.contains("cannot be judged")), "{problems:?}");
    disk.clear();
}

#[test]
#[ignore = "needs root"]
fn an_agent_whose_directory_is_replaced_or_emptied_answers_and_reports_again() {
    let bed = Bed::new("rf");
    let (server, client) = (bed.workload("server"), bed.workload("client"));
    bed.apply(REQUESTS);
    let run = bed.path("run");
    type Damage = fn(&Path);
    let damages: [(&str, Damage); 4] = [
        ("its socket is removed", |run| fs::remove_file(run.join("agent.sock")).unwrap()),
        ("the socket of requests is removed", |run| fs::remove_file(run.join("requests.sock")).unwrap()),
        ("another directory takes its place", |run| {
            fs::rename(run, run.with_extension("old")).unwrap();
            fs::create_dir(run).unwrap();
        }),
        ("it is removed", |run| {
            // The agent may write a file between the removal of the files and that of the directory.
            let removed = eventually(|| fs::remove_dir_all(run).ok());
            assert!(removed.is_some(), "{} cannot be removed", run.display());
        }),
    ];
    for (number, (what, damage)) in damages.into_iter().enumerate() {
        let path = format!("/private/{number}");
        damage(&run);
        let answers = eventually(|| api::Client::connect(&bed.socket()).ok());
        assert!(answers.is_some(), "{what}: {}", bed.log());
        expect(&client, &server, what);
        let reported = eventually(|| {
            client.fetch(&server, &path);
            let last = api::ApiRequest::Observe { last: 50, follow: false, filters: Vec::new() };
            let flows = api::Client::connect(&bed.socket()).ok()?.follow::<flow::Flow>(last).ok()?;
            // Each kind of damage has its own path, so that an earlier flow is not taken for the expected one.
            let is_of_now =
                |flow: &flow::Flow| flow.l7.as_ref().is_some_and(|l7| l7.http.url.ends_with(&path));
            flows.flatten().find(is_of_now).map(drop)
        });
        assert!(reported.is_some(), "{what}");
        assert!(eventually(|| bed.status().problems.is_empty().then_some(())).is_some(), "{what}");
        bed.apply(&REQUESTS.replace("/public", "/private"));
        bed.apply(REQUESTS);
        expect(&client, &server, what);
    }
}
