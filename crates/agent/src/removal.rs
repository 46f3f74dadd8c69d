//! Removes everything that a stopped agent has left to keep traffic under policy.

use crate::config::AgentConfig;
use crate::paths::Paths;
use crate::proxy_record;
use crate::wiring::{alias, number_of};
use std::fs;
use std::io;
use workload::{
    Group, Network, NetworkNamespace, NodeNamespace, PROXY_INTERFACE, RcuExpediter, WORKLOAD_INTERFACE,
};

/// Removes workloads, programs, maps, the proxy and the files of a stopped agent. Missing parts are not errors. All
/// parts are tried before the first error is returned.
pub fn remove(config: &AgentConfig) -> anyhow::Result<()> {
    let paths = config.paths();
    let mut failures: Vec<anyhow::Error> = Vec::new();
    failures.extend(end_proxies(config, &paths).err());
    failures.extend(remove_links(config, &paths).err());
    failures.extend(remove_groups(&config.instance).map_err(anyhow::Error::from).err());
    failures.extend(loader::remove_pins(&paths.pins()).map_err(anyhow::Error::from).err());
    // The directory holds the mark of an agent that was killed.
    failures.extend(RcuExpediter::new(paths.hurry()).recover().map_err(anyhow::Error::from).err());
    for directory in [paths.directory(), paths.lasting()] {
        match fs::remove_dir_all(directory) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => failures.push(error.into()),
            _ => {}
        }
    }
    failures.into_iter().next().map_or(Ok(()), Err)
}

/// Ends the proxies, which are found from inside the network namespace that they serve.
fn end_proxies(config: &AgentConfig, paths: &Paths) -> anyhow::Result<()> {
    match &config.network_namespace {
        Some(name) if NetworkNamespace::names()?.contains(name) => {
            NetworkNamespace::open(name)?.enter(|| proxy_record::end(paths))?
        }
        _ => proxy_record::end(paths),
    }
}

/// Deletes the interfaces. Interfaces that the agent did not create stay, without programs.
fn remove_links(config: &AgentConfig, paths: &Paths) -> anyhow::Result<()> {
    let names = NetworkNamespace::names()?;
    let namespace = match &config.network_namespace {
        Some(name) if !names.contains(name) => return Ok(()),
        Some(name) => NetworkNamespace::open(name)?,
        None => NetworkNamespace::current()?,
    };
    namespace.enter(|| loader::detach_filters(&paths.pins()))??;
    let mut node = NodeNamespace::of(namespace)?;
    let prefix = alias(&config.instance, "");
    let links = node.network().links()?.into_iter().filter(|link| {
        // Interfaces of earlier releases have no alias; they disappear with the workload's namespace.
        link.alias.starts_with(&prefix) || (link.name == PROXY_INTERFACE && link.alias.is_empty())
    });
    node.network().delete_links(&links.collect::<Vec<_>>())?;
    for route in node.network().node_routes()? {
        node.network().delete_node_route(&route)?;
    }
    let ours = names.iter().filter(|name| number_of(name, &format!("nexin-{}-", config.instance)).is_some());
    for name in ours {
        if let Some(namespace) = NetworkNamespace::find(name)? {
            namespace.kill_all(None)?;
            Network::of(&namespace)?.delete_link(WORKLOAD_INTERFACE)?;
        }
        NetworkNamespace::delete(name)?;
    }
    Ok(())
}

/// Kills all processes in the control groups of an agent's workloads, and removes the groups.
fn remove_groups(instance: &str) -> io::Result<()> {
    let Some(hierarchy) = Group::hierarchy()? else { return Ok(()) };
    let groups = Group::at(hierarchy.join("nexin").join(instance));
    groups.kill().and_then(|()| groups.remove())?;
    // Another agent may have groups there.
    let _ = fs::remove_dir(hierarchy.join("nexin"));
    Ok(())
}
