//! Tests that the agent's status is true on disks that are full, read-only or damaged.

use crate::bed::{Bed, Disk, Host, eventually};
use crate::{CONNECTIONS, REQUESTS};
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The directory and everything in it.
fn walk(path: &Path) -> Vec<PathBuf> {
    let mut found = vec![path.to_path_buf()];
    if fs::symlink_metadata(path).unwrap().is_dir() {
        found.extend(fs::read_dir(path).unwrap().flat_map(|entry| walk(&entry.unwrap().path())));
    }
    found
}

/// Waits until the status and its exit code report no problem, or a problem of this kind.
fn expect_status(bed: &Bed, problem: Option<&str>) {
    let found = eventually(|| {
        let problems = bed.status().problems;
        let is_there =
            problem.map_or(problems.is_empty(), |problem| problems.iter().any(|one| one.contains(problem)));
        is_there.then_some(())
    });
    assert!(found.is_some(), "{problem:?}: {:?}", bed.status().problems);
    assert_eq!(bed.exit_code(&["status"]), Some(i32::from(problem.is_some())));
}

/// Creates workloads until the disk has no room for the record of another one: a log keeps some room. Nothing changes then.
fn refuse_workload(bed: &Bed) {
    for number in 0..200 {
        let before = bed.endpoints();
        let Err(refusal) = bed.try_workload(&format!("late{number}")) else { continue };
        assert!(refusal.to_string().contains("No space left"), "{refusal}");
        assert_eq!(bed.endpoints(), before);
        return;
    }
    panic!("every workload was created on a full disk");
}

/// The responses that a client gets for /public and /private, under REQUESTS, CONNECTIONS or no policy.
fn fetched(client: &Host, server: &Host) -> [Option<u16>; 2] {
    [client.fetch(server, "/public"), client.fetch(server, "/private")]
}

#[test]
#[ignore = "needs root"]
fn on_a_full_disk_a_command_that_fails_changes_nothing() {
    let disk = Disk::new("sa", "state");
    let mut bed = Bed::new("sa");
    let (server, client, other) = (bed.workload("server"), bed.workload("client"), bed.workload("other"));
    bed.apply(CONNECTIONS);
    assert_eq!(other.fetch(&server, "/"), None);
    disk.fill();
    // Longer than the room that a log keeps on disk.
    let long = format!("{REQUESTS}# {}\n", "-".repeat(100_000));
    let refusal = bed.try_apply(&long).unwrap_err().to_string();
    assert!(refusal.contains("No space left"), "{refusal}");
    assert_eq!((bed.policies(), fetched(&client, &server)), (vec!["connections".into()], [Some(200); 2]));
    refuse_workload(&bed);
    // The policy of a file is in force, and the status reports what cannot be saved.
    bed.write_policy("requests.yaml", REQUESTS);
    bed.expect_policies(&["connections", "requests"]);
    assert_eq!(fetched(&client, &server), [Some(200), Some(200)], "connections allows all requests");
    expect_status(&bed, Some("No space left"));
    bed.delete("NetworkPolicy/default/connections");
    assert_eq!(fetched(&client, &server), [Some(200), Some(403)]);
    // An agent starts there, too, with everything that it can read.
    bed.kill();
    disk.fill();
    bed.write_policy("requests.yaml", &REQUESTS.replace("/public", "/private"));
    bed.start();
    bed.expect_policies(&["requests"]);
    assert_eq!(eventually(|| client.fetch(&server, "/private").filter(|status| *status == 200)), Some(200));
    assert_eq!(client.fetch(&server, "/public"), Some(403));
    expect_status(&bed, Some("No space left"));
    disk.clear();
    expect_status(&bed, None);
    bed.apply(CONNECTIONS);
    bed.kill();
    bed.write_policy("requests.yaml", "kind: [");
    bed.start();
    assert_eq!(bed.policies(), ["connections", "requests"]);
}

