//! Policies of every kind: a definition that is installed later is served soon, conditions tell valid policies from invalid ones, and the
//! webhook refuses what agents refuse.

use super::steps::{apply, step, until};
use crate::cluster::plan::Plan;
use crate::cluster::{faults, kubectl};
use crate::command::run_with_input;
use crate::tree;
use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// The time from the installation of a definition to the condition of its first policy. The kinds were polled every 7 to 15 s before.
const SERVED: Duration = Duration::from_secs(6);
const WEBHOOK: &str = "validatingwebhookconfigurations/nexin-operator";
const OPERATOR: &str = "deployment/nexin-operator";
const OPERATOR_MANIFEST: &str = "deploy/manifests/30-operator.yaml";

/// A kind of policies.
struct PolicyKind {
    version: &'static str,
    kind: &'static str,
    plural: &'static str,
    /// The name of its test policy.
    name: &'static str,
    /// A spec that agents accept.
    valid: fn() -> Value,
    /// A spec that the API server accepts and agents refuse; none if there is no such spec.
    invalid: Option<Invalid>,
    has_status: bool,
    /// Whether the test installs its definition, and removes it afterwards.
    is_defined_later: bool,
}

struct Invalid {
    spec: fn() -> Value,
    /// The message of agents and webhook.
    words: &'static str,
}

const BOTH: Invalid = Invalid {
    spec: two_peers,
    words: "spec.ingress[0].fromEntities: cannot be combined with `fromEndpoints`",
};
const OPERATOR_OF_LABELS: &str =
    "spec.subject.namespaces.matchExpressions[0].operator: unknown operator `Inn`, did you mean `In`?";
const CILIUM: PolicyKind = PolicyKind {
    version: "cilium.io/v2",
    kind: "CiliumNetworkPolicy",
    plural: "ciliumnetworkpolicies",
    name: "kinds",
    valid: one_peer,
    invalid: Some(BOTH),
    has_status: true,
    is_defined_later: false,
};
const CLUSTER: PolicyKind = PolicyKind {
    version: "policy.networking.k8s.io/v1beta1",
    kind: "ClusterNetworkPolicy",
    plural: "clusternetworkpolicies",
    valid: || subject("In", json!({"tier": "Admin", "priority": 5})),
    invalid: Some(Invalid {
        spec: || subject("Inn", json!({"tier": "Admin", "priority": 5})),
        words: OPERATOR_OF_LABELS,
    }),
    is_defined_later: true,
    ..CILIUM
};

const KINDS: [PolicyKind; 8] = [
    PolicyKind {
        version: "networking.k8s.io/v1",
        kind: "NetworkPolicy",
        plural: "networkpolicies",
        valid: || json!({"podSelector": {"matchLabels": {"app": "nothing"}}}),
        // The API server itself refuses what agents refuse.
        invalid: None,
        has_status: false,
        ..CILIUM
    },
    CILIUM,
    PolicyKind {
        kind: "CiliumClusterwideNetworkPolicy",
        plural: "ciliumclusterwidenetworkpolicies",
        ..CILIUM
    },
    PolicyKind {
        kind: "CiliumCIDRGroup",
        plural: "ciliumcidrgroups",
        valid: || json!({"externalCIDRs": ["192.0.2.0/24"]}),
        invalid: Some(Invalid {
            spec: || json!({"externalCIDRs": null}),
            words: "spec.externalCIDRs: has no value",
        }),
        has_status: false,
        ..CILIUM
    },
    PolicyKind { version: "policy.networking.k8s.io/v1alpha2", ..CLUSTER },
    CLUSTER,
    PolicyKind {
        version: "policy.networking.k8s.io/v1alpha1",
        kind: "AdminNetworkPolicy",
        plural: "adminnetworkpolicies",
        valid: || subject("In", json!({"priority": 5})),
        invalid: Some(Invalid { spec: || subject("Inn", json!({"priority": 5})), words: OPERATOR_OF_LABELS }),
        ..CLUSTER
    },
    PolicyKind {
        version: "policy.networking.k8s.io/v1alpha1",
        kind: "BaselineAdminNetworkPolicy",
        plural: "baselineadminnetworkpolicies",
        name: "default",
        valid: || subject("In", json!({})),
        invalid: Some(Invalid { spec: || subject("Inn", json!({})), words: OPERATOR_OF_LABELS }),
        ..CLUSTER
    },
];

