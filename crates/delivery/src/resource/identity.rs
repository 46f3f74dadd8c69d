//! CiliumIdentity: the number of a set of labels; the number is the object's name.

use crate::custom_resource::{CustomResource, PrinterColumn, V2, root};
use crate::schema::{Schema, text_map};

pub(super) const RESOURCE: CustomResource = CustomResource {
    kind: "CiliumIdentity",
    plural: "ciliumidentities",
    short_names: &["ciliumid"],
    categories: &["cilium"],
    is_namespaced: false,
    has_status: false,
    columns: &[
        PrinterColumn::new("Namespace", "string", r".metadata.labels.io\.kubernetes\.pod\.namespace"),
        PrinterColumn::new("Age", "date", ".metadata.creationTimestamp"),
    ],
    versions: V2,
    schema,
};

fn schema() -> Schema {
    let labels =
        text_map().about("The labels that the identity stands for, each with its source: `k8s:app`.");
    root(
        "The identity of all endpoints with one set of security-relevant labels. Its name is the number.",
        [("security-labels", labels)],
    )
    .requires(["metadata", "security-labels"])
    .rule("self.metadata.name.matches('^[1-9][0-9]*$')", "the name of an identity is its number")
    .rule(
        "self.security__dash__labels == oldSelf.security__dash__labels",
        "an identity keeps its labels; other labels have another identity",
    )
}
