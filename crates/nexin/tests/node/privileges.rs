//! Tests of the user and the capabilities of commands that `nexin run` starts.

use crate::bed::Bed;
use std::collections::BTreeMap;

/// The fields of a workload's `/proc/self/status`, run with these options.
fn inside(bed: &Bed, options: &[&str]) -> BTreeMap<String, String> {
    let arguments = [&["run", "--name", "a"], options, &["--", "cat", "/proc/self/status"]].concat();
    let (code, said) = bed.says(&arguments);
    assert_eq!(code, Some(0), "{options:?}: {said}");
    let fields = said.lines().filter_map(|line| line.split_once(':'));
    fields
        .map(|(name, value)| (name.to_owned(), value.split_whitespace().collect::<Vec<_>>().join(" ")))
        .collect()
}

/// A set of capabilities in the format of `/proc`.
fn capabilities(fields: &BTreeMap<String, String>, set: &str) -> u64 {
    u64::from_str_radix(&fields[set], 16).unwrap()
}

#[test]
#[ignore = "needs root"]
fn a_command_runs_as_the_given_user() {
    let bed = Bed::new("pa");
    let fields = inside(&bed, &[]);
    assert_eq!((&*fields["Uid"], &*fields["NoNewPrivs"]), ("0 0 0 0", "0"));
    for (user, uid, gid, groups) in [
        ("1234", "1234", "1234", ""),
        ("1234:55", "1234", "55", ""),
        ("nobody", "65534", "65534", "65534"),
        ("nobody:daemon", "65534", "1", ""),
        ("0:0", "0", "0", ""),
    ] {
        let fields = inside(&bed, &["--user", user]);
        assert_eq!(fields["Uid"], [uid; 4].join(" "), "{user}");
        assert_eq!(fields["Gid"], [gid; 4].join(" "), "{user}");
        if user.starts_with("1234") || user.contains(':') {
            assert_eq!(fields["Groups"], groups, "{user}");
        }
        if uid != "0" {
            assert_eq!(capabilities(&fields, "CapEff"), 0, "{user}");
            assert_eq!(capabilities(&fields, "CapPrm"), 0, "{user}");
        }
    }
    let (_, said) =
        bed.says(&["run", "--name", "a", "--user", "nobody", "--", "sh", "-c", "echo $USER $HOME"]);
    assert_eq!(said, "nobody /nonexistent\n");
}

#[test]
#[ignore = "needs root"]
fn dropped_capabilities_are_in_no_set_and_cannot_be_regained() {
    let bed = Bed::new("pb");
    let all = inside(&bed, &[]);
    const NET_ADMIN: u64 = 1 << 12;
    const SYS_ADMIN: u64 = 1 << 21;
    for spelt in ["NET_ADMIN", "CAP_NET_ADMIN", "net_admin", "cap_net_admin"] {
        let fields = inside(&bed, &["--cap-drop", spelt]);
        for set in ["CapBnd", "CapEff", "CapPrm", "CapInh", "CapAmb"] {
            assert_eq!(capabilities(&fields, set), capabilities(&all, set) & !NET_ADMIN, "{spelt} {set}");
        }
        assert_eq!(fields["NoNewPrivs"], "1");
    }
    let two = inside(&bed, &["--cap-drop", "NET_ADMIN", "--cap-drop", "SYS_ADMIN"]);
    assert_eq!(capabilities(&two, "CapBnd"), capabilities(&all, "CapBnd") & !NET_ADMIN & !SYS_ADMIN);
    for options in [&["--cap-drop", "ALL"][..], &["--cap-drop=all", "--user", "1234"]] {
        let fields = inside(&bed, options);
        for set in ["CapBnd", "CapEff", "CapPrm", "CapInh", "CapAmb"] {
            assert_eq!(capabilities(&fields, set), 0, "{options:?} {set}");
        }
        assert_eq!(fields["NoNewPrivs"], "1");
    }
    assert_eq!(bed.status().endpoints, 0, "each was removed by its own, privileged, runner");
}

#[test]
#[ignore = "needs root"]
fn an_unknown_user_or_capability_is_refused_before_anything_is_created() {
    let bed = Bed::new("pc");
    for (options, expected) in [
        (["--user", "no-such-user"], "no-such-user"),
        (["--user", "nobody:no-such-group"], "no-such-group"),
        (["--user", ""], "--user"),
        (["--user", "99999999999"], "99999999999"),
        (["--cap-drop", "FLY"], "FLY"),
        (["--cap-drop", ""], "--cap-drop"),
    ] {
        let (code, said) = bed.says(&[&["run", "--name", "a"], &options[..], &["--", "true"]].concat());
        assert_eq!(code, Some(2), "{options:?}: {said}");
        assert!(said.contains(expected), "{options:?}: {said}");
    }
    assert!(!bed.links().contains(&"nx1".to_string()), "{:?}", bed.links());
}

#[test]
#[ignore = "needs root"]
fn a_program_that_the_user_may_not_run_is_reported_with_the_exit_code_of_shells() {
    let bed = Bed::new("pd");
    let (code, said) = bed.says(&["run", "--name", "a", "--user", "1234", "--", "/no/such/program"]);
    assert_eq!(code, Some(127), "{said}");
    let (code, said) = bed.says(&["run", "--name", "a", "--user", "1234", "--", "/etc/passwd"]);
    assert_eq!(code, Some(126), "{said}");
    assert_eq!(bed.status().endpoints, 0);
}
