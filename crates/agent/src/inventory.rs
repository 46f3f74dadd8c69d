//! The world as an inventory for `explain`: workloads, nodes and services by name and address.

use crate::explain::{End, Inventory};
use control::World;
use identity::{Labels, Source, key};
use policy::set::PolicySet;
use service::{Candidate, EndpointSlice, Service};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

impl Inventory for World {
    fn named(&self, text: &str) -> Option<End> {
        let (namespace, name) = text.split_once('/').unwrap_or(("default", text));
        let is_named = |id: &u32| self.workload(*id).is_some_and(|known| known.name == name);
        let workload = || workload(self, self.workloads_in(namespace).find(is_named)?);
        let node = || self.remote_nodes().find(|node| node.name == text).map(|node| remote_node(self, node));
        match text {
            "host" => Some(host(self)),
            _ if !self.node().name.is_empty() && self.node().name == text => Some(host(self)),
            _ => workload().or_else(node),
        }
    }

    fn at(&self, address: IpAddr) -> End {
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
        let labels = self.workloads_in(name).find_map(|id| self.view(id)).map(|party| party.labels);
        let labels = labels.into_iter().flat_map(Labels::iter);
        labels
            .filter_map(|(key, value)| Some((key.name.strip_prefix(key::NAMESPACE_LABELS)?, value)))
            .collect()
    }

    fn candidates(&self) -> Vec<Candidate> {
        let candidates = self.endpoints().map(|endpoint| Candidate {
            namespace: endpoint.workload.namespace.clone(),
            labels: endpoint.workload.labels.clone(),
            addresses: endpoint.workload.addresses.clone(),
            named_ports: endpoint.workload.named_ports.clone(),
        });
        candidates.collect()
    }

    fn services(&self) -> Box<dyn Iterator<Item = &Service> + '_> {
        Box::new(Self::services(self))
    }

    fn listed_slices(&self, service: &Service) -> Vec<&EndpointSlice> {
        Self::listed_slices(self, &service.full_name()).collect()
    }

    fn api_servers(&self) -> BTreeSet<IpAddr> {
        Self::api_servers(self).clone()
    }

    fn policies(&self) -> &PolicySet {
        self.enforcement().policies()
    }

    fn audits(&self) -> bool {
        self.node().audit
    }

    fn workloads(&self) -> Vec<String> {
        let own = self.endpoints().map(|endpoint| &endpoint.workload);
        let all = own.chain(self.remote_workloads().map(|remote| &remote.workload));
        all.map(|workload| format!("{}/{}", workload.namespace, workload.name)).collect()
    }

    fn place(&self) -> &'static str {
        "known to this node"
    }
}

/// A workload of this node or of another. Whether audit mode is on there is not known here.
fn workload(world: &World, id: u32) -> Option<End> {
    let workload = world.workload(id)?;
    let name = format!("{}/{}", workload.namespace, workload.name);
    let end = match world.view(id) {
        Some(party) => {
            End { ports: party.ports.clone(), ..End::new(&name, party.number, party.labels.clone()) }
        }
        None => End::new(&name, abi::identity::INIT, Labels::default()),
    };
    let audit = world.endpoint_of(id).is_some_and(|endpoint| endpoint.audit || world.node().audit);
    let node = world.remote_workload_of(id).map(|remote| remote.node.clone());
    Some(End { addresses: workload.addresses.clone(), is_one: true, audit, node, ..end })
}

fn host(world: &World) -> End {
    let node = world.node();
    let labels = labelled("host", &node.labels);
    let (addresses, audit, node) = (node.addresses.clone(), node.audit, Some(node.name.clone()));
    let end = End { addresses, is_one: true, audit, node, ..End::new("host", abi::identity::HOST, labels) };
    end.among(world.api_servers())
}

fn remote_node(world: &World, node: &control::RemoteNode) -> End {
    let (labels, addresses) = (labelled("remote-node", &node.labels), node.addresses.clone());
    let end = End { addresses, is_one: true, ..End::new(&node.name, abi::identity::REMOTE_NODE, labels) };
    end.among(world.api_servers())
}

fn labelled(kind: &str, own: &BTreeMap<String, String>) -> Labels {
    let mut labels = Labels::reserved(kind);
    own.iter().for_each(|(name, value)| labels.insert(Source::K8s, name.as_str(), value.as_str()));
    labels
}

