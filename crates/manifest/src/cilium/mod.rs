//! CiliumNetworkPolicy and CiliumClusterwideNetworkPolicy, in their current form and in the form of 2017.

pub(crate) mod cidr_group;
mod conflicts;
mod cost;
mod http;
mod peers;
mod ports;
mod probes;
mod proxy_fields;
mod requests;
mod reserved;
mod rules;
mod scope;
mod secret;
mod section;
mod services;

use crate::header::Header;
use crate::item::{Fields, Item, Nulls};
use crate::order::Order;
use conflicts::ProxyRequirement;
use identity::Selector;
use policy::rule::{Policy, PolicyId, PolicyKind, Spec, Subject, Tier};
use scope::Scope;
use std::sync::Arc;

pub(crate) use peers::ENTITIES;
pub(crate) use ports::PROTOCOLS;

/// Reads the fields beside the header of a policy: `spec`, `specs`, `status` and, in 2017, `description`.
pub(crate) fn policy(mut fields: Fields<'_>, kind: PolicyKind, header: Header<'_>) -> Option<Policy> {
    let clusterwide = kind == PolicyKind::CiliumClusterwideNetworkPolicy;
    let order = Order::of(&header);
    let namespace = (!clusterwide).then(|| header.namespace.clone());
    let item = fields.item().clone();
    let (spec, specs) = (fields.take("spec"), fields.take("specs"));
    fields.ignore(&["status"]);
    if header.api_version == "cilium.io/v1" {
        fields.ignore(&["description"]);
    }
    fields.finish();
    let many = specs.as_ref().map(Item::list).unwrap_or_default();
    match (&spec, &specs) {
        (None, None) => item.error("`spec` and `specs` are missing; a policy needs at least one"),
        (None, Some(specs)) if many.is_empty() => specs.warn("is empty, so the policy has no effect"),
        _ => {}
    }
    let one = spec.iter().map(|item| (item.clone(), "spec".to_owned()));
    let many = many.into_iter().enumerate();
    let many = many.map(|(index, item)| (item, format!("specs[{index}]")));
    let mut requirements = Vec::new();
    let specs = one.chain(many).filter_map(|(item, place)| {
        let (mut spec, asked) = self::spec(&item, &place, namespace.as_deref())?;
        requirements.extend(asked);
        spec.tier = order.tier;
        spec.rules.iter_mut().for_each(|rule| rule.priority = order.priority);
        Some(spec)
    });
    let specs = specs.collect();
    conflicts::report(&requirements);
    Some(Policy { id: PolicyId { kind, namespace, name: header.name? }, specs })
}

/// Reads one `spec`, and what it requires of the proxy; `place` is the path prefix of its rules.
fn spec<'a>(
    item: &Item<'a>,
    place: &str,
    namespace: Option<&str>,
) -> Option<(Spec, Vec<ProxyRequirement<'a>>)> {
    let mark = item.report().mark();
    let mut fields = item.fields(Nulls::Pruned)?;
    let (subject, scope) = subject(&mut fields, namespace);
    let default_deny = fields.take("enableDefaultDeny");
    let sections = rules::sections(&mut fields, place, &subject, &scope);
    let log = metadata(&mut fields);
    fields.finish();
    let is_clean = item.report().is_clean_since(mark);
    if is_clean && !sections.has_ingress && !sections.has_egress {
        item.error(
            "the spec has no rule; write at least one of `ingress`, `ingressDeny`, `egress`, `egressDeny`",
        );
    }
    let asks_requests =
        sections.requirements.iter().find(|requirement| requirement.settings.requests.is_some());
    if let (Subject::Nodes(_), Some(requirement)) = (&subject, asks_requests) {
        requirement.item.not_supported("a rule for requests in a host policy");
    }
    cost::check(item, &sections.rules);
    let has = [sections.has_ingress, sections.has_egress];
    let [ingress, egress] = default_deny.map(|item| enable_default_deny(&item, has)).unwrap_or_default();
    let spec = Spec {
        subject,
        tier: Tier::Normal,
        log,
        default_deny_ingress: sections.has_ingress && ingress.unwrap_or(true),
        default_deny_egress: sections.has_egress && egress.unwrap_or(true),
        rules: sections.rules,
    };
    Some((spec, sections.requirements))
}

/// Reads `endpointSelector` or `nodeSelector`.
fn subject(fields: &mut Fields<'_>, namespace: Option<&str>) -> (Subject, Scope) {
    let (endpoints, nodes) = (fields.take("endpointSelector"), fields.take("nodeSelector"));
    match (endpoints, nodes) {
        (Some(endpoints), None) => {
            let (selector, scope) = scope::subject(&endpoints, namespace);
            return (Subject::Workloads(selector), scope);
        }
        (None, Some(nodes)) if namespace.is_none() => {
            return (Subject::Nodes(scope::nodes(&nodes)), Scope::Workloads);
        }
        (None, Some(nodes)) => {
            nodes.error("a namespaced policy cannot select nodes; use a CiliumClusterwideNetworkPolicy");
        }
        (Some(_), Some(nodes)) => {
            nodes.error("cannot be combined with `endpointSelector`; keep one of the two")
        }
        (None, None) => {
            fields.item().error("`endpointSelector` is missing; write `{}` for every workload");
        }
    }
    let scope = namespace.map_or(Scope::Workloads, |own| Scope::Namespace(own.to_owned()));
    (Subject::Workloads(Selector::default()), scope)
}

/// Reads `enableDefaultDeny: {ingress, egress}`. Without rules in a direction the field has no effect there, contrary
/// to its name, so that case is reported.
fn enable_default_deny(item: &Item<'_>, has_rules: [bool; 2]) -> [Option<bool>; 2] {
    let Some(mut fields) = item.fields(Nulls::Refused) else { return [None, None] };
    let names = ["ingress", "egress"];
    let given = names.map(|name| fields.take(name));
    fields.finish();
    std::array::from_fn(|index| {
        let (name, item) = (names[index], given[index].as_ref()?);
        let asked = item.boolean()?;
        if asked && !has_rules[index] {
            item.warn(format!(
                "denies nothing, because there is no {name} rule; write `{name}: [{{}}]` to deny all of it"
            ));
        }
        Some(asked)
    })
}

/// Reads the descriptive fields of a spec, and returns the log text.
fn metadata(fields: &mut Fields<'_>) -> Option<Arc<str>> {
    if let Some(item) = fields.take("description") {
        item.text();
    }
    for label in fields.take("labels").iter().flat_map(Item::list) {
        if let Some(mut fields) = label.fields(Nulls::Refused) {
            let texts = [fields.require("key"), fields.take("value"), fields.take("source")];
            fields.finish();
            texts.iter().flatten().for_each(Item::check_text);
        }
    }
    let mut fields = fields.take("log")?.fields(Nulls::Refused)?;
    let value = fields.require("value");
    fields.finish();
    let value = value?;
    let text = value.text()?;
    if text.chars().count() > 32 || text.chars().any(char::is_control) {
        value.error("must be at most 32 printable characters");
    }
    Some(text.into())
}
