//! CiliumNetworkPolicy and CiliumClusterwideNetworkPolicy, of today and in the form of 2017.

pub(crate) mod cidr_group;
mod http;
mod peers;
mod ports;
mod rules;
mod scope;

use crate::document::Header;
use crate::item::{Fields, Item, Nulls};
use crate::order::Order;
use policy::rule::{Kind, Policy, PolicyId, Spec, Subject, Tier};

/// Reads what stands beside the header of a policy: `spec`, `specs`, `status` and, in 2017, `description`.
pub(crate) fn policy(mut fields: Fields<'_>, kind: Kind, header: Header<'_>) -> Option<Policy> {
    let clusterwide = kind == Kind::CiliumClusterwideNetworkPolicy;
    let order = Order::of(&header);
    let namespace = (!clusterwide).then(|| header.namespace.clone());
    let (spec, specs) = (fields.take("spec"), fields.take("specs"));
    fields.ignore(&["status"]);
    if header.api_version == "cilium.io/v1" {
        fields.ignore(&["description"]);
    }
    if spec.is_none() && specs.is_none() {
        fields.item().error("neither `spec` nor `specs` is there; a policy needs at least one");
    }
    fields.finish();
    let one = spec.iter().map(|item| (item.clone(), "spec".to_owned()));
    let many = specs.iter().flat_map(Item::list).enumerate();
    let many = many.map(|(index, item)| (item, format!("specs[{index}]")));
    let specs = one.chain(many).filter_map(|(item, place)| {
        let mut spec = self::spec(&item, &place, namespace.as_deref())?;
        spec.tier = order.tier;
        spec.rules.iter_mut().for_each(|rule| rule.priority = order.priority);
        Some(spec)
    });
    let specs = specs.collect();
    Some(Policy { id: PolicyId { kind, namespace, name: header.name? }, specs })
}

/// Reads one `spec`; `place` is what its rules call it.
fn spec(item: &Item<'_>, place: &str, namespace: Option<&str>) -> Option<Spec> {
    let mark = item.report().mark();
    let mut fields = item.fields(Nulls::Refused)?;
    let (endpoints, nodes) = (fields.take("endpointSelector"), fields.take("nodeSelector"));
    match (&endpoints, &nodes) {
        (Some(_), Some(nodes)) => nodes.error("`endpointSelector` is there too; keep one of the two"),
        (None, Some(nodes)) if namespace.is_some() => {
            nodes.error("a policy of a namespace is not about nodes; use a CiliumClusterwideNetworkPolicy");
        }
        (None, Some(nodes)) => nodes.not_supported("`nodeSelector`"),
        (None, None) => item.error("`endpointSelector` is missing; write `{}` for every workload"),
        (Some(_), None) => {}
    }
    let (subject, scope) = match endpoints {
        Some(endpoints) => scope::subject(&endpoints, namespace),
        None => Default::default(),
    };
    let default_deny = fields.take("enableDefaultDeny");
    let sections = rules::sections(&mut fields, place, &scope);
    metadata(&mut fields);
    fields.finish();
    let is_clean = item.report().is_clean_since(mark);
    if is_clean && !sections.has_ingress && !sections.has_egress {
        item.error("there is no rule; give at least one of `ingress`, `ingressDeny`, `egress`, `egressDeny`");
    }
    let (ingress, egress) = default_deny.map(|item| enable_default_deny(&item)).unwrap_or_default();
    Some(Spec {
        subject: Subject::Workloads(subject),
        tier: Tier::Normal,
        log: None,
        default_deny_ingress: sections.has_ingress && ingress.unwrap_or(true),
        default_deny_egress: sections.has_egress && egress.unwrap_or(true),
        rules: sections.rules,
    })
}

/// Reads `enableDefaultDeny: {ingress, egress}`. It cannot ask for what a direction without rules does not do.
fn enable_default_deny(item: &Item<'_>) -> (Option<bool>, Option<bool>) {
    let Some(mut fields) = item.fields(Nulls::Refused) else { return (None, None) };
    let (ingress, egress) = (fields.take("ingress"), fields.take("egress"));
    fields.finish();
    (ingress.and_then(|item| item.boolean()), egress.and_then(|item| item.boolean()))
}

/// Reads what a spec says about itself and what decides nothing.
fn metadata(fields: &mut Fields<'_>) {
    if let Some(item) = fields.take("description") {
        item.text();
    }
    for label in fields.take("labels").iter().flat_map(Item::list) {
        if let Some(mut fields) = label.fields(Nulls::Refused) {
            fields.require("key");
            fields.ignore(&["value", "source"]);
            fields.finish();
        }
    }
    let Some(item) = fields.take("log") else { return };
    let Some(mut fields) = item.fields(Nulls::Refused) else { return };
    if let Some(value) = fields.require("value") {
        let text = value.text().unwrap_or_default();
        if text.chars().count() > 32 || text.chars().any(char::is_control) {
            value.error("must be at most 32 printable characters");
        }
        value.warn("flows do not carry it yet");
    }
    fields.finish();
}
