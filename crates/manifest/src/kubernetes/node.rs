//! NodeObject of Kubernetes: its labels and addresses, as much of it as a policy can see.
//!
//! As of workloads, fields that do not bear on policy are passed over.

use crate::address;
use crate::header::Header;
use crate::item::{Fields, Item, Nulls};
use crate::object::NodeObject;
use std::net::IpAddr;

/// Reads what stands beside the header: `spec` and `status`.
pub(crate) fn node(mut fields: Fields<'_>, header: Header<'_>) -> Option<NodeObject> {
    let status = fields.take("status");
    fields.ignore(&["spec"]);
    fields.finish();
    let addresses = status.and_then(|item| item.fields(Nulls::Absent)?.take("addresses"));
    let addresses = addresses.iter().flat_map(Item::list).filter_map(|item| address_of(&item)).collect();
    Some(NodeObject { name: header.name?, labels: header.labels, addresses })
}

/// Reads `{type, address}`; what is a name and no address gives nothing.
fn address_of(item: &Item<'_>) -> Option<IpAddr> {
    let mut fields = item.fields(Nulls::Absent)?;
    let (kind, text) = (fields.require("type"), fields.require("address"));
    fields.finish();
    let is_address = matches!(kind?.text()?, "InternalIP" | "ExternalIP");
    if is_address { address::one(&text?) } else { None }
}
