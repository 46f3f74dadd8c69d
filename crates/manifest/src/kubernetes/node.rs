//! Node: its labels and addresses.
//!
//! As for workloads, fields that policies do not depend on are ignored.

use crate::address;
use crate::header::Header;
use crate::item::{Fields, Item, Nulls};
use crate::object::NodeObject;
use std::net::IpAddr;

/// Reads the fields beside the header: `spec` and `status`.
pub(crate) fn node(mut fields: Fields<'_>, header: Header<'_>) -> Option<NodeObject> {
    let status = fields.take("status");
    fields.ignore(&["spec"]);
    fields.finish();
    let addresses = status.and_then(|item| item.fields(Nulls::Absent)?.take("addresses"));
    let addresses = addresses.iter().flat_map(Item::list).filter_map(|item| address_of(&item)).collect();
    Some(NodeObject { name: header.name?, labels: header.labels, addresses })
}

/// Reads `{type, address}`; none for a host name.
fn address_of(item: &Item<'_>) -> Option<IpAddr> {
    let mut fields = item.fields(Nulls::Absent)?;
    let (kind, text) = (fields.require("type"), fields.require("address"));
    fields.finish();
    let is_address = matches!(kind?.text()?, "InternalIP" | "ExternalIP");
    if is_address { address::one(&text?) } else { None }
}
