//! Removes everything that an agent left: what is otherwise kept so that traffic goes on without it.

use crate::config::Config;
use crate::paths::Paths;
use crate::supervisor;
use std::fs;
use std::io;
use workload::{Namespace, Node, PROXY_INTERFACE, sweep};

/// Removes workloads, programs, maps, the proxy and the files of an agent that does not run any more. That some of it
/// is gone already is fine; the first thing that could not be removed is returned, after everything else was tried.
pub fn remove(config: &Config) -> anyhow::Result<()> {
    let paths = config.paths();
    let mut failures: Vec<anyhow::Error> = Vec::new();
    failures.extend(end_proxies(config, &paths).err());
    failures.extend(remove_links(config, &paths).err());
    failures.extend(loader::remove_pins(&paths.pins()).map_err(anyhow::Error::from).err());
    for directory in [paths.directory(), paths.lasting()] {
        match fs::remove_dir_all(directory) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => failures.push(error.into()),
            _ => {}
        }
    }
    failures.into_iter().next().map_or(Ok(()), Err)
}

/// Ends the proxies, which are found from within the network that they serve.
fn end_proxies(config: &Config, paths: &Paths) -> anyhow::Result<()> {
    match &config.network_namespace {
        Some(name) if Namespace::names()?.contains(name) => {
            Namespace::open(name)?.enter(|| supervisor::end(paths))?
        }
        _ => supervisor::end(paths),
    }
}

/// Interfaces go first: without programs they would pass everything. Those that are not ours stay, without programs.
fn remove_links(config: &Config, paths: &Paths) -> anyhow::Result<()> {
    let namespace = match &config.network_namespace {
        Some(name) if !Namespace::names()?.contains(name) => return Ok(()),
        Some(name) => Namespace::open(name)?,
        None => Namespace::current()?,
    };
    namespace.enter(|| loader::detach_filters(&paths.pins()))??;
    let mut node = Node::of(namespace)?;
    let links = node.network().links()?;
    let is_workload = |name: &str| name.strip_prefix("nx").is_some_and(|id| id.parse::<u32>().is_ok());
    for link in links.iter().filter(|link| is_workload(&link.name) || link.name == PROXY_INTERFACE) {
        node.network().delete_link(&link.name)?;
    }
    sweep(&mut node, &format!("nexin-{}-", config.instance))?;
    Ok(())
}
