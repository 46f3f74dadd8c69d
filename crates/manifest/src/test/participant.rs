//! The participants of a test: workloads, nodes, external hosts and their domain names.

use super::end::{HOST, WorkloadName};
use super::known_names::KnownNames;
use crate::item::{Item, Nulls};
use crate::kubernetes::service::PROTOCOLS;
use crate::object::{NamedPort, Namespace};
use crate::{address, domain, label, name};
use identity::key;
use policy::domain::{DomainPattern, canonical_name};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// A workload as a test describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkloadState {
    /// Its name.
    pub name: WorkloadName,
    /// Its own labels. A service account other than `default` has the key [`identity::key::SERVICE_ACCOUNT`].
    pub labels: BTreeMap<String, String>,
    /// Its addresses. The engine may assign addresses of a missing family; without addresses it must.
    pub addresses: Vec<IpAddr>,
    /// Its named ports.
    pub named_ports: Vec<NamedPort>,
    /// Whether it uses the host network, if the test specifies it; such a workload is the node for policies.
    pub host_network: Option<bool>,
    /// The node that it runs on; none for the local node.
    pub node: Option<String>,
}

/// A node of the cluster as a test describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeState {
    /// Its name; `host` is the local node.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its addresses; none for the local node, which has its own.
    pub addresses: Vec<IpAddr>,
}

/// A host outside the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct External {
    /// Its name in this test.
    pub name: String,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
}

/// The domain names of external hosts, in the form that names are compared in.
pub type ExternalNames = BTreeMap<String, BTreeSet<String>>;

pub(super) fn namespace(item: &Item<'_>) -> Option<Namespace> {
    let mut fields = item.fields(Nulls::Refused)?;
    let (name, labels) = (fields.require("name"), fields.take("labels"));
    fields.finish();
    let labels = labels.map(|item| label::read(&item)).unwrap_or_default();
    Some(Namespace { name: name::namespace(&name?)?, labels })
}

pub(super) fn workload(item: &Item<'_>) -> Option<WorkloadState> {
    let mut fields = item.fields(Nulls::Refused)?;
    let (name, namespace) = (fields.require("name"), fields.take("namespace"));
    let (given, ips, ports) = (fields.take("labels"), fields.take("ips"), fields.take("namedPorts"));
    let [shares, node, account] =
        ["hostNetwork", "nodeName", "serviceAccountName"].map(|name| fields.take(name));
    fields.finish();
    let name = name.and_then(|item| name::object(&item));
    let namespace = namespace.map_or(Some("default".to_owned()), |item| name::namespace(&item));
    let mut labels = given.map(|item| label::own(label::read(&item), &item)).unwrap_or_default();
    if let Some(account) = account.and_then(|item| name::object(&item)) {
        labels.insert(key::SERVICE_ACCOUNT.to_owned(), account);
    }
    let host_network = shares.and_then(|item| item.boolean());
    if let Some(ips) = ips.as_ref().filter(|_| host_network == Some(true)) {
        ips.error("a workload of the host network has the addresses of its node; leave `ips` out");
    }
    if let Some(node) = node.as_ref().filter(|_| host_network != Some(true)) {
        node.error("only workloads of the host network may be on another node; give `hostNetwork: true`");
    }
    let addresses = ips.map(|item| address::many(&item)).unwrap_or_default();
    let ports = ports.iter().flat_map(Item::entries).filter_map(|(name, port)| named_port(name, &port));
    let named_ports = ports.collect();
    Some(WorkloadState {
        name: WorkloadName { namespace: namespace?, name: name? },
        labels,
        addresses,
        named_ports,
        host_network,
        node: node.and_then(|item| name::object(&item)),
    })
}

/// Reads `name: 80/TCP`.
fn named_port(name: &str, item: &Item<'_>) -> Option<NamedPort> {
    if !item.is_text() {
        item.error("a port is given with its protocol, such as 80/TCP, 53/UDP or 9/SCTP");
        return None;
    }
    let text = item.text()?;
    let parts = text.split_once('/').and_then(|(port, protocol)| {
        let protocol = PROTOCOLS.iter().find(|(known, _)| *known == protocol)?.1;
        Some((port.parse().ok().filter(|port| *port > 0)?, protocol))
    });
    if parts.is_none() {
        item.error(format!("{text:?} is not a port; write one such as 80/TCP, 53/UDP or 9/SCTP"));
    }
    if !name::is_port_name(name) {
        item.error(format!(
            "{name:?} is not a valid port name; write at most 15 letters, digits and single `-`"
        ));
    }
    let (port, protocol) = parts?;
    Some(NamedPort { name: name.to_lowercase(), protocol, port })
}

pub(super) fn node(item: &Item<'_>) -> Option<NodeState> {
    let mut fields = item.fields(Nulls::Refused)?;
    let (name, labels, ips) = (fields.require("name"), fields.take("labels"), fields.take("ips"));
    fields.finish();
    let name = name::object(&name?)?;
    let labels = labels.map(|item| label::read(&item)).unwrap_or_default();
    let addresses = ips.as_ref().map(address::many).unwrap_or_default();
    match ips {
        Some(ips) if name == HOST => ips.error("the local node has addresses of its own; leave `ips` out"),
        _ if name != HOST && addresses.is_empty() => {
            item.error("has no address; another node is known by its addresses, so list them in `ips`");
        }
        _ => {}
    }
    Some(NodeState { name, labels, addresses })
}

/// Reads an external host, and adds its names to `known`.
pub(super) fn external(item: &Item<'_>, known: &mut ExternalNames) -> Option<External> {
    let mut fields = item.fields(Nulls::Refused)?;
    let (name, ips, names) = (fields.require("name"), fields.require("ips"), fields.take("names"));
    fields.finish();
    let name = name.and_then(|item| name::object(&item));
    let addresses = address::many(&ips?);
    if addresses.is_empty() {
        item.error("`ips` lists no address; an external is known by its addresses");
    }
    if let (Some(name), Some(names)) = (&name, names) {
        known.insert(name.clone(), domain_names(&names));
    }
    Some(External { name: name?, addresses })
}

/// Reads `{external: [names]}`: the names of each from now on.
pub(super) fn names(item: &Item<'_>, world: &KnownNames<'_>) -> ExternalNames {
    let entries = item.entries().into_iter();
    let entries = entries.filter_map(|(name, names)| {
        world.external(name, &names)?;
        Some((name.to_owned(), domain_names(&names)))
    });
    entries.collect()
}

fn domain_names(item: &Item<'_>) -> BTreeSet<String> {
    let name = |item: &Item<'_>| {
        let text = item.text()?;
        domain::checked(item, DomainPattern::name(text)).map(|_| canonical_name(text))
    };
    item.list().iter().filter_map(name).collect()
}
