//! The API servers of a comparison: hosts and nodes with the addresses that are listed for `default/kubernetes`.

use super::end_group::EndGroup;
use crate::command::policy::scenario::Scenario;
use abi::identity::{KUBE_APISERVER, REMOTE_NODE};
use agent::explain::{ConnectionEnd, Inventory};
use identity::{Labels, Requirement, Selector, Source, key};
use policy::rule::Cidr;
use std::collections::BTreeSet;
use std::net::IpAddr;

/// Whether a selector has a requirement on the label of API servers.
pub(super) fn are_selected_by(selector: &Selector) -> bool {
    let asks = |one: &Requirement| one.source == Some(Source::Reserved) && one.name == key::KUBE_APISERVER;
    selector.requirements().iter().any(asks)
}

/// Generated API servers, for rules that name API servers if none is known: an external host, also with an address of
/// each of these blocks, and a node.
pub(super) fn generated(places: &[(Cidr, IpAddr)]) -> Vec<ConnectionEnd> {
    let outside =
        || ConnectionEnd::new(key::KUBE_APISERVER, KUBE_APISERVER, Labels::reserved(key::KUBE_APISERVER));
    let mut node = Labels::reserved("remote-node");
    node.insert(Source::Reserved, key::KUBE_APISERVER, "");
    let node = ConnectionEnd::new(&format!("{} on a node", key::KUBE_APISERVER), REMOTE_NODE, node);
    let at = |(block, address): &(Cidr, IpAddr)| {
        let name = format!("{} in {block}", key::KUBE_APISERVER);
        ConnectionEnd { name, addresses: vec![*address], ..outside() }
    };
    [outside(), node].into_iter().chain(places.iter().map(at)).collect()
}

/// Whether either scenario lists an address of an API server.
pub(super) fn are_known(worlds: &[Scenario; 2]) -> bool {
    !addresses(worlds).is_empty()
}

/// The API servers whose address is not the first of its family of any known end.
pub(super) fn remaining(worlds: &[Scenario; 2], known: &[EndGroup]) -> Vec<EndGroup> {
    let is_compared = |end: &ConnectionEnd, address: IpAddr| end.address(address.is_ipv4()) == Some(address);
    let is_known = |address: &IpAddr| {
        known
            .iter()
            .any(|group| group.ends.iter().all(|end| !end.addresses.is_empty() && is_compared(end, *address)))
    };
    let others = addresses(worlds).into_iter().filter(|address| !is_known(address));
    let group = |address: IpAddr| {
        let ends =
            worlds.each_ref().map(|world| ConnectionEnd { addresses: vec![address], ..world.at(address) });
        EndGroup { names: vec![address.to_string()], ends, has_any_ports: false }
    };
    others.map(group).collect()
}

fn addresses(worlds: &[Scenario; 2]) -> BTreeSet<IpAddr> {
    worlds.iter().flat_map(|world| world.api_servers()).collect()
}