#[test]
#[ignore = "needs root"]
fn on_a_read_only_disk_an_agent_starts_and_reports_what_it_cannot_save() {
    let disk = Disk::new("sb", "state");
    let mut bed = Bed::new("sb");
    let (server, client) = (bed.workload("server"), bed.workload("client"));
    bed.apply(REQUESTS);
    bed.kill();
    end_proxy(&bed);
    disk.remount("ro");
    bed.start();
    assert_eq!(eventually(|| client.fetch(&server, "/public")), Some(200), "the proxy is started");
    assert_eq!(client.fetch(&server, "/private"), Some(403));
    expect_status(&bed, Some("Read-only file system"));
    bed.try_apply(CONNECTIONS).unwrap_err();
    let gone = bed.try_delete("CiliumNetworkPolicy/default/requests").unwrap_err().to_string();
    assert!(gone.contains("Read-only file system"), "{gone}");
    assert_eq!(
        (bed.policies(), fetched(&client, &server)),
        (vec!["requests".into()], [Some(200), Some(403)])
    );
    bed.write_policy("connections.yaml", &CONNECTIONS.replace("app: client", "app: other"));
    bed.expect_policies(&["connections", "requests"]);
    disk.remount("rw");
    expect_status(&bed, None);
    bed.delete("CiliumNetworkPolicy/default/requests");
    assert_eq!(bed.policies(), ["connections"]);
}

#[test]
#[ignore = "needs root"]
fn an_agent_with_read_only_disks_continues_to_enforce_policy() {
    let disk = Disk::new("sc", "run");
    let mut bed = Bed::new("sc");
    let (server, client) = (bed.workload("server"), bed.workload("client"));
    bed.apply(REQUESTS);
    bed.kill();
    end_proxy(&bed);
    disk.remount("ro");
    bed.spawn();
    assert_eq!(eventually(|| client.fetch(&server, "/public")), Some(200), "{}", bed.log());
    assert_eq!(client.fetch(&server, "/private"), Some(403));
    assert!(bed.log().contains("the API does not accept requests"), "{}", bed.log());
    disk.remount("rw");
    assert!(eventually(|| bed.try_apply(CONNECTIONS).ok()).is_some(), "{}", bed.log());
    expect_status(&bed, None);
    // The proxy was started while nothing could be written, but the agent has it on record.
    let proxy = bed.status().proxy;
    bed.kill();
    bed.start();
    assert_eq!((bed.status().proxy, proxy.is_some()), (proxy, true));
    bed.kill();
    disk.fill();
    bed.start();
    assert_eq!(fetched(&client, &server), [Some(200); 2], "both allow: {:?}", bed.policies());
    refuse_workload(&bed);
    expect_status(&bed, Some("No space left"));
    disk.clear();
    expect_status(&bed, None);
    bed.workload("late");
}

#[test]
#[ignore = "needs root"]
fn a_damaged_store_is_reported_and_policies_stay_in_force() {
    let mut bed = Bed::new("sd");
    let (server, client) = (bed.workload("server"), bed.workload("client"));
    bed.apply(REQUESTS);
    bed.kill();
    let stored = fs::read_dir(bed.path("run/applied")).unwrap().next().unwrap().unwrap().path();
    let whole = fs::read(&stored).unwrap();
    for damaged in [&whole[..whole.len() / 2], b"", b"{}\n"] {
        fs::write(&stored, damaged).unwrap();
        let said = bed.start_in_vain();
        assert!(said.contains(stored.to_str().unwrap()) && said.contains("remove it and apply"), "{said}");
        assert_eq!(fetched(&client, &server), [Some(200), Some(403)]);
    }
    fs::write(&stored, &whole).unwrap();
    bed.start();
    assert_eq!(bed.policies(), ["requests"]);
}

