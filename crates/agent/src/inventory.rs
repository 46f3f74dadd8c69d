//! The published world as an inventory for `explain`: workloads, nodes and services by name and address.

use crate::explain::{ConnectionEnd, Inventory};
use control::Snapshot;
use identity::{Labels, Source, key};
use policy::set::SubmittedPolicies;
use service::{Candidate, EndpointSlice, Service};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

impl Inventory for Snapshot {
    fn named(&self, text: &str) -> Option<ConnectionEnd> {
        let (namespace, name) = text.split_once('/').unwrap_or(("default", text));
        let named = || workload(self, self.workload_named(namespace, name)?);
        let node = || self.remote_nodes().find(|node| node.name == text).map(|node| remote_node(self, node));
        match text {
            "host" => Some(host(self)),
            _ if !self.node().name.is_empty() && self.node().name == text => Some(host(self)),
            _ => named().or_else(node),
        }
    }

    fn at(&self, address: IpAddr) -> ConnectionEnd {
        let is_owner = |node: &&control::RemoteNode| node.addresses.contains(&address);
        let node = || self.remote_nodes().find(is_owner).map(|node| remote_node(self, node));
        match self.workload_at(address).and_then(|id| workload(self, id)) {
            Some(found) => found,
            None if self.node().addresses.contains(&address) => host(self),
            None => node().unwrap_or_else(|| external(self, address)),
        }
    }

    /// The labels that the known workloads of the namespace have; none without such a workload.
    fn namespace_labels(&self, name: &str) -> Vec<(&str, &str)> {
        let mut within = self.workloads().filter(|(_, workload)| workload.namespace == name);
        let labels = within.find_map(|(id, _)| self.view(id)).map(|view| view.labels);
        let labels = labels.into_iter().flat_map(Labels::iter);
        labels
            .filter_map(|(key, value)| Some((key.name.strip_prefix(key::NAMESPACE_LABELS)?, value)))
            .collect()
    }

    fn candidates(&self) -> Vec<Candidate> {
        let candidates = self.endpoints().values().map(|endpoint| Candidate {
            namespace: endpoint.workload.namespace.clone(),
            labels: endpoint.workload.labels.clone(),
            addresses: endpoint.workload.addresses.clone(),
            named_ports: endpoint.workload.named_ports.clone(),
        });
        candidates.collect()
    }

    fn services(&self) -> Box<dyn Iterator<Item = &Service> + '_> {
        Box::new(Self::services(self).services())
    }

    fn listed_slices(&self, service: &Service) -> Vec<&EndpointSlice> {
        Self::services(self).listed(&service.full_name()).collect()
    }

    fn api_servers(&self) -> BTreeSet<IpAddr> {
        Self::api_servers(self).clone()
    }

    fn policies(&self) -> &SubmittedPolicies {
        Self::policies(self)
    }

    fn audits(&self) -> bool {
        self.node().audit
    }

    fn workloads(&self) -> Vec<String> {
        let names = Self::workloads(self);
        names.map(|(_, workload)| format!("{}/{}", workload.namespace, workload.name)).collect()
    }

    fn place(&self) -> &'static str {
        "known to this node"
    }
}

/// A workload of this node or of another. Whether audit mode is on there is not known here.
fn workload(world: &Snapshot, id: u32) -> Option<ConnectionEnd> {
    let workload = world.workload(id)?;
    let name = format!("{}/{}", workload.namespace, workload.name);
    let end = match world.view(id) {
        Some(view) => ConnectionEnd {
            ports: view.ports,
            ..ConnectionEnd::new(&name, view.identity, view.labels.clone())
        },
        None => ConnectionEnd::new(&name, abi::identity::INIT, Labels::default()),
    };
    let audit = world.endpoints().get(&id).is_some_and(|endpoint| endpoint.audit || world.node().audit);
    let node = world.remote_workloads().get(&id).map(|remote| remote.node.clone());
    Some(ConnectionEnd { addresses: workload.addresses.clone(), is_one: true, audit, node, ..end })
}

