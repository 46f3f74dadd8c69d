//! Pure crates have no effects, and only crates with a reason may hold unsafe code.

use super::finding::{Finding, at, numbered};
use crate::tree::{Crate, File};

/// The effects that a pure crate must not use: clock, socket, file, thread, environment. Time is an argument there.
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

/// Effects in the crates that declare themselves pure, outside of their tests.
pub(super) fn effects(crates: &[Crate], files: &[File]) -> Vec<Finding> {
    let pure = crates.iter().filter(|one| one.is_pure);
    let sources = pure.map(|one| (one, format!("{}src/", one.directory())));
    sources
        .flat_map(|(one, source)| {
            let own = files.iter().filter(move |file| is_code_of(file, &source));
            own.flat_map(|file| in_file(file, &one.name))
        })
        .collect()
}

fn is_code_of(file: &File, source: &str) -> bool {
    file.path.starts_with(source) && file.path.ends_with(".rs") && !file.path.ends_with("/tests.rs")
}

fn in_file(file: &File, name: &str) -> Vec<Finding> {
    let code = numbered(&file.text).take_while(|(_, line)| *line != "#[cfg(test)]");
    let code = code.filter(|(_, line)| !line.trim_start().starts_with("//"));
    code.filter_map(|(line, text)| Some((line, EFFECTS.iter().find(|effect| text.contains(**effect))?)))
        .map(|(line, effect)| {
            at(&file.path, line, format!("`{effect}` in `{name}`, which is pure: take it as an argument"))
        })
        .collect()
}

/// Crates that neither forbid unsafe code nor give a reason for it.
pub(super) fn unforbidden(crates: &[Crate], files: &[File]) -> Vec<Finding> {
    let closed = crates.iter().filter(|one| one.reason_for_unsafe.is_none());
    let roots =
        closed.flat_map(|one| ["src/lib.rs", "src/main.rs"].map(|root| format!("{}{root}", one.directory())));
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

    fn named(name: &str) -> Crate {
        Crate { name: name.into(), manifest: format!("crates/{name}/Cargo.toml"), ..Crate::default() }
    }

    #[test]
    fn the_outside_world_in_a_pure_crate_is_found() {
        let text = "//! std::fs is not used.\nlet now = Instant::now();\n#[cfg(test)]\nuse std::fs;\n";
        let crates = [Crate { is_pure: true, ..named("policy") }, named("agent")];
        let effects = |path: &str| effects(&crates, &[file(path, text)]);
        assert_eq!(lines(&effects("crates/policy/src/rule.rs")), [2]);
        assert_eq!(effects("crates/agent/src/lib.rs"), []);
        assert_eq!(effects("crates/policy/tests/model.rs"), []);
    }

    #[test]
    fn a_crate_that_does_not_forbid_unsafe_code_is_found() {
        let roots = [file("crates/policy/src/lib.rs", ""), file("crates/loader/src/lib.rs", "")];
        let loader = Crate { reason_for_unsafe: Some("system calls".into()), ..named("loader") };
        let findings = unforbidden(&[named("policy"), loader], &roots);
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].path, "crates/policy/src/lib.rs");
        let closed = [file("crates/policy/src/lib.rs", "//! X.\n#![forbid(unsafe_code)]\n")];
        assert_eq!(unforbidden(&[named("policy")], &closed), []);
    }
}