#[test]
#[ignore = "needs root"]
fn a_damaged_copy_is_a_problem_only_while_a_file_is_invalid() {
    let mut bed = Bed::new("se");
    let (server, client) = (bed.workload("server"), bed.workload("client"));
    bed.write_policy("p.yaml", REQUESTS);
    bed.expect_policies(&["requests"]);
    bed.kill();
    let copy = || fs::read_dir(bed.path("run/kept")).unwrap().next().unwrap().unwrap().path();
    let copy = copy();
    fs::write(&copy, b"{\"file\": \"").unwrap();
    bed.start();
    bed.expect_policies(&["requests"]);
    assert_eq!(fetched(&client, &server), [Some(200), Some(403)]);
    expect_status(&bed, None);
    bed.kill();
    fs::write(&copy, b"{\"file\": \"").unwrap();
    bed.write_policy("p.yaml", "kind: [");
    let said = bed.start_in_vain();
    assert!(said.contains(copy.to_str().unwrap()) && said.contains("p.yaml:1:8"), "{said}");
    assert_eq!(fetched(&client, &server), [Some(200), Some(403)]);
    bed.write_policy("p.yaml", REQUESTS);
    bed.start();
    assert_eq!(fetched(&client, &server), [Some(200), Some(403)]);
}

#[test]
#[ignore = "needs root"]
fn an_unrecorded_proxy_is_found_and_supervised() {
    let mut bed = Bed::new("sf");
    let (server, client) = (bed.workload("server"), bed.workload("client"));
    bed.apply(REQUESTS);
    let proxy = bed.status().proxy;
    for damage in [Some("{\"process\":"), None] {
        bed.kill();
        match damage {
            Some(damage) => fs::write(bed.path("run/proxy.json"), damage).unwrap(),
            None => fs::remove_file(bed.path("run/proxy.json")).unwrap(),
        }
        bed.start();
        assert_eq!((bed.status().proxy, fetched(&client, &server)), (proxy, [Some(200), Some(403)]));
        expect_status(&bed, None);
    }
    bed.kill();
    bed.start();
    assert_eq!(bed.status().proxy, proxy, "it is on record again");
    end_proxy(&bed);
    assert_eq!(eventually(|| client.fetch(&server, "/public")), Some(200), "it is started again");
    assert_ne!(bed.status().proxy, proxy);
}

#[test]
#[ignore = "needs root"]
fn files_of_the_agent_are_not_accessible_to_other_users() {
    let mut bed = Bed::new("sg");
    let (server, client) = (bed.workload("server"), bed.workload("client"));
    bed.apply(REQUESTS);
    bed.write_policy("a.yaml", CONNECTIONS);
    bed.expect_policies(&["connections", "requests"]);
    assert_eq!(client.fetch(&server, "/public"), Some(200));
    let pins = PathBuf::from(bed.status().pins);
    let check = |bed: &Bed| {
        for path in [bed.path("run"), pins.clone()].iter().flat_map(|path| walk(path)) {
            let status = fs::symlink_metadata(&path).unwrap();
            let rights = status.permissions().mode() & 0o777;
            let is_of_proxy = status.gid() == PROXY_GROUP;
            let allowed = match status.file_type() {
                kind if kind.is_socket() => 0o660,
                kind if kind.is_dir() && is_of_proxy => 0o750,
                kind if kind.is_file() && is_of_proxy => 0o640,
                _ => 0o700,
            };
            assert_eq!(rights & !allowed, 0, "{} has {rights:o}", path.display());
        }
    };
    check(&bed);
    // As an earlier release left it.
    bed.kill();
    for path in walk(&bed.path("run")) {
        let is_directory = fs::symlink_metadata(&path).unwrap().is_dir();
        fs::set_permissions(&path, fs::Permissions::from_mode(if is_directory { 0o705 } else { 0o644 }))
            .unwrap();
    }
    bed.start();
    check(&bed);
}

/// The proxy's group, which may read rule sets.
const PROXY_GROUP: u32 = 90_080;

/// Kills only the proxy, whether an agent runs or not.
fn end_proxy(bed: &Bed) {
    let record = fs::read_to_string(bed.path("run/proxy.json")).unwrap();
    let record: serde_json::Value = serde_json::from_str(&record).unwrap();
    let process = record["process"]["process"].as_u64().unwrap();
    crate::end(u32::try_from(process).unwrap());
}
