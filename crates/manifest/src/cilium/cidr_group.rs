//! CiliumCIDRGroup: blocks of addresses outside the cluster, under a name and labels.

use crate::cidr;
use crate::header::Header;
use crate::item::{Fields, Item, Nulls};
use crate::object::CidrGroup;
use identity::{Labels, Source};
use policy::catalog::CidrGroupEntry;

/// Reads the fields beside the header.
pub(crate) fn cidr_group(mut fields: Fields<'_>, header: Header<'_>) -> Option<CidrGroup> {
    let spec = fields.require("spec");
    fields.ignore(&["status"]);
    fields.finish();
    let mut fields = spec?.fields(Nulls::Refused)?;
    let blocks = fields.require("externalCIDRs");
    fields.finish();
    let blocks = blocks.iter().flat_map(Item::list).filter_map(|item| cidr::block(&item)).collect();
    let mut labels = Labels::default();
    header.labels.into_iter().for_each(|(name, value)| labels.insert(Source::K8s, name, value));
    Some(CidrGroup { name: header.name?, group: CidrGroupEntry { labels, blocks } })
}
