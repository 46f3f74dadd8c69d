//! The objects that a random world's policies refer to, and their manifests.

use identity::{Labels, Source};
use manifest::{CidrGroup, EndpointSlice, Endpoints, Object, Service};
use policy::catalog::Backends;
use policy::generate::GeneratedWorld;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The groups, services and endpoints of a world.
pub(crate) fn of(world: &GeneratedWorld) -> Vec<Object> {
    let groups = world.groups.iter();
    let groups =
        groups.map(|(name, group)| Object::CidrGroup(CidrGroup { name: name.clone(), group: group.clone() }));
    let services = world.services.iter().flat_map(|((namespace, name), service)| {
        let (selector, addresses) = match &service.backends {
            Backends::Selected(selector) => (selector.clone(), None),
            Backends::Addresses(addresses) => (BTreeMap::new(), Some(addresses.clone())),
        };
        let (namespace, name) = (namespace.clone(), name.clone());
        let endpoints = addresses.map(|addresses| {
            let (namespace, service) = (namespace.clone(), name.clone());
            Object::Endpoints(Endpoints {
                namespace,
                service,
                slice_name: None,
                slices: vec![EndpointSlice::of(addresses)],
            })
        });
        let (labels, ports) = (plain(&service.labels), Vec::new());
        let service = Service {
            namespace,
            name,
            labels,
            selector,
            addresses: Vec::new(),
            headless: true,
            external_name: None,
            keeps_clients: false,
            stays_on_node: false,
            ports,
        };
        [Some(Object::Service(service)), endpoints].into_iter().flatten()
    });
    groups.chain(services).collect()
}

/// The manifest of an object.
pub(crate) fn manifest(object: &Object) -> Value {
    match object {
        Object::CidrGroup(CidrGroup { name, group }) => {
            let blocks: Vec<String> = group.blocks.iter().map(ToString::to_string).collect();
            json!({
                "apiVersion": "cilium.io/v2",
                "kind": "CiliumCIDRGroup",
                "metadata": {"name": name, "labels": plain(&group.labels)},
                "spec": {"externalCIDRs": blocks},
            })
        }
        Object::Service(service) => {
            let mut spec = json!({"clusterIP": "None", "ports": [{"port": 80}]});
            if !service.selector.is_empty() {
                spec["selector"] = json!(service.selector);
            }
            let metadata =
                json!({"name": service.name, "namespace": service.namespace, "labels": service.labels});
            json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec})
        }
        Object::Endpoints(list) => {
            let addresses: Vec<Value> =
                list.addresses().iter().map(|address| json!({"ip": address})).collect();
            let subsets = if addresses.is_empty() { json!([]) } else { json!([{"addresses": addresses}]) };
            let metadata = json!({"name": list.service, "namespace": list.namespace});
            json!({"apiVersion": "v1", "kind": "Endpoints", "metadata": metadata, "subsets": subsets})
        }
        other => unreachable!("no policy refers to {}", other.name()),
    }
}

/// Labels of an object, without their source.
fn plain(labels: &Labels) -> BTreeMap<String, String> {
    let label = |name: &str| Some((name.to_owned(), labels.value(Some(&Source::K8s), name)?.to_owned()));
    ["tier"].into_iter().filter_map(label).collect()
}
