//! CiliumNode: a node with its addresses and the blocks that its endpoints take addresses from.

use crate::custom_resource::{CustomResource, PrinterColumn, V2, root};
use crate::schema::{Schema, cidr, integer, list, map_of, object, open_object, text, text_map};

pub(super) const RESOURCE: CustomResource = CustomResource {
    kind: "CiliumNode",
    plural: "ciliumnodes",
    short_names: &["cn", "ciliumn"],
    categories: &["cilium"],
    is_namespaced: false,
    has_status: true,
    columns: &[
        PrinterColumn::new(
            "CiliumInternalIP",
            "string",
            r#".spec.addresses[?(@.type=="CiliumInternalIP")].ip"#,
        ),
        PrinterColumn::new("InternalIP", "string", r#".spec.addresses[?(@.type=="InternalIP")].ip"#),
        PrinterColumn::wide("PodCIDRs", "string", ".spec.ipam.podCIDRs"),
        PrinterColumn::new("Age", "date", ".metadata.creationTimestamp"),
    ],
    versions: V2,
    schema,
};

fn schema() -> Schema {
    let address = object([("type", text()), ("ip", text())]);
    let both = || object([("ipv4", text()), ("ipv6", text())]);
    let spec = object([
        ("addresses", list(address)),
        ("bootid", text()),
        ("encryption", object([("key", integer())])),
        ("health", both()),
        ("ingress", both()),
        ("instance-id", text()),
        ("ipam", ipam()),
        ("eni", open_object()),
        ("azure", open_object()),
        ("alibaba-cloud", open_object()),
    ]);
    let allocated = || map_of(object([("owner", text()), ("resource", text())]));
    let status = object([
        (
            "ipam",
            object([
                ("used", allocated()),
                ("ipv6-used", allocated()),
                ("release-ips", text_map()),
                ("pod-cidrs", map_of(object([("status", text())]))),
                ("operator-status", object([("error", text())])),
            ]),
        ),
        ("eni", open_object()),
        ("azure", open_object()),
        ("alibaba-cloud", open_object()),
    ]);
    root(
        "A node with the blocks that its endpoints take addresses from.",
        [("spec", spec), ("status", status)],
    )
    .requires(["metadata", "spec"])
}

fn ipam() -> Schema {
    let addresses = || map_of(object([("owner", text()), ("resource", text())]));
    let count = || integer().with("minimum", 0);
    let pool = || text().with("minLength", 1);
    let needed = object([("ipv4-addrs", integer()), ("ipv6-addrs", integer())]);
    let allocated = object([
        ("pool", pool()),
        ("cidrs", list(cidr())),
        ("allowFirstIP", crate::schema::boolean()),
        ("allowLastIP", crate::schema::boolean()),
    ]);
    let pools = object([
        ("allocated", list(allocated.requires(["pool"]))),
        ("requested", list(object([("pool", pool()), ("needed", needed)]).requires(["pool"]))),
    ]);
    object([
        ("podCIDRs", list(cidr()).about("The blocks of the node. The operator writes them.")),
        ("pool", addresses()),
        ("ipv6-pool", addresses()),
        ("pools", pools),
        ("min-allocate", count()),
        ("max-allocate", count()),
        ("pre-allocate", count()),
        ("max-above-watermark", count()),
        ("static-ip-tags", text_map()),
    ])
}
