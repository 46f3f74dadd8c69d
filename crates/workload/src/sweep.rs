//! Removes what a crash left behind.

use crate::namespace::{Namespace, NamespaceError};
use crate::node::{Node, WireError};
use rustix::process::{Pid, Signal};

/// What was found and removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Named network namespaces.
    pub namespaces: Vec<String>,
    /// Interfaces of the node.
    pub links: Vec<String>,
    /// Processes that were killed in those namespaces.
    pub processes: Vec<u32>,
}

/// Kills the processes in every named namespace with the prefix, deletes these namespaces, and deletes the node's
/// interfaces with the prefix.
///
/// # Panics
///
/// With an empty prefix, which everything has.
pub fn sweep(node: &mut Node, prefix: &str) -> Result<Swept, WireError> {
    assert!(!prefix.is_empty(), "an empty prefix would sweep what is not ours");
    let mut swept = Swept::default();
    for name in Namespace::names()?.into_iter().filter(|name| name.starts_with(prefix)) {
        // A name whose mount is gone opens as an empty file: it has no processes, and only the name is left.
        if let Ok(namespace) = Namespace::open(&name) {
            swept.processes.extend(kill_all(&namespace)?);
        }
        Namespace::delete(&name)?;
        swept.namespaces.push(name);
    }
    let links = node.network().links()?;
    for link in links.into_iter().filter(|link| link.name.starts_with(prefix)) {
        node.network().delete_link(&link.name)?;
        swept.links.push(link.name);
    }
    Ok(swept)
}

/// Kills every process that is in the namespace, but never the caller's.
fn kill_all(namespace: &Namespace) -> Result<Vec<u32>, NamespaceError> {
    let link = format!("net:[{}]", namespace.id()?);
    let own = std::process::id();
    let mut killed = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(process) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let inside =
            std::fs::read_link(entry.path().join("ns/net")).is_ok_and(|target| target.as_os_str() == &*link);
        if !inside || process == own {
            continue;
        }
        // One that ended meanwhile is as good as killed.
        if let Some(pid) = Pid::from_raw(process.cast_signed())
            && rustix::process::kill_process(pid, Signal::KILL).is_ok()
        {
            killed.push(process);
        }
    }
    Ok(killed)
}