fn one_peer() -> Value {
    json!({"endpointSelector": {"matchLabels": {"app": "nothing"}}, "ingress": [{"fromEndpoints": [{}]}]})
}

fn two_peers() -> Value {
    let mut spec = one_peer();
    spec["ingress"][0]["fromEntities"] = json!(["world"]);
    spec
}

/// A spec whose subject no namespace is, with an operator of labels.
fn subject(operator: &str, mut spec: Value) -> Value {
    let expression = json!({"key": "nexin.io/none", "operator": operator, "values": ["none"]});
    spec["subject"] = json!({"namespaces": {"matchExpressions": [expression]}});
    spec["ingress"] = json!([{"name": "x", "action": "Deny", "from": [{"namespaces": {}}]}]);
    spec
}

/// Checks all kinds, first without the webhook and then with it.
pub(super) fn check(plan: &Plan) -> Result<()> {
    kubectl::run(plan, &["delete", WEBHOOK])?;
    for kind in &KINDS {
        step(&format!("conditions of {} in {}", kind.kind, kind.version), || kind.check_conditions(plan))?;
    }
    let manifest = tree::root().join(OPERATOR_MANIFEST).display().to_string();
    kubectl::run(plan, &["apply", "--server-side", "--filename", &manifest])?;
    // An operator writes its certificate into the webhook's configuration when it starts.
    kubectl::run(plan, &["rollout", "restart", "--namespace=nexin", OPERATOR])?;
    kubectl::run(plan, &["rollout", "status", "--namespace=nexin", OPERATOR, "--timeout=60s"])?;
    step("the webhook refuses what agents refuse", || {
        until("the webhook does not answer", || CILIUM.check_refusal(plan))?;
        KINDS.iter().try_for_each(|kind| {
            kind.with_definition(plan, || kind.check_refusal(plan))
                .with_context(|| format!("{} in {}", kind.kind, kind.version))
        })
    })?;
    step("a field without a value, from each kind of client", || field_without_value(plan))
}

impl PolicyKind {
    /// A valid policy has the condition that it is, and an invalid one has the reason.
    fn check_conditions(&self, plan: &Plan) -> Result<()> {
        self.with_definition(plan, || {
            let installed = Instant::now();
            until("the policy is not accepted", || apply(plan, &self.policy((self.valid)())))?;
            if self.has_status {
                until("the valid policy has no condition", || self.expect_condition(plan, "True", ""))?;
            }
            until("the policy is not in force", || {
                let listed = self.listed(plan)?;
                let named = listed.lines().filter(|line| self.is_named_in(line)).count();
                ensure!(named > 0 || self.kind == "CiliumCIDRGroup", "policies:\n{listed}");
                Ok(())
            })?;
            let time = installed.elapsed();
            if self.is_defined_later {
                println!(
                    "cluster:   in force {:.1} s after the installation of its definition",
                    time.as_secs_f32()
                );
                ensure!(time < SERVED, "the policy was in force after {time:?}");
            }
            if let Some(invalid) = &self.invalid {
                self.send(plan, &["replace"], (invalid.spec)())?;
                until("the invalid object is not reported", || self.expect_report(plan, invalid.words))?;
            }
            kubectl::run(plan, &["delete", &self.resource(), self.name]).map(drop)
        })?;
        until("the policy is still in force", || {
            let listed = self.listed(plan)?;
            ensure!(!listed.lines().any(|line| self.is_named_in(line)), "policies:\n{listed}");
            Ok(())
        })
    }

    /// The condition of the policy has the reason why it is invalid, or, for an object without conditions, the agents' status.
    fn expect_report(&self, plan: &Plan, words: &str) -> Result<()> {
        if self.has_status {
            return self.expect_condition(plan, "False", words);
        }
        let node = plan.node_machines().next().context("a cluster has nodes")?;
        let status = faults::run_nexin(plan, node, &["status"])?;
        let status = String::from_utf8_lossy(&status.stdout).into_owned();
        ensure!(status.contains(words), "the status is\n{status}");
        Ok(())
    }

