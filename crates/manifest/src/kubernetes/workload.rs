//! Pods, and the controllers that make them: as much of them as a network policy can see.
//!
//! Their schema is large and no part of it but labels and ports bears on policy, so fields that are not known are
//! passed over here, other than in policies.

use super::service::PROTOCOLS;
use crate::document::Header;
use crate::item::{Fields, Item, Nulls};
use crate::object::{NamedPort, Workload};
use crate::{label, name};
use service::Protocol;
use std::collections::BTreeMap;

/// Reads what stands beside the header of a pod or a controller.
pub(crate) fn workload(mut fields: Fields<'_>, header: Header<'_>) -> Option<Workload> {
    let spec = fields.require("spec");
    fields.ignore(&["status"]);
    fields.finish();
    let mut spec = spec?.fields(Nulls::Absent)?;
    let (replicas, labels, named_ports) = match header.kind {
        "Pod" => (1, header.labels, containers(&mut spec)),
        "DaemonSet" => {
            let (labels, ports) = template(&mut spec);
            (1, labels, ports)
        }
        _ => {
            let replicas = spec.take("replicas");
            let replicas = replicas.map_or(Some(1), |item| item.integer(0..=i64::from(u32::MAX)));
            let (labels, ports) = template(&mut spec);
            (replicas?, labels, ports)
        }
    };
    Some(Workload { namespace: header.namespace, name: header.name?, labels, replicas, named_ports })
}

/// The labels and named ports of `template`; its labels must be what `selector` asks for.
fn template(spec: &mut Fields<'_>) -> (BTreeMap<String, String>, Vec<NamedPort>) {
    let selector = spec.require("selector");
    let Some(template) = spec.require("template") else { return Default::default() };
    let Some(mut fields) = template.fields(Nulls::Absent) else { return Default::default() };
    let (metadata, pod) = (fields.require("metadata"), fields.require("spec"));
    let labels = metadata.and_then(|item| item.fields(Nulls::Absent)?.require("labels"));
    let labels = labels.map(|item| label::read(&item)).unwrap_or_default();
    let asked = selector.and_then(|item| item.fields(Nulls::Absent)?.take("matchLabels"));
    for (key, value) in asked.iter().flat_map(Item::entries) {
        if value.text().is_some_and(|text| labels.get(key).map(String::as_str) != Some(text)) {
            value.error("the pods of `template` do not have this label");
        }
    }
    let ports = pod.and_then(|item| item.fields(Nulls::Absent)).map(|mut pod| containers(&mut pod));
    (labels, ports.unwrap_or_default())
}

/// The ports that have names, of all containers.
fn containers(pod: &mut Fields<'_>) -> Vec<NamedPort> {
    let containers = pod.require("containers");
    let containers = containers.iter().flat_map(Item::list).collect::<Vec<_>>();
    let ports = containers.iter().filter_map(|item| item.fields(Nulls::Absent)?.take("ports"));
    ports.flat_map(|ports| ports.list()).filter_map(|item| port(&item)).collect()
}

fn port(item: &Item<'_>) -> Option<NamedPort> {
    let mut fields = item.fields(Nulls::Absent)?;
    let (name, port) = (fields.take("name"), fields.require("containerPort"));
    let protocol = fields.take("protocol");
    let protocol = protocol.map_or(Some(Protocol::Tcp), |item| item.one_of("protocol", PROTOCOLS));
    let port = port.and_then(|item| item.integer(1..=65_535));
    let name = name.and_then(|item| name::port(&item));
    Some(NamedPort { name: name?, protocol: protocol?, port: port? })
}
