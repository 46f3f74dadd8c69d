//! Node: its labels, its addresses and the blocks of its pods.
//!
//! As for workloads, fields that policies do not depend on are ignored.

use crate::header::Header;
use crate::item::{Fields, Item, Nulls};
use crate::object::NodeObject;
use crate::{address, cidr};
use policy::rule::Cidr;
use std::net::IpAddr;

/// Reads the fields beside the header: `spec` and `status`.
pub(crate) fn node(mut fields: Fields<'_>, header: Header<'_>) -> Option<NodeObject> {
    let (spec, status) = (fields.take("spec"), fields.take("status"));
    fields.finish();
    let pod_blocks = spec.iter().flat_map(pod_blocks).collect();
    let addresses = status.and_then(|item| item.fields(Nulls::Absent)?.take("addresses"));
    let addresses: Vec<(bool, IpAddr)> =
        addresses.iter().flat_map(Item::list).filter_map(|item| address_of(&item)).collect();
    let internal = addresses.iter().filter(|(is_internal, _)| *is_internal);
    Some(NodeObject {
        name: header.name?,
        labels: header.labels,
        internal_addresses: internal.map(|(_, address)| *address).collect(),
        addresses: addresses.iter().map(|(_, address)| *address).collect(),
        pod_blocks,
    })
}

/// Reads `podCIDRs`, or the older `podCIDR`, which repeats the first of them.
fn pod_blocks(spec: &Item<'_>) -> Vec<Cidr> {
    let Some(mut fields) = spec.fields(Nulls::Absent) else { return Vec::new() };
    match (fields.take("podCIDRs"), fields.take("podCIDR")) {
        (Some(blocks), _) => blocks.list().iter().filter_map(cidr::block).collect(),
        (None, Some(one)) => cidr::block(&one).into_iter().collect(),
        (None, None) => Vec::new(),
    }
}

/// Reads `{type, address}`, and whether the address is for traffic within the cluster; none for a host name.
fn address_of(item: &Item<'_>) -> Option<(bool, IpAddr)> {
    let mut fields = item.fields(Nulls::Absent)?;
    let (kind, text) = (fields.require("type"), fields.require("address"));
    fields.finish();
    let is_internal = match kind?.text()? {
        "InternalIP" => true,
        "ExternalIP" => false,
        _ => return None,
    };
    Some((is_internal, address::one(&text?)?))
}