    /// The webhook refuses the invalid policy in the agents' words.
    fn check_refusal(&self, plan: &Plan) -> Result<()> {
        let Some(Invalid { spec, words }) = &self.invalid else { return Ok(()) };
        refused(self.send(plan, &["create"], spec()), words)
    }

    /// Installs the definition if the test has to, and removes it afterwards.
    fn with_definition(&self, plan: &Plan, check: impl FnOnce() -> Result<()>) -> Result<()> {
        if !self.is_defined_later {
            return check();
        }
        apply(plan, &self.definition().to_string())?;
        let name = format!("{}.policy.networking.k8s.io", self.plural);
        let established = ["wait", "--for=condition=Established", "crd", &name, "--timeout=60s"];
        kubectl::run(plan, &established)?;
        let checked = check();
        kubectl::run(plan, &["delete", "crd", &name, "--timeout=60s"])?;
        checked
    }

    /// A definition that checks nothing itself.
    fn definition(&self) -> Value {
        let (group, version) = self.version.split_once('/').unwrap_or_default();
        json!({
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {
                "name": format!("{}.{group}", self.plural),
                "annotations": {"api-approved.kubernetes.io": "unapproved, of a test"},
            },
            "spec": {
                "group": group,
                "scope": "Cluster",
                "names": {"kind": self.kind, "plural": self.plural, "singular": self.kind.to_lowercase()},
                "versions": [{
                    "name": version, "served": true, "storage": true, "subresources": {"status": {}},
                    "schema": {"openAPIV3Schema":
                        {"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
                }],
            },
        })
    }

    /// Its name with version and group: kubectl remembers the versions of definitions that are gone.
    fn resource(&self) -> String {
        let (group, version) = self.version.split_once('/').unwrap_or_default();
        format!("{}.{version}.{group}", self.plural)
    }

    fn policy(&self, spec: Value) -> String {
        json!({"apiVersion": self.version, "kind": self.kind, "metadata": {"name": self.name}, "spec": spec})
            .to_string()
    }

    fn send(&self, plan: &Plan, verb: &[&str], spec: Value) -> Result<()> {
        send(plan, verb, &self.policy(spec))
    }

    fn expect_condition(&self, plan: &Plan, status: &str, words: &str) -> Result<()> {
        const VALID: &str = "--output=jsonpath={.status.conditions[?(@.type=='Valid')].status} \
                             {.status.conditions[?(@.type=='Valid')].message}";
        let found = kubectl::run(plan, &["get", &self.resource(), self.name, VALID])?;
        ensure!(found.starts_with(status) && found.contains(words), "the condition is {found:?}");
        Ok(())
    }

    fn listed(&self, plan: &Plan) -> Result<String> {
        let node = plan.node_machines().next().context("a cluster has nodes")?;
        let output = faults::run_nexin(plan, node, &["policy", "list"])?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Whether a line of the list of policies has the policy of this kind.
    fn is_named_in(&self, line: &str) -> bool {
        let mut words = line.split_whitespace();
        words.next() == Some(self.kind) && words.any(|word| word == self.name)
    }
}

/// Each client's way to send `fromEndpoints:` without a value is refused, and none leaves a policy behind.
fn field_without_value(plan: &Plan) -> Result<()> {
    let policy = CILIUM.policy(one_peer()).replace("[{}]", "null");
    for verb in [&["create"][..], &["apply", "--server-side"], &["apply"]] {
        let words = "spec.ingress[0].fromEndpoints: has no value";
        refused(send(plan, verb, &policy), words).with_context(|| format!("kubectl {}", verb.join(" ")))?;
    }
    let found = kubectl::run(plan, &["get", CILIUM.plural, CILIUM.name, "--ignore-not-found"])?;
    ensure!(found.is_empty(), "a refused policy exists:\n{found}");
    Ok(())
}

fn send(plan: &Plan, verb: &[&str], text: &str) -> Result<()> {
    run_with_input(kubectl::command(&plan.name).args(verb).args(["--filename", "-"]), text).map(drop)
}

fn refused(sent: Result<()>, words: &str) -> Result<()> {
    match sent {
        Ok(()) => bail!("it was accepted, and not refused with {words:?}"),
        Err(error) => {
            let error = format!("{error:#}");
            ensure!(error.contains(words) && error.contains("denied the request"), "the answer is {error}");
            Ok(())
        }
    }
}
