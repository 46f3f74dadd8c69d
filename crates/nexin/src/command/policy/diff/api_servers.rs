//! The API servers of a comparison: hosts and nodes by the addresses that are listed for `default/kubernetes`.

use super::end_group::EndGroup;
use crate::command::policy::scenario::Scenario;
use abi::identity::{KUBE_APISERVER, REMOTE_NODE};
use agent::explain::{End, Inventory};
use identity::{Labels, Requirement, Selector, Source, key};
use policy::rule::Cidr;
use std::collections::BTreeSet;
use std::net::IpAddr;

/// Whether a selector asks for the label of API servers.
pub(super) fn are_asked_for(selector: &Selector) -> bool {
    let asks = |one: &Requirement| one.source == Some(Source::Reserved) && one.name == key::KUBE_APISERVER;
    selector.requirements().iter().any(asks)
}

/// API servers for rules that name them where none is known: one outside, also at an address of each of these blocks, and one
/// that is a node.
pub(super) fn made_up(places: &[(Cidr, IpAddr)]) -> Vec<End> {
    let outside = || End::new(key::KUBE_APISERVER, KUBE_APISERVER, Labels::reserved(key::KUBE_APISERVER));
    let mut node = Labels::reserved("remote-node");
    node.insert(Source::Reserved, key::KUBE_APISERVER, "");
    let node = End::new(&format!("{} on a node", key::KUBE_APISERVER), REMOTE_NODE, node);
    let at = |(block, address): &(Cidr, IpAddr)| {
        let name = format!("{} in {block}", key::KUBE_APISERVER);
        End { name, addresses: vec![*address], ..outside() }
    };
    [outside(), node].into_iter().chain(places.iter().map(at)).collect()
}

/// Whether an address of an API server is known in either world.
pub(super) fn are_known(worlds: &[Scenario; 2]) -> bool {
    !addresses(worlds).is_empty()
}

/// The API servers whose addresses are not the first of their family of any known group.
pub(super) fn unnamed(worlds: &[Scenario; 2], known: &[EndGroup]) -> Vec<EndGroup> {
    let is_asked = |end: &End, address: IpAddr| end.address(address.is_ipv4()) == Some(address);
    let is_known = |address: &IpAddr| {
        known
            .iter()
            .any(|group| group.ends.iter().all(|end| !end.addresses.is_empty() && is_asked(end, *address)))
    };
    let unnamed = addresses(worlds).into_iter().filter(|address| !is_known(address));
    let group = |address: IpAddr| {
        let ends = worlds.each_ref().map(|world| End { addresses: vec![address], ..world.at(address) });
        EndGroup { names: vec![address.to_string()], ends, has_any_ports: false }
    };
    unnamed.map(group).collect()
}

fn addresses(worlds: &[Scenario; 2]) -> BTreeSet<IpAddr> {
    worlds.iter().flat_map(|world| world.api_servers()).collect()
}
