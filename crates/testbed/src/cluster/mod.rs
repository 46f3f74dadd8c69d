//! The engine `cluster`: pods of a Kubernetes cluster whose nodes all run on this machine, under their agents.
//!
//! Pods are created through the API server, one node after another in turn, and policies as well. Clients and servers of
//! probes run in the network namespaces of the pods.

mod agents;
mod kubectl;
mod objects;
mod processes;

use crate::crossing::{Crossing, CrossingEnd};
use crate::engine::{Engine, EngineAnswer, EngineError};
use crate::exchange::{self, Exchange};
use crate::state::{TestState, TestWorkload};
use agents::Agents;
use manifest::ObjectName;
use manifest::test::WorkloadName;
use objects::Moved;
use policy::rule::{EnforcementMode, PolicyId};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::time::{Duration, Instant};
use workload::NetworkNamespace;

/// The namespace of the marks.
const MARKS: &str = "nexin-test";
/// The kinds of policies that are applied.
const KINDS: [&str; 3] = ["NetworkPolicy", "CiliumNetworkPolicy", "CiliumClusterwideNetworkPolicy"];
/// The time in which the endpoint of a pod gets the pod's labels.
const LABELLED: Duration = Duration::from_secs(30);
/// What the labels begin with that an agent adds to those of pod and namespace.
const ADDED: [&str; 2] = ["k8s:io.cilium.k8s.policy.", "k8s:io.kubernetes.pod.namespace="];

/// The pods of a cluster, and the state of the test that they are in.
pub struct Cluster {
    agents: Agents,
    /// The names of the nodes.
    nodes: Vec<String>,
    pods: BTreeMap<WorkloadName, Pod>,
    /// The policies that were applied, as the API server has them.
    policies: BTreeMap<String, Value>,
    state: TestState,
    /// Why the state of the test cannot be that of the cluster.
    obstacle: Option<&'static str>,
    marks: u32,
}

/// A pod that runs.
struct Pod {
    object: Value,
    namespace: NetworkNamespace,
    addresses: Vec<IpAddr>,
}

impl Cluster {
    /// Finds the cluster that kubectl reaches, and its agents. The cluster must have no pods of an earlier run.
    pub fn open() -> Result<Self, EngineError> {
        let name = |node: &Value| Some(node["metadata"]["name"].as_str()?.to_owned());
        let nodes = kubectl::list("nodes", None)?.iter().filter_map(name).collect();
        let (pods, policies) = (BTreeMap::new(), BTreeMap::new());
        let agents = Agents::find()?;
        kubectl::apply(&[objects::namespace(MARKS, &BTreeMap::new())])?;
        Ok(Self { agents, nodes, pods, policies, state: TestState::default(), obstacle: None, marks: 0 })
    }

    /// Applies the difference of namespaces and pods.
    fn populate(&mut self, state: &TestState) -> Result<(), EngineError> {
        let wanted: BTreeMap<&WorkloadName, Value> = (0..)
            .zip(state.wired())
            .map(|(place, (name, workload))| (name, self.pod(place, name, workload)))
            .collect();
        // Everything but the labels of a pod is as it was created.
        let is_kept = |name: &WorkloadName, pod: &Pod| {
            wanted.get(name).is_some_and(|wanted| wanted["spec"] == pod.object["spec"])
        };
        let gone: Vec<WorkloadName> = self
            .pods
            .iter()
            .filter(|(name, pod)| !is_kept(name, pod))
            .map(|(name, _)| name.clone())
            .collect();
        let removed: Vec<Value> =
            gone.iter().filter_map(|name| self.pods.remove(name)).map(|pod| pod.object).collect();
        kubectl::delete(&removed)?;
        kubectl::apply(&namespaces(state))?;
        let changed: Vec<(&WorkloadName, Value)> = wanted
            .into_iter()
            .filter(|(name, object)| self.pods.get(name).is_none_or(|pod| pod.object != *object))
            .collect();
        let list: Vec<Value> = changed.iter().map(|(_, object)| object.clone()).collect();
        kubectl::apply(&list)?;
        let running = kubectl::ready(&list)?;
        for (name, object) in changed {
            let is_it = |pod: &&Value| {
                pod["metadata"]["name"] == object["metadata"]["name"]
                    && pod["metadata"]["namespace"] == object["metadata"]["namespace"]
            };
            let found = running.iter().find(is_it).ok_or_else(|| failed("finding a pod", "there is none"))?;
            self.pods.insert(name.clone(), Pod::of(object, found)?);
        }
        self.await_labels(state)
    }

