//! Removes the leftovers of a crash.

use crate::namespace::NetworkNamespace;
use crate::node::{NodeNamespace, WireError};

/// What was removed.
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
/// The prefix is empty, so that it matches every name.
pub fn sweep(node: &mut NodeNamespace, prefix: &str) -> Result<Swept, WireError> {
    assert!(!prefix.is_empty(), "an empty prefix matches every name");
    let mut swept = Swept::default();
    for name in NetworkNamespace::names()?.into_iter().filter(|name| name.starts_with(prefix)) {
        if let Some(namespace) = NetworkNamespace::find(&name)? {
            swept.processes.extend(namespace.kill_all(None)?);
        }
        NetworkNamespace::delete(&name)?;
        swept.namespaces.push(name);
    }
    let links = node.network().links()?;
    for link in links.into_iter().filter(|link| link.name.starts_with(prefix)) {
        node.network().delete_link(&link.name)?;
        swept.links.push(link.name);
    }
    Ok(swept)
}