/// An address outside the cluster, with its known domain names.
fn external(world: &World, address: IpAddr) -> End {
    let number = abi::identity::WORLD;
    let labels = world.identities().labels(number).map(|labels| Labels::clone(labels)).unwrap_or_default();
    let (names, addresses) = (world.names(address).clone(), vec![address]);
    End { names, addresses, ..End::new(&address.to_string(), number, labels) }.among(world.api_servers())
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::ExplainProbe;
    use api::view::Explanation;
    use control::{Change, Endpoint, Node};

    const POLICIES: &str = "
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: rule1}
spec:
  endpointSelector: {matchLabels: {id: app1}}
  ingress:
  - fromEndpoints: [{matchLabels: {id: app2}}]
    toPorts: [{ports: [{port: '80', protocol: TCP}]}]
---
apiVersion: cilium.io/v2
kind: CiliumClusterwideNetworkPolicy
metadata: {name: hosts}
spec:
  nodeSelector: {matchLabels: {role: w}}
  ingress: [{fromEntities: [cluster]}]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {id: app1}, clusterIP: 10.96.0.1, ports: [{port: 8080, targetPort: 80}]}
";

    fn endpoint(id: u32, name: &str, audit: bool) -> Change {
        Change::Endpoint(Box::new(Endpoint {
            id,
            workload: control::Workload {
                namespace: "default".into(),
                name: name.into(),
                labels: BTreeMap::from([("id".to_owned(), name.to_owned())]).into(),
                addresses: vec![IpAddr::from([10, 0, 1, id as u8])],
                named_ports: BTreeMap::from([(("http".to_owned(), 6), 80)]).into(),
            },
            wire: control::Wire::default(),
            audit,
        }))
    }

    /// A node of role `w` with three workloads, and the policies and the service of [`POLICIES`].
    fn world() -> World {
        let mut world = World::new();
        let labels = BTreeMap::from([("role".to_owned(), "w".to_owned())]);
        let node = Node { labels, addresses: vec![IpAddr::from([192, 0, 2, 1])], ..Node::default() };
        let objects = manifest::parse("policies", POLICIES).unwrap().objects.into_iter();
        let objects = objects.map(|object| match object {
            manifest::Object::Policy(policy) => Change::Policy(policy),
            manifest::Object::Service(service) => Change::Service(Box::new(service)),
            other => panic!("{other:?} is neither policy nor service"),
        });
        let names = BTreeSet::from(["www.example.com".to_owned()]);
        let named = Change::Names { address: IpAddr::from([198, 51, 100, 7]), names };
        let workloads = [endpoint(1, "app1", false), endpoint(2, "app2", false), endpoint(3, "app3", false)];
        world.apply(workloads.into_iter().chain(objects).chain([Change::Node(Box::new(node)), named]));
        world
    }

    fn ask(world: &World, from: &str, to: &str, port: u16) -> Explanation {
        let (from, to, protocol) = (from.to_owned(), to.to_owned(), "TCP".to_owned());
        let probe = ExplainProbe { from, to, port, port_name: None, protocol, family: None, http: None };
        crate::explain::explain(world, &probe).unwrap()
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
            labels: BTreeMap::from([("id".to_owned(), "app2".to_owned())]).into(),
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
        assert!(Inventory::workloads(&world).contains(&"default/app4".to_owned()));
    }

    #[test]
    fn this_node_is_a_remote_node_to_a_workload_of_another_node() {
        let mut world = world();
        world.apply([remote()]);
        let [host, own, remote] = ["host", "app2", "app4"].map(|name| world.named(name).unwrap());
        assert_eq!(host.as_peer_of(&own).number, abi::identity::HOST);
        assert_eq!(host.as_peer_of(&remote).number, abi::identity::REMOTE_NODE);
    }

    #[test]
    fn a_connection_of_a_workload_to_itself_passes_no_policy() {
        let explanation = ask(&world(), "app1", "10.0.1.1", 443);
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
        let end = world().at(IpAddr::from([198, 51, 100, 7]));
        assert_eq!(end.names, BTreeSet::from(["www.example.com".to_owned()]));
    }
}