    /// The pod of a workload; one that runs stays on its node.
    fn pod(&self, place: usize, name: &WorkloadName, workload: &TestWorkload) -> Value {
        let known = self.pods.get(name).and_then(|pod| pod.object["spec"]["nodeName"].as_str());
        objects::pod(name, workload, known.unwrap_or(&self.nodes[place % self.nodes.len()]))
    }

    /// Waits until the endpoints have the labels of their pods, and until every agent knows it.
    fn await_labels(&mut self, state: &TestState) -> Result<(), EngineError> {
        let wanted: BTreeMap<String, BTreeSet<String>> =
            state.wired().map(|(name, workload)| (path(name), labels(state, name, workload))).collect();
        let deadline = Instant::now() + LABELLED;
        loop {
            let endpoints = kubectl::list("ciliumendpoints", None)?;
            let found: BTreeMap<String, BTreeSet<String>> = endpoints.iter().filter_map(endpoint).collect();
            if wanted.iter().all(|(path, labels)| found.get(path) == Some(labels)) {
                break;
            }
            if Instant::now() > deadline {
                let wrong = wanted.iter().find(|(path, labels)| found.get(*path) != Some(labels));
                let why =
                    wrong.map(|(path, labels)| format!("{path}: {:?}, not {labels:?}", found.get(path)));
                return Err(failed("waiting for the labels of endpoints", &why.unwrap_or_default()));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        // Agents get the changes of a kind in their order, so that all earlier ones are known with the mark.
        let name = self.next_mark();
        let mark = objects::endpoint_mark(MARKS, &name);
        kubectl::apply(std::slice::from_ref(&mark))?;
        self.agents.await_label(&format!("k8s:mark={name}"))?;
        kubectl::delete(&[mark])
    }

    /// Applies the difference of policies, and waits until every agent has it in force.
    fn enforce(&mut self, state: &TestState) -> Result<(), EngineError> {
        let pods = self.moved(state);
        let mut wanted = BTreeMap::new();
        for id in state.policies.keys() {
            let text = state.manifests.get(&id.into()).expect("a policy of a test comes with its manifest");
            let policy: Value =
                serde_json::from_str(text).map_err(EngineError::failed("reading a policy"))?;
            wanted.insert(id.to_string(), objects::moved(&policy, &pods));
        }
        let gone: Vec<Value> = self
            .policies
            .iter()
            .filter(|(id, _)| !wanted.contains_key(*id))
            .map(|(_, policy)| policy.clone())
            .collect();
        let changed: Vec<Value> = wanted
            .iter()
            .filter(|(id, policy)| self.policies.get(*id) != Some(policy))
            .map(|(_, policy)| policy.clone())
            .collect();
        let kinds: BTreeSet<&str> =
            gone.iter().chain(&changed).filter_map(|policy| policy["kind"].as_str()).collect();
        kubectl::delete(&gone)?;
        kubectl::apply(&changed)?;
        let name = self.next_mark();
        let marks: Vec<Value> = kinds.iter().map(|kind| objects::mark(kind, MARKS, &name)).collect();
        kubectl::apply(&marks)?;
        kinds.iter().try_for_each(|kind| self.agents.await_policy(kind, &name))?;
        kubectl::delete(&marks)?;
        self.policies = wanted;
        Ok(())
    }

    fn next_mark(&mut self) -> String {
        self.marks += 1;
        format!("mark{}", self.marks)
    }

    /// The addresses of the pods, in the test and in the cluster.
    fn moved(&self, state: &TestState) -> Vec<Moved> {
        let pods = state.wired().flat_map(|(name, workload)| {
            let now = |then: IpAddr| Some((then, self.pods.get(name)?.address(then)?));
            workload.addresses.iter().filter_map(move |then| now(*then))
        });
        pods.collect()
    }

    /// The crossing between the addresses that the pods have in the cluster, and their namespaces.
    fn exchange<'a>(&'a self, crossing: &'a Crossing) -> Result<Exchange<'a>, &'static str> {
        if let Some(why) = self.obstacle.or_else(|| exchange::obstacle(crossing)) {
            return Err(why);
        }
        if crossing.frontend.is_some() {
            return Err("services get other addresses in a cluster");
        }
        let pod = |end: &CrossingEnd| match end {
            CrossingEnd::Workload(name) => self.pods.get(name),
            _ => None,
        };
        match (pod(&crossing.from), pod(&crossing.to)) {
            (Some(from), Some(to)) => {
                Ok(Exchange { crossing, from: &from.namespace, to: Some(&to.namespace) })
            }
            _ => Err("only pods are made in the cluster"),
        }
    }

    /// The crossing with the addresses that the pods have in the cluster.
    fn moved_crossing(&self, crossing: &Crossing) -> Crossing {
        let address = |end: &CrossingEnd, then: IpAddr| match end {
            CrossingEnd::Workload(name) => {
                self.pods.get(name).and_then(|pod| pod.address(then)).unwrap_or(then)
            }
            _ => then,
        };
        let source = address(&crossing.from, crossing.source);
        Crossing { source, destination: address(&crossing.to, crossing.destination), ..crossing.clone() }
    }
}

impl Engine for Cluster {
    fn name(&self) -> &'static str {
        "cluster"
    }

