//! The schemas of the four lists of rules: peers, ports, ICMP messages, authentication.

use super::ports::{self, MAX_PORTS};
use super::selector::{domain, namespace, object_name, selector};
use crate::schema::{Schema, cidr, list, number_or_text, object, one_of, text, text_map};
use manifest::vocabulary;

/// The fields of peers that both directions have, under `from` or `to`.
fn peers(prefix: &str) -> Vec<(String, Schema)> {
    let requires = list(selector()).with("maxItems", 0).about("No longer supported; must be empty.");
    let fields = [
        ("Endpoints", list(selector()).about("Peers by their labels.")),
        ("Entities", list(one_of(vocabulary::entities())).about("Peers by kind, such as `world`.")),
        ("CIDR", list(cidr()).about("Peers outside the cluster by block.")),
        ("CIDRSet", list(cidr_rule()).about("Peers outside the cluster by block or CiliumCIDRGroup.")),
        ("Nodes", list(selector()).about("Nodes by their labels.")),
        ("Groups", list(group())),
        ("Requires", requires),
    ];
    fields.into_iter().map(|(name, schema)| (format!("{prefix}{name}"), schema)).collect()
}

/// A rule of `ingress` or `ingressDeny`.
pub(super) fn ingress(is_deny: bool) -> Schema {
    rule(peers("from"), is_deny)
}

/// A rule of `egress` or `egressDeny`.
pub(super) fn egress(is_deny: bool) -> Schema {
    let mut fields = peers("to");
    fields.push(("toServices".into(), list(service()).about("Services by name or labels.")));
    let domains = list(domain()).about("Peers outside the cluster by domain name.");
    // A deny rule cannot match domain names: an address that no lookup returned yet would pass.
    if !is_deny {
        fields.push(("toFQDNs".into(), domains));
    }
    rule(fields, is_deny)
}

fn rule(mut fields: Vec<(String, Schema)>, is_deny: bool) -> Schema {
    fields.push(("toPorts".into(), if is_deny { ports::plain() } else { ports::inspected() }));
    fields.push(("icmps".into(), icmps()));
    if !is_deny {
        let modes = one_of(["disabled", "required", "test-always-fail"]);
        fields.push(("authentication".into(), object([("mode", modes)]).requires(["mode"])));
    }
    fields.into_iter().fold(object([]), |rule, (name, field)| rule.and(&name, field))
}

fn cidr_rule() -> Schema {
    object([
        ("cidr", cidr()),
        ("cidrGroupRef", object_name()),
        ("cidrGroupSelector", selector()),
        ("except", list(cidr()).about("Blocks within the block that do not match.")),
    ])
    .exactly_one_of(["cidr", "cidrGroupRef", "cidrGroupSelector"])
}

fn group() -> Schema {
    let aws = object([
        ("labels", text_map()),
        ("securityGroupsIds", list(text())),
        ("securityGroupsNames", list(text())),
        ("region", text()),
    ]);
    object([("aws", aws)]).requires(["aws"])
}

fn service() -> Schema {
    let named = object([("serviceName", object_name()), ("namespace", namespace())]);
    let labelled = object([("selector", selector()), ("namespace", namespace())]);
    object([
        ("k8sService", named.requires(["serviceName"])),
        ("k8sServiceSelector", labelled.requires(["selector"])),
    ])
    .exactly_one_of(["k8sService", "k8sServiceSelector"])
}

fn icmps() -> Schema {
    let number = "25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9]";
    let names: Vec<&str> = vocabulary::icmp_types().collect();
    let kind = number_or_text()
        .with("minimum", 0)
        .with("maximum", 255)
        .with("pattern", format!("^({number}|{})$", names.join("|")));
    let field = object([("family", one_of(["IPv4", "IPv6"])), ("type", kind)]).requires(["type"]);
    list(object([("fields", list(field).with("maxItems", MAX_PORTS))]))
}