fn host(world: &Snapshot) -> ConnectionEnd {
    let node = world.node();
    let labels = labelled("host", &node.labels);
    let (addresses, audit, node) = (node.addresses.clone(), node.audit, Some(node.name.clone()));
    let end = ConnectionEnd {
        addresses,
        is_one: true,
        audit,
        node,
        ..ConnectionEnd::new("host", abi::identity::HOST, labels)
    };
    end.among(world.api_servers())
}

fn remote_node(world: &Snapshot, node: &control::RemoteNode) -> ConnectionEnd {
    let (labels, addresses) = (labelled("remote-node", &node.labels), node.addresses.clone());
    let end = ConnectionEnd {
        addresses,
        is_one: true,
        ..ConnectionEnd::new(&node.name, abi::identity::REMOTE_NODE, labels)
    };
    end.among(world.api_servers())
}

fn labelled(kind: &str, own: &BTreeMap<String, String>) -> Labels {
    let mut labels = Labels::reserved(kind);
    own.iter().for_each(|(name, value)| labels.insert(Source::K8s, name.as_str(), value.as_str()));
    labels
}

/// An address outside the cluster, with its known domain names.
fn external(world: &Snapshot, address: IpAddr) -> ConnectionEnd {
    let number = abi::identity::WORLD;
    let labels = world.labels(number).map(|labels| Labels::clone(labels)).unwrap_or_default();
    let (names, addresses) = (world.names().of(address).clone(), vec![address]);
    ConnectionEnd { names, addresses, ..ConnectionEnd::new(&address.to_string(), number, labels) }
        .among(world.api_servers())
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::ExplainProbe;
    use api::view::Explanation;
    use control::{Change, Node, World};
    use identity::{Operator, Selector};
    use policy::fixtures::{allow, app, policy, spec, tcp};
    use policy::rule::Direction::Ingress;
    use policy::rule::{Entity, Policy, PolicyId, PolicyKind, Subject, Traffic};

    /// A workload with a port `http`, whose name is its label `app`.
    fn endpoint(id: u32, name: &str, audit: bool) -> Change {
        let mut endpoint = control::fixtures::endpoint(id, "default", name);
        (endpoint.workload.name, endpoint.audit) = (name.into(), audit);
        endpoint.workload.named_ports = service::fixtures::http(80);
        Change::Endpoint(Box::new(endpoint))
    }

    /// app2 may connect to port 80 of app1.
    fn rule() -> Change {
        let rule = allow(Ingress, app("app2"), tcp(80));
        Change::Policy(policy("rule", [spec(app("app1"), [rule])]))
    }

    /// All of the cluster may connect to the nodes of role `w`.
    fn host_policy() -> Change {
        let nodes = Selector::default().with(Some(Source::K8s), "role", Operator::equals("w"));
        let rule = allow(Ingress, Entity::Cluster, Traffic::Any);
        let specs = vec![spec(Subject::Nodes(nodes), [rule])];
        let kind = PolicyKind::CiliumClusterwideNetworkPolicy;
        Change::Policy(Policy { id: PolicyId { kind, namespace: None, name: "hosts".into() }, specs })
    }

    /// The service `web`, which leads from port 8080 of an address to port 80 of app1.
    fn web() -> Change {
        let service = service::fixtures::service("default", "web", [service::fixtures::tcp(8080, 80)]);
        let selector = service::fixtures::labels(&[("app", "app1")]);
        Change::Service(Box::new(service::Service { selector, ..service }))
    }

    /// A node of role `w` with three workloads, two policies and a service.
    fn world() -> World {
        let mut world = World::new();
        let labels = BTreeMap::from([("role".to_owned(), "w".to_owned())]);
        let node = Node { labels, addresses: vec![IpAddr::from([192, 0, 2, 1])], ..Node::default() };
        let names = BTreeSet::from(["www.example.com".to_owned()]);
        let named = Change::Names { address: IpAddr::from([198, 51, 100, 7]), names };
        let workloads = [endpoint(1, "app1", false), endpoint(2, "app2", false), endpoint(3, "app3", false)];
        let objects = [rule(), host_policy(), web(), Change::Node(Box::new(node)), named];
        world.apply(workloads.into_iter().chain(objects));
        world
    }

    fn ask(world: &World, from: &str, to: &str, port: u16) -> Explanation {
        let (from, to, protocol) = (from.to_owned(), to.to_owned(), "TCP".to_owned());
        let probe = ExplainProbe { from, to, port, port_name: None, protocol, family: None, http: None };
        crate::explain::explain(&world.snapshot(), &probe).unwrap()
    }

    #[test]
    fn a_service_address_is_translated() {
        let world = world();
        for (from, to, verdict) in
            [("app2", "10.96.0.1", "allow"), ("app3", "10.96.0.1", "drop"), ("app3", "web", "drop")]
        {
            let explanation = ask(&world, from, to, 8080);
            assert_eq!(explanation.verdict, verdict, "{explanation:?}");
            assert!(explanation.notes[0].ends_with("with backends default/app1:80"), "{explanation:?}");
            assert_eq!(explanation.sides[1].subject, "default/app1", "{explanation:?}");
        }
    }

    /// A workload `app4` of node `other`.
    fn remote() -> Change {
        let workload = control::Workload {
            namespace: "default".into(),
            name: "app4".into(),
            labels: BTreeMap::from([("app".to_owned(), "app2".to_owned())]).into(),
            addresses: vec![IpAddr::from([10, 0, 2, 4])],
            named_ports: BTreeMap::new().into(),
        };
        Change::RemoteWorkload(Box::new(control::RemoteWorkload { node: "other".into(), workload }))
    }

    #[test]
    fn a_workload_of_another_node_is_found_by_name_and_address() {
        let mut world = world();
        world.apply([remote()]);
        for from in ["app4", "10.0.2.4"] {
            let explanation = ask(&world, from, "app1", 80);
            assert_eq!(explanation.verdict, "allow", "{explanation:?}");
            assert_eq!(explanation.sides[0].subject, "default/app4", "{explanation:?}");
            assert_eq!(ask(&world, from, "app1", 81).verdict, "drop");
        }
        assert!(Inventory::workloads(&world.snapshot()).contains(&"default/app4".to_owned()));
    }

    #[test]
    fn this_node_is_a_remote_node_to_a_workload_of_another_node() {
        let mut world = world();
        world.apply([remote()]);
        let [host, own, remote] = ["host", "app2", "app4"].map(|name| world.snapshot().named(name).unwrap());
        assert_eq!(host.as_peer_of(&own).number, abi::identity::HOST);
        assert_eq!(host.as_peer_of(&remote).number, abi::identity::REMOTE_NODE);
    }

    #[test]
    fn a_connection_of_a_workload_to_itself_passes_no_policy() {
        let explanation = ask(&world(), "app1", "10.0.0.1", 443);
        assert_eq!((explanation.verdict.as_str(), explanation.sides.len()), ("allow", 0), "{explanation:?}");
    }

    #[test]
    fn the_node_is_found_by_name_and_address() {
        for to in ["host", "192.0.2.1"] {
            let explanation = ask(&world(), "198.51.100.1", to, 22);
            assert_eq!(
                (explanation.verdict.as_str(), explanation.sides[0].subject.as_str()),
                ("drop", "host"),
                "{explanation:?}"
            );
        }
    }

    #[test]
    fn audit_mode_allows_and_the_reason_names_it() {
        let mut world = world();
        world.apply([endpoint(1, "app1", true)]);
        let explanation = ask(&world, "app3", "app1", 80);
        assert_eq!(explanation.verdict, "allow", "{explanation:?}");
        assert!(explanation.sides[1].reason.contains("audit mode is on; without it drop"), "{explanation:?}");
    }

    #[test]
    fn an_external_address_has_its_domain_names() {
        let end = world().snapshot().at(IpAddr::from([198, 51, 100, 7]));
        assert_eq!(end.names, BTreeSet::from(["www.example.com".to_owned()]));
    }
}