    fn prepare(&mut self, state: &TestState) -> Result<(), EngineError> {
        self.obstacle = obstacle(state);
        if self.obstacle.is_some() {
            return Ok(());
        }
        // The state before the first step of a test is never judged.
        if state.workloads.is_empty() {
            return Ok(());
        }
        if !is_same_world(&self.state, state) {
            self.populate(state)?;
        }
        self.enforce(state)?;
        self.state = state.clone();
        Ok(())
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(10)
    }

    fn ask(&mut self, crossing: &Crossing) -> Result<EngineAnswer, EngineError> {
        self.ask_all(std::slice::from_ref(crossing)).remove(0)
    }

    fn ask_all(&mut self, crossings: &[Crossing]) -> Vec<Result<EngineAnswer, EngineError>> {
        let moved: Vec<Crossing> = crossings.iter().map(|crossing| self.moved_crossing(crossing)).collect();
        let known = |crossing| {
            EngineAnswer::without_policy(crossing)
                .map_or_else(|| self.exchange(crossing).map(Err), |answer| Ok(Ok(answer)))
        };
        let open: Vec<_> = moved.iter().map(known).collect();
        let sent: Vec<Exchange<'_>> =
            open.iter().filter_map(|one| one.as_ref().ok()?.as_ref().err().copied()).collect();
        let mut answered = match exchange::carry_out(&sent) {
            Ok(answers) => answers.into_iter(),
            Err(error) => return vec![Err(error)],
        };
        let answer = |one| match one {
            Err(why) => Err(EngineError::Impossible(why)),
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Ok(answered.next().expect("each exchange has an answer")),
        };
        open.into_iter().map(answer).collect()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let pods = self.pods.values().map(|pod| pod.object.clone());
        let objects: Vec<Value> = self.policies.values().cloned().chain(pods).collect();
        // The next run would report what cannot be deleted now.
        let _ = kubectl::delete(&objects);
    }
}

