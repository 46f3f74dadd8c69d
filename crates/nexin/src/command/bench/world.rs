//! The large world of benchmarks: a cluster whose workloads all run on this node.

use super::policies;
use control::{Change, Endpoint, Node, Wire, Workload};
use policy::rule::Policy;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// The policies of one namespace, one document each.
const DOCUMENTS: &str = include_str!("policies.yaml");
/// Number of policies in a namespace.
const POLICIES: usize = 30;
/// The apps of a namespace; each has an identity.
const APPS: [&str; 6] = ["api", "cache", "db", "job", "web", "worker"];
/// Number of workloads of each identity.
const REPLICAS: usize = 5;
/// Number of teams.
const TEAMS: usize = 50;
/// One of this many namespaces has a cluster-wide policy as its last.
const CLUSTERWIDE_EVERY: usize = 50;
/// One of this many namespaces allows peers of its environment; the others allow peers of their team.
const OPEN_EVERY: usize = 10;
/// First interface index. The interfaces do not exist.
const FIRST_INTERFACE: u32 = 1000;

/// A cluster with this many namespaces.
#[derive(Clone, Debug)]
pub(super) struct LargeWorld {
    namespaces: usize,
    documents: Vec<&'static str>,
}

impl LargeWorld {
    /// A cluster with this many namespaces, at least one.
    pub(super) fn new(namespaces: usize) -> Self {
        Self { namespaces, documents: DOCUMENTS.split("\n---\n").collect() }
    }

    pub(super) fn namespaces(&self) -> usize {
        self.namespaces
    }

    pub(super) fn policies(&self) -> usize {
        self.namespaces * POLICIES
    }

    pub(super) fn identities(&self) -> usize {
        self.namespaces * APPS.len()
    }

    pub(super) fn pods(&self) -> usize {
        self.identities() * REPLICAS
    }

    /// All changes of a cold start, each created when it is taken.
    pub(super) fn changes(&self) -> impl Iterator<Item = Change> {
        let node = Node { addresses: vec![Ipv4Addr::new(192, 168, 0, 1).into()], ..Node::default() };
        let namespaces = (0..self.namespaces).map(|namespace| self.namespace(namespace, namespace));
        let policies = (0..self.policies()).map(|policy| Change::Policy(self.policy(policy)));
        let pods =
            (0..self.pods()).map(|pod| Change::Endpoint(Box::new(self.pod(pod, pod / REPLICAS, "v1"))));
        [Change::Node(Box::new(node))].into_iter().chain(namespaces).chain(policies).chain(pods)
    }

    /// A namespace with the labels of a team.
    pub(super) fn namespace(&self, namespace: usize, team: usize) -> Change {
        let role = ["system", "gateway", "monitoring"].get(namespace).unwrap_or(&"tenant");
        let labels =
            [("team", team_name(team)), ("env", environment(namespace)), ("role", (*role).to_owned())];
        Change::Namespace {
            name: namespace_name(namespace),
            labels: labels.map(|(key, value)| (key.to_owned(), value)).into(),
        }
    }

    /// A workload, by its index and its identity's, from 0. Another version is another identity.
    pub(super) fn pod(&self, pod: usize, identity: usize, version: &str) -> Endpoint {
        let (namespace, app) = (identity / APPS.len(), APPS[identity % APPS.len()]);
        let [a, b, c, d] = (pod as u32).to_be_bytes();
        let labels = [("app", app), ("version", version), ("app.kubernetes.io/part-of", "shop")];
        let ports = [("http", 8080), ("metrics", 9090)];
        Endpoint {
            id: pod as u32 + 1,
            workload: Workload {
                namespace: namespace_name(namespace),
                name: format!("{app}-{pod}"),
                labels: BTreeMap::from(labels.map(|(key, value)| (key.to_owned(), value.to_owned()))).into(),
                addresses: vec![Ipv4Addr::new(10, b, c, d).into()],
                named_ports: BTreeMap::from(ports.map(|(name, port)| ((name.to_owned(), 6), port))).into(),
            },
            wire: Wire {
                interface: FIRST_INTERFACE + pod as u32,
                mac: [2, 0, a, b, c, d],
                host_mac: [2, 1, a, b, c, d],
            },
            audit: false,
            host_ports: Vec::new(),
        }
    }

    /// A policy unlike all others: it selects one identity, and has a new peer selector and a new port.
    pub(super) fn other_policy(&self, identity: usize, peers: usize, number: usize) -> Policy {
        let (namespace, app) = (namespace_name(identity / APPS.len()), APPS[identity % APPS.len()]);
        let (peers, port) = (namespace_name(peers), 10_000 + number % 10_000);
        policies::read_one(&format!(
            "{{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {{name: other-{number}, namespace: {namespace}}},
              spec: {{podSelector: {{matchLabels: {{app: {app}}}}},
                      ingress: [{{from: [{{namespaceSelector: {{matchLabels: {{kubernetes.io/metadata.name: {peers}}}}},
                                           podSelector: {{matchExpressions: [{{key: app, operator: NotIn, values: [job, other-{number}]}}]}}}}],
                                  ports: [{{port: {port}}}]}}]}}}}"
        ))
    }

    /// The policy with this index, from 0.
    pub(super) fn policy(&self, policy: usize) -> Policy {
        let (namespace, place) = (policy / POLICIES, policy % POLICIES);
        let is_clusterwide = place == POLICIES - 1 && namespace.is_multiple_of(CLUSTERWIDE_EVERY);
        let document = self.documents[place + usize::from(is_clusterwide)];
        let environment = format!("env: {}", environment(namespace));
        let team = team_name(namespace);
        let scope = if namespace.is_multiple_of(OPEN_EVERY) { environment } else { format!("team: {team}") };
        let values = BTreeMap::from([
            ("$namespace", namespace_name(namespace)),
            ("$neighbour", namespace_name((namespace + 1) % self.namespaces)),
            ("$network", format!("{}.{}", namespace / 250, namespace % 250)),
            ("$scope", scope),
            ("$team", team),
        ]);
        let text = values.iter().fold(document.to_owned(), |text, (name, value)| text.replace(name, value));
        policies::read_one(&text)
    }
}

fn namespace_name(namespace: usize) -> String {
    format!("namespace-{namespace}")
}

fn team_name(team: usize) -> String {
    format!("team-{}", team % TEAMS)
}

fn environment(namespace: usize) -> String {
    ["production", "staging", "development"][namespace % 3].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use policy::rule::PolicyKind;
    use std::collections::BTreeSet;

    #[test]
    fn all_policies_of_a_namespace_have_different_names() {
        let world = LargeWorld::new(2);
        assert_eq!(world.documents.len(), POLICIES + 1);
        let ids: BTreeSet<_> = (0..world.policies()).map(|policy| world.policy(policy).id).collect();
        assert_eq!(ids.len(), 60);
        let clusterwide = ids.iter().filter(|id| id.kind == PolicyKind::CiliumClusterwideNetworkPolicy);
        assert_eq!(clusterwide.count(), 1);
    }

    #[test]
    fn an_app_of_a_namespace_is_one_identity_with_five_workloads() {
        let world = LargeWorld::new(2);
        let pods: Vec<_> = (0..world.pods()).map(|pod| world.pod(pod, pod / REPLICAS, "v1")).collect();
        let identities: BTreeSet<_> =
            pods.iter().map(|pod| (&pod.workload.namespace, &pod.workload.labels)).collect();
        let addresses: BTreeSet<_> = pods.iter().map(|pod| &pod.workload.addresses).collect();
        assert_eq!((identities.len(), addresses.len()), (12, 60));
    }
}
