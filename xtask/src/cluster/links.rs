//! The network of a cluster: a namespace for each machine, a bridge in that of the plane, and routes to the pods.

use super::plan::{Machine, Name, Network, Plan};
use crate::command::run;
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The bridge between the machines, in the plane's namespace.
const BRIDGE: &str = "machines";
/// The interface of a node.
const INTERFACE: &str = "eth0";

/// Makes the namespaces, connected with each other and with nothing else.
pub(super) fn make(plan: &Plan) -> Result<()> {
    add(&plan.name, Machine::Plane)?;
    within(&plan.name, Machine::Plane, &["link", "add", BRIDGE, "type", "bridge"])?;
    set_addresses(&plan.name, Machine::Plane, BRIDGE)?;
    for node in plan.node_machines() {
        make_node(plan, node)?;
        route_to_pods(&plan.name, Machine::Plane, node)?;
    }
    Ok(())
}

/// Replaces the namespace of a node, as a restart of its kernel would: what was set up in it is gone.
pub(super) fn renew(plan: &Plan, node: Machine) -> Result<()> {
    // The kernel removes the interfaces of a namespace some time after the namespace, so the node's port at the bridge, and with it
    // the other end, is deleted first; a start that failed may have left none.
    let _ = within(&plan.name, Machine::Plane, &["link", "delete", &node.to_string()]);
    ip(&["netns", "delete", &plan.name.namespace(node)])?;
    make_node(plan, node)
}

fn make_node(plan: &Plan, node: Machine) -> Result<()> {
    add(&plan.name, node)?;
    connect(&plan.name, node)?;
    // The reference plugins leave the routes between nodes to others.
    let others = plan.node_machines().filter(|other| plan.network == Network::Bridge && *other != node);
    others.into_iter().try_for_each(|other| route_to_pods(&plan.name, node, other))
}

fn add(name: &Name, machine: Machine) -> Result<()> {
    ip(&["netns", "add", &name.namespace(machine)])?;
    within(name, machine, &["link", "set", "lo", "up"])
}

/// Connects a node with the bridge; packets to all other networks leave by the plane.
fn connect(name: &Name, node: Machine) -> Result<()> {
    let (port, plane) = (node.to_string(), name.namespace(Machine::Plane));
    within(name, node, &["link", "add", INTERFACE, "type", "veth", "peer", "name", &port, "netns", &plane])?;
    within(name, Machine::Plane, &["link", "set", &port, "master", BRIDGE, "up"])?;
    set_addresses(name, node, INTERFACE)?;
    for address in Machine::Plane.addresses() {
        within(name, node, &["route", "add", "default", "via", &address])?;
    }
    Ok(())
}

/// Takes the link of a node down, or up again, at the bridge: the node keeps its interface, addresses and routes.
pub(super) fn set_connected(name: &Name, node: Machine, is_connected: bool) -> Result<()> {
    let state = if is_connected { "up" } else { "down" };
    within(name, Machine::Plane, &["link", "set", &node.to_string(), state])
}

/// Gives an interface the addresses of its machine, and brings it up.
fn set_addresses(name: &Name, machine: Machine, interface: &str) -> Result<()> {
    let [v4, v6] = machine.addresses();
    within(name, machine, &["addr", "add", &format!("{v4}/24"), "dev", interface])?;
    // Without duplicate address detection, which keeps an address unusable for a second.
    within(name, machine, &["addr", "add", &format!("{v6}/64"), "dev", interface, "nodad"])?;
    within(name, machine, &["link", "set", interface, "up"])
}

/// Adds routes to the pods of a node.
fn route_to_pods(name: &Name, from: Machine, to: Machine) -> Result<()> {
    let blocks = to.pod_blocks().context("the plane has no pods")?;
    for (block, address) in blocks.iter().zip(to.addresses()) {
        within(name, from, &["route", "add", block, "via", &address])?;
    }
    Ok(())
}

/// The path of the network namespace of a machine.
pub(super) fn namespace_path(name: &Name, machine: Machine) -> PathBuf {
    Path::new("/run/netns").join(name.namespace(machine))
}

/// A command in the network namespace of a machine, which keeps the mounts of this machine.
pub(super) fn command_within(name: &Name, machine: Machine, program: &Path) -> Command {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net=/run/netns/{}", name.namespace(machine))).arg("--").arg(program);
    command
}

/// Removes the namespaces of a cluster, and with them all interfaces and routes.
pub(super) fn remove(name: &Name) -> Result<()> {
    namespaces(name)?.iter().try_for_each(|namespace| ip(&["netns", "delete", namespace]).map(drop))
}

/// The namespaces of a cluster that exist.
pub(super) fn namespaces(name: &Name) -> Result<Vec<String>> {
    let listed = ip(&["netns", "list"])?;
    let namespaces = listed.lines().filter_map(|line| line.split_whitespace().next());
    Ok(namespaces.filter(|namespace| name.machine_of(namespace).is_some()).map(str::to_owned).collect())
}

/// Deletes an interface of a machine.
pub(super) fn delete(name: &Name, machine: Machine, interface: &str) -> Result<()> {
    within(name, machine, &["link", "delete", interface])
}

fn within(name: &Name, machine: Machine, arguments: &[&str]) -> Result<()> {
    let namespace = name.namespace(machine);
    // Routes and addresses of both families take the family from their argument.
    let family: &[&str] =
        if arguments.iter().any(|argument| argument.contains("::")) { &["-6"] } else { &[] };
    ip(&[&["-n", &namespace], family, arguments].concat()).map(drop)
}

fn ip(arguments: &[&str]) -> Result<String> {
    run(Command::new("ip").args(arguments))
}
