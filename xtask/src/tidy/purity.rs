//! Inner rings touch nothing outside themselves, and unsafe code has few doors.

use super::arrows;
use super::finding::{Finding, at, numbered};
use crate::tree::{Crate, File};

/// Crates without clock, socket, file, thread or environment: time and everything else are arguments.
const PURE: &[&str] =
    &["abi", "control", "datapath", "flow", "identity", "l7", "manifest", "policy", "service"];

const EFFECTS: &[&str] = &[
    "std::env",
    "std::fs",
    "std::process",
    "std::thread",
    "Instant::now",
    "SystemTime::now",
    "TcpListener",
    "TcpStream",
    "UdpSocket",
    "UnixListener",
    "UnixStream",
    "tokio::",
    "rustix::",
    "libc::",
    "println!",
    "static mut",
];

/// Crates that open the door to unsafe code, each with the reason.
const UNSAFE: &[(&str, &str)] = &[
    ("loader", "system calls and shared memory of the kernel"),
    ("programs", "packet and map memory of the kernel"),
    ("workload", "a child process enters a network namespace between fork and exec"),
];

/// Uses of the outside world in a crate that is pure; tests may.
pub(super) fn effects(file: &File) -> Vec<Finding> {
    let mut parts = file.path.split('/');
    let (crates, name, src) = (parts.next(), parts.next().unwrap_or_default(), parts.next());
    if crates != Some("crates")
        || src != Some("src")
        || !PURE.contains(&name)
        || file.path.ends_with("/tests.rs")
    {
        return Vec::new();
    }
    let code = numbered(&file.text).take_while(|(_, line)| *line != "#[cfg(test)]");
    let code = code.filter(|(_, line)| !line.trim_start().starts_with("//"));
    code.filter_map(|(line, text)| Some((line, EFFECTS.iter().find(|effect| text.contains(**effect))?)))
        .map(|(line, effect)| {
            at(&file.path, line, format!("`{effect}` in `{name}`, which is pure: take it as an argument"))
        })
        .collect()
}

/// Crates that neither forbid unsafe code nor are among the few that may open the door to it.
pub(super) fn unforbidden(crates: &[Crate], files: &[File]) -> Vec<Finding> {
    let closed = crates
        .iter()
        .filter(|one| arrows::is_ours(&one.name) && !UNSAFE.iter().any(|(name, _)| *name == one.name));
    let roots = closed.flat_map(|one| {
        let directory = one.manifest.trim_end_matches("Cargo.toml");
        ["src/lib.rs", "src/main.rs"].map(|root| format!("{directory}{root}"))
    });
    roots
        .filter_map(|root| files.iter().find(|file| file.path == root))
        .filter(|file| !file.text.contains("#![forbid(unsafe_code)]"))
        .map(|file| at(&file.path, 1, "no `#![forbid(unsafe_code)]`"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::finding::testing::{file, lines};
    use super::*;

    #[test]
    fn the_outside_world_in_a_pure_crate_is_found() {
        let text = "//! std::fs is not used.\nlet now = Instant::now();\n#[cfg(test)]\nuse std::fs;\n";
        assert_eq!(lines(&effects(&file("crates/policy/src/rule.rs", text))), [2]);
        assert_eq!(effects(&file("crates/agent/src/lib.rs", text)), []);
        assert_eq!(effects(&file("crates/policy/tests/model.rs", text)), []);
    }

    #[test]
    fn a_crate_that_does_not_forbid_unsafe_code_is_found() {
        let named = |name: &str| Crate {
            name: name.into(),
            manifest: format!("crates/{name}/Cargo.toml"),
            ..Crate::default()
        };
        let roots = [file("crates/policy/src/lib.rs", ""), file("crates/loader/src/lib.rs", "")];
        let findings = unforbidden(&[named("policy"), named("loader")], &roots);
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].path, "crates/policy/src/lib.rs");
        let closed = [file("crates/policy/src/lib.rs", "//! X.\n#![forbid(unsafe_code)]\n")];
        assert_eq!(unforbidden(&[named("policy")], &closed), []);
    }
}
