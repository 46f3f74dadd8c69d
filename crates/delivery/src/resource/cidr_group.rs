//! CiliumCIDRGroup: blocks of addresses outside the cluster under one name.

use crate::custom_resource::{CustomResource, ServedVersion, root};
use crate::schema::{Schema, cidr, list, object};

pub(super) const RESOURCE: CustomResource = CustomResource {
    kind: "CiliumCIDRGroup",
    plural: "ciliumcidrgroups",
    short_names: &["ccg"],
    categories: &["cilium"],
    is_namespaced: false,
    has_status: false,
    columns: &[],
    versions: &[
        ServedVersion { name: "v2", is_deprecated: false },
        ServedVersion { name: "v2alpha1", is_deprecated: true },
    ],
    schema,
};

fn schema() -> Schema {
    let blocks = list(cidr()).about("The blocks, such as 192.0.2.0/24 or 2001:db8::/32.");
    let spec = object([("externalCIDRs", blocks)]).keeping_nulls().requires(["externalCIDRs"]);
    root("A list of blocks outside the cluster that policies refer to by name or labels.", [("spec", spec)])
        .requires(["spec"])
}
