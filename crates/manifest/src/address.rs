//! Addresses of workloads, services and hosts.

use crate::item::Item;
use std::net::IpAddr;

/// Reads one address.
pub(crate) fn one(item: &Item<'_>) -> Option<IpAddr> {
    let text = item.text()?;
    let address = text.parse().ok();
    if address.is_none() {
        item.error(format!(
            "{text:?} is not an IP address; write one such as \"10.0.0.1\" or \"2001:db8::1\""
        ));
    }
    address
}

/// Reads a list of addresses.
pub(crate) fn many(item: &Item<'_>) -> Vec<IpAddr> {
    item.list().iter().filter_map(one).collect()
}