impl Pod {
    fn of(object: Value, running: &Value) -> Result<Self, EngineError> {
        let addresses = running["status"]["podIPs"].as_array().into_iter().flatten();
        let addresses = addresses.filter_map(|one| one["ip"].as_str()?.parse().ok()).collect();
        let uid = running["metadata"]["uid"].as_str().unwrap_or_default();
        let namespace = processes::namespace_of_pod(uid);
        let namespace = namespace
            .ok_or_else(|| failed("finding a pod's processes", "they do not run on this machine"))?;
        Ok(Self { object, namespace, addresses })
    }

    /// Its address of the same family as another one.
    fn address(&self, other: IpAddr) -> Option<IpAddr> {
        self.addresses.iter().copied().find(|one| one.is_ipv4() == other.is_ipv4())
    }
}

/// Why a state cannot be that of a cluster.
fn obstacle(state: &TestState) -> Option<&'static str> {
    if state.mode != EnforcementMode::Default || state.audit {
        return Some("the agents of the cluster keep their enforcement mode");
    }
    if !state.objects.is_empty() {
        return Some("services and other objects beside policies are not made in the cluster");
    }
    if !state.nodes.is_empty() || !state.host_labels.is_empty() {
        return Some("the cluster has nodes of its own");
    }
    // The version of 2017 has no definition.
    let is_served = |id: &PolicyId| {
        state.manifests.get(&ObjectName::from(id)).is_none_or(|text| !text.contains(r#""cilium.io/v1""#))
    };
    let is_applied = |id: &PolicyId| KINDS.contains(&id.kind.name()) && is_served(id);
    (!state.policies.keys().all(is_applied))
        .then_some("policies of this kind or version are not applied to the cluster")
}

/// Whether two states differ in their policies at most.
fn is_same_world(one: &TestState, other: &TestState) -> bool {
    one.namespaces == other.namespaces && one.workloads == other.workloads
}

/// The namespaces of pods and policies, and those that the state defines.
fn namespaces(state: &TestState) -> Vec<Value> {
    let none = BTreeMap::new();
    let of_pods = state.workloads.keys().map(|name| &name.namespace);
    let of_policies = state.policies.keys().filter_map(|id| id.namespace.as_ref());
    let names: BTreeSet<&String> = of_pods.chain(of_policies).chain(state.namespaces.keys()).collect();
    names
        .into_iter()
        .map(|name| objects::namespace(name, state.namespaces.get(name).unwrap_or(&none)))
        .collect()
}

/// The labels that the endpoint of a workload gets from its pod and namespace.
fn labels(state: &TestState, name: &WorkloadName, workload: &TestWorkload) -> BTreeSet<String> {
    let all = state.labels(name, workload).to_string();
    let own = all.split(',').filter(|label| is_own(label)).map(str::to_owned);
    // The API server adds this label to every namespace.
    let added = format!("k8s:io.cilium.k8s.namespace.labels.kubernetes.io/metadata.name={}", name.namespace);
    own.chain([added]).collect()
}

/// The path of an endpoint, and the labels that come from its pod and namespace.
fn endpoint(object: &Value) -> Option<(String, BTreeSet<String>)> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let (namespace, name) = (text(&object["metadata"]["namespace"])?, text(&object["metadata"]["name"])?);
    let labels = object["status"]["identity"]["labels"].as_array().into_iter().flatten().filter_map(text);
    Some((format!("{namespace}/{name}"), labels.filter(|label| is_own(label)).collect()))
}

fn is_own(label: &str) -> bool {
    !ADDED.iter().any(|added| label.starts_with(added))
}

fn path(name: &WorkloadName) -> String {
    format!("{}/{}", name.namespace, name.name)
}

fn failed(doing: &'static str, why: &str) -> EngineError {
    EngineError::failed(doing)(io::Error::other(why.to_owned()))
}
