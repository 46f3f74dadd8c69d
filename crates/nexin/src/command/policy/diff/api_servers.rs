//! The API servers of a comparison: hosts and nodes by the addresses that are listed for `default/kubernetes`.

use super::parties::Party;
use crate::command::policy::scenario::Scenario;
use agent::explain::{End, Surroundings};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// Whether an address of an API server is known in either world.
pub(super) fn are_known(worlds: &[Scenario; 2]) -> bool {
    !addresses(worlds).is_empty()
}

/// The API servers whose addresses none of the known parties is asked about by.
pub(super) fn unnamed(worlds: &[Scenario; 2], known: &[Party]) -> Vec<Party> {
    let is_asked = |end: &End, address: IpAddr| end.address(address.is_ipv4()) == Some(address);
    let is_known = |address: &IpAddr| {
        known
            .iter()
            .any(|party| party.ends.iter().all(|end| !end.addresses.is_empty() && is_asked(end, *address)))
    };
    let unnamed = addresses(worlds).into_iter().filter(|address| !is_known(address));
    let party = |address: IpAddr| {
        let ends = worlds.each_ref().map(|world| End { addresses: vec![address], ..world.at(address) });
        Party { names: vec![address.to_string()], ends, has_any_ports: false }
    };
    unnamed.map(party).collect()
}

fn addresses(worlds: &[Scenario; 2]) -> BTreeSet<IpAddr> {
    worlds.iter().flat_map(|world| world.api_servers()).collect()
}
