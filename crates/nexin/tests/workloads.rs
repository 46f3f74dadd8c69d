//! Tests of `nexin policy` with the workloads of a cluster: their number of pods, owners and nodes.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// A file that exists while a test runs.
struct File(PathBuf);

impl File {
    fn new(name: &str, text: &str) -> Self {
        let path = std::env::temp_dir().join(format!("nexin-workloads-{}-{name}.yaml", std::process::id()));
        fs::write(&path, text).unwrap();
        Self(path)
    }

    /// Runs `nexin policy` without an agent; `FILE` stands for the file.
    fn policy(&self, words: &str) -> (String, Option<i32>) {
        let words = words.split(' ').map(|word| if word == "FILE" { self.0.to_str().unwrap() } else { word });
        let output = Command::new(env!("CARGO_BIN_EXE_nexin"))
            .arg("policy")
            .args(words)
            .env("NEXIN_SOCKET", "/nonexistent/agent.sock")
            .output()
            .unwrap();
        let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
        (text, output.status.code())
    }

    fn explain(&self, from: &str, to: &str, port: &str, verdict: &str) -> String {
        let (said, code) = self.policy(&format!("explain -f FILE --from {from} --to {to} --port {port}"));
        assert_eq!(code, Some(0), "{said}");
        assert_eq!(said.split([',', '\n']).next(), Some(verdict), "{from} to {to}: {said}");
        said
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

const CLOSED: &str = "
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: closed, namespace: x}
spec: {podSelector: {}, policyTypes: [Ingress, Egress]}
";

fn pod(name: &str, labels: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: x, labels: {{{labels}}}}}\n\
         spec: {{{spec}containers: [{{name: c, ports: [{{name: web, containerPort: 80}}]}}]}}\n"
    )
}

fn node(name: &str, address: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Node\nmetadata: {{name: {name}}}\n\
         status: {{addresses: [{{type: InternalIP, address: {address}}}]}}\n"
    )
}

#[test]
fn no_pod_selector_selects_a_host_network_pod_as_subject() {
    let file = File::new(
        "subject",
        &format!("{}{}{CLOSED}", pod("agent", "app: agent", "hostNetwork: true, "), node("n1", "192.0.2.1")),
    );
    let said = file.explain("198.51.100.1", "x/agent", "80", "allow");
    assert!(
        said.contains("x/agent is in the network namespace of its node: to policies it is n1, not a pod"),
        "{said}"
    );
    file.explain("x/agent", "198.51.100.1", "443", "allow");
    file.explain("198.51.100.1", "x/agent", "web", "allow");
}

#[test]
fn no_pod_selector_selects_a_host_network_pod_as_peer() {
    let peers = "
---
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: p, namespace: x}
spec:
  endpointSelector: {matchLabels: {app: web}}
  ingress: [{fromEndpoints: [{}]}]
  egress: [{toEndpoints: [{matchLabels: {app: agent}}]}]
---
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: q, namespace: x}
spec:
  endpointSelector: {matchLabels: {app: api}}
  ingress: [{fromEntities: [remote-node]}]
  egress: [{toEntities: [remote-node]}]
";
    let text = [
        pod("agent", "app: agent", "hostNetwork: true, nodeName: n2, "),
        pod("web", "app: web", "nodeName: n1, "),
        pod("api", "app: api", "nodeName: n1, "),
        pod("near", "app: api", "nodeName: n2, "),
        node("n1", "192.0.2.1"),
        node("n2", "192.0.2.2"),
        peers.to_owned(),
    ];
    let file = File::new("peer", &text.concat());
    file.explain("x/agent", "x/web", "80", "drop");
    file.explain("x/web", "x/agent", "80", "drop");
    file.explain("x/agent", "x/api", "80", "allow");
    file.explain("x/api", "x/agent", "80", "allow");
    // To a pod of the same node it is the host, which is always allowed, and not a remote node.
    file.explain("x/agent", "x/near", "80", "allow");
    file.explain("x/near", "x/agent", "80", "drop");
}

#[test]
fn a_host_network_backend_of_a_service_is_its_node() {
    let service = "
---
apiVersion: v1
kind: Service
metadata: {name: s, namespace: x}
spec: {clusterIP: 10.96.0.7, selector: {app: agent}, ports: [{port: 80, targetPort: web}]}
---
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: p, namespace: x}
spec: {endpointSelector: {matchLabels: {app: cli}}, egress: [{toEntities: [host]}]}
---
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: q, namespace: x}
spec: {endpointSelector: {matchLabels: {app: other}}, egress: [{toEndpoints: [{}]}]}
";
    let pods = [
        pod("agent", "app: agent", "hostNetwork: true, "),
        pod("cli", "app: cli", ""),
        pod("other", "app: other", ""),
    ];
    for nodes in [String::new(), node("n1", "192.0.2.1")] {
        let file = File::new("service", &format!("{}{nodes}{service}", pods.concat()));
        let said = file.explain("x/cli", "x/s", "80", "allow");
        assert!(said.contains("is a service with backends"), "{said}");
        file.explain("x/other", "10.96.0.7", "80", "drop");
    }
}

#[test]
fn pods_of_one_controller_are_distinct_ends() {
    let check = |kind: &str, fields: &str, verdict: &str| {
        let text = format!(
            "apiVersion: apps/v1\nkind: {kind}\nmetadata: {{name: w, namespace: x}}\nspec: {{{fields}selector: \
             {{matchLabels: {{app: w}}}}, template: {{metadata: {{labels: {{app: w}}}}, spec: {{containers: []}}}}}}{CLOSED}"
        );
        File::new(&format!("pods-{kind}"), &text).explain("x/w", "x/w", "80", verdict);
    };
    check("DaemonSet", "", "drop");
    check("Deployment", "", "drop");
    check("StatefulSet", "replicas: 3, ", "drop");
    check("Deployment", "replicas: 1, ", "allow");
}

#[test]
fn a_workload_without_pods_is_not_a_backend() {
    let text = format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: w, namespace: x}}\nspec: {{replicas: 0, selector: \
         {{matchLabels: {{app: w}}}}, template: {{metadata: {{labels: {{app: w}}}}, spec: {{containers: []}}}}}}\n---\n\
         apiVersion: v1\nkind: Service\nmetadata: {{name: s, namespace: x}}\nspec: {{selector: {{app: w}}, ports: [{{port: 80}}]}}\n{}",
        pod("cli", "app: cli", "")
    );
    let file = File::new("none", &text);
    let said = file.explain("x/cli", "x/s", "80", "drop");
    assert!(said.contains("it has no backend: no workload matches its selector"), "{said}");
    let said = file.explain("x/cli", "x/w", "80", "allow");
    assert!(said.contains("x/w has no pods now; it is evaluated as if it had one"), "{said}");
}

const CRON: &str = "
apiVersion: batch/v1
kind: CronJob
metadata: {name: run, namespace: x, uid: c1}
spec: {schedule: x, jobTemplate: {spec: {template: {metadata: {labels: {app: run}}, spec: {containers: []}}}}}
---
apiVersion: batch/v1
kind: Job
metadata:
  name: run-28
  namespace: x
  uid: j1
  ownerReferences: [{apiVersion: batch/v1, kind: CronJob, name: run, uid: c1}]
spec: {template: {metadata: {labels: {app: run}}, spec: {containers: []}}}
---
apiVersion: v1
kind: Pod
metadata:
  name: run-28-x
  namespace: x
  labels: {app: run, job-name: run-28}
  ownerReferences: [{apiVersion: batch/v1, kind: Job, name: run-28, uid: j1}]
spec: {containers: []}
status: {podIP: 10.1.1.1}
";

#[test]
fn of_a_cron_job_its_job_and_its_pod_only_the_pod_is_a_workload() {
    let file = File::new("cron", &format!("{CRON}{CLOSED}"));
    let (said, _) = file.policy("explain -f FILE --from x/nobody --to world --port 1");
    assert!(said.contains("workloads: x/run-28-x;"), "{said}");
    let said = file.explain("x/run", "10.1.1.1", "80", "allow");
    assert!(said.contains("x/run owns x/run-28-x, which is evaluated"), "{said}");
    file.explain("198.51.100.1", "10.1.1.1", "80", "drop");
    // A workload with another owner of the same name is not owned.
    let other = File::new(
        "other",
        &format!("{}{CLOSED}", CRON.replace("name: run, uid: c1}]", "name: run, uid: c2}]")),
    );
    let (said, _) = other.policy("explain -f FILE --from x/nobody --to world --port 1");
    assert!(said.contains("workloads: x/run, x/run-28-x;"), "{said}");
}

#[test]
fn earlier_revisions_of_a_deployment_are_not_workloads() {
    let set = |name: &str, replicas: u32| {
        format!(
            "---\napiVersion: apps/v1\nkind: ReplicaSet\nmetadata: {{name: {name}, namespace: x, ownerReferences: \
             [{{apiVersion: apps/v1, kind: Deployment, name: w, uid: d1}}]}}\nspec: {{replicas: {replicas}, selector: \
             {{matchLabels: {{app: w}}}}, template: {{metadata: {{labels: {{app: w}}}}, spec: {{containers: []}}}}}}\n"
        )
    };
    let deployment = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: w, namespace: x, uid: d1}\nspec: {selector: \
                      {matchLabels: {app: w}}, template: {metadata: {labels: {app: w}}, spec: {containers: []}}}\n";
    let file = File::new("old", &format!("{deployment}{}{}", set("w-1", 0), set("w-2", 2)));
    let (said, _) = file.policy("explain -f FILE --from x/nobody --to world --port 1");
    assert!(said.contains("workloads: x/w-2;"), "{said}");
    let file = File::new("zero", &format!("{deployment}{}", set("w-1", 0)));
    let (said, _) = file.policy("explain -f FILE --from x/nobody --to world --port 1");
    assert!(said.contains("workloads: x/w;"), "{said}");
}

#[test]
fn workloads_of_two_kinds_may_have_the_same_name() {
    let text = format!(
        "apiVersion: apps/v1\nkind: DaemonSet\nmetadata: {{name: w, namespace: x}}\nspec: {{selector: {{matchLabels: \
         {{app: a}}}}, template: {{metadata: {{labels: {{app: a}}}}, spec: {{containers: []}}}}}}\n{}{CLOSED}",
        pod("w", "app: b", "")
    );
    let file = File::new("kinds", &text);
    let (said, _) = file.policy("explain -f FILE --from x/nobody --to world --port 1");
    assert!(said.contains("workloads: x/pod/w, x/w;"), "{said}");
    file.explain("x/pod/w", "198.51.100.1", "80", "drop");
}

#[test]
fn the_service_account_and_the_cluster_are_selected_like_other_labels() {
    let policy = "
---
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: p, namespace: x}
spec:
  endpointSelector: {matchLabels: {app: web}}
  ingress:
  - fromEndpoints: [{matchLabels: {io.cilium.k8s.policy.serviceaccount: reader, 'k8s:io.cilium.k8s.policy.cluster': default}}]
  - fromEndpoints: [{matchLabels: {io.cilium.k8s.policy.serviceaccount: default, app: plain}}]
  - fromEndpoints: [{matchLabels: {io.cilium.k8s.policy.cluster: elsewhere}}]
";
    let text = [
        pod("web", "app: web", ""),
        pod("reader", "app: r", "serviceAccountName: reader, "),
        pod("other", "app: o", "serviceAccount: other, "),
        pod("plain", "app: plain", ""),
        pod("forged", "io.cilium.k8s.policy.serviceaccount: reader", ""),
        policy.to_owned(),
    ];
    let file = File::new("account", &text.concat());
    file.explain("x/reader", "x/web", "80", "allow");
    file.explain("x/plain", "x/web", "80", "allow");
    file.explain("x/other", "x/web", "80", "drop");
    file.explain("x/forged", "x/web", "80", "drop");
    file.explain("x/io.cilium.k8s.policy.serviceaccount=reader", "x/web", "80", "allow");
}

#[test]
fn a_misspelt_namespace_label_is_reported_with_the_right_name() {
    let policy = "
---
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: p, namespace: x}
spec:
  endpointSelector: {}
  ingress: [{fromEndpoints: [{matchLabels: {io.kubernetes.pod.namespace.labels.tenant: a}}]}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: n, namespace: x}
spec: {podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {name: kube-system}}}]}]}
";
    let file = File::new("hint", &format!("{}{}{policy}", pod("a", "app: a", ""), pod("b", "app: b", "")));
    let hint = "no workload has a label of this name; did you mean `io.cilium.k8s.namespace.labels.tenant`?";
    let said = file.explain("x/a", "x/b", "80", "drop");
    assert!(said.contains(hint), "{said}");
    assert!(said.contains("peer's namespace has no label `name`, needs `name=kube-system`"), "{said}");
    let (said, code) = file.policy("validate FILE");
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("is called `io.cilium.k8s.namespace.labels.tenant`"), "{said}");
}

#[test]
fn contradicting_policies_of_equal_priority_are_reported() {
    let policy = |name: &str, action: &str, priority: u32, peer: &str| {
        format!(
            "---\napiVersion: policy.networking.k8s.io/v1alpha1\nkind: AdminNetworkPolicy\nmetadata: {{name: {name}}}\nspec: \
             {{priority: {priority}, subject: {{namespaces: {{}}}}, ingress: [{{action: {action}, from: [{{namespaces: \
             {{matchLabels: {{team: {peer}}}}}}}]}}]}}\n"
        )
    };
    let check = |second: &str, is_told: bool| {
        let file = File::new("tied", &format!("{}{second}", policy("a", "Allow", 5, "x")));
        let (said, code) = file.policy("validate FILE");
        assert_eq!(code, Some(0), "{said}");
        assert_eq!(said.contains("[same-priority]"), is_told, "{said}");
        assert!(!said.contains("is evaluated first") || !is_told, "{said}");
    };
    check(&policy("b", "Deny", 5, "x"), true);
    check(&policy("b", "Pass", 5, "x"), true);
    check(&policy("b", "Deny", 6, "x"), false);
    check(&policy("b", "Allow", 5, "x"), false);
    check(&policy("b", "Deny", 5, "y"), false);
}

#[test]
fn a_directory_with_documents_that_are_not_objects_is_validated() {
    let directory = std::env::temp_dir().join(format!("nexin-workloads-{}-charts", std::process::id()));
    fs::create_dir_all(directory.join("sub")).unwrap();
    let files = [
        ("kustomization.yaml", "resources: [a.yaml]\n"),
        ("sub/values.yaml", "replicaCount: 2\n"),
        ("sub/patch.yaml", "- {op: replace, path: /spec/replicas, value: 2}\n"),
        ("a.yaml", CLOSED),
    ];
    files.iter().for_each(|(name, text)| fs::write(directory.join(name), text).unwrap());
    let file = File(directory.join("a.yaml"));
    let (said, code) = file.policy(&format!("validate -R {}", directory.display()));
    let explained =
        file.policy(&format!("explain -R -f {} --from x/a=b --to world --port 80", directory.display()));
    fs::remove_dir_all(&directory).unwrap();
    assert_eq!(
        (said.trim_end(), code),
        ("1 object, nothing wrong; 3 objects of other kinds skipped", Some(0))
    );
    assert_eq!(explained.1, Some(0), "{}", explained.0);
}

/// Runs the PolicyTests of the host network, of service accounts and of empty lists on some engines.
fn holds_on(engines: &str, expected: &[&str]) {
    let output = Command::new(env!("CARGO_BIN_EXE_nexin"))
        .args(["test", "--engine", engines, "tests/workloads/engines.test.yaml"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{text}");
    expected.iter().for_each(|line| assert!(text.contains(line), "{text}"));
}

#[test]
fn engines_agree_on_the_host_network_on_accounts_and_on_empty_lists() {
    holds_on("model,native", &["model: 13 as expected, 0 not", "native: 13 as expected, 0 not"]);
}

#[test]
#[ignore = "needs root"]
fn the_live_engine_agrees_on_them() {
    holds_on("kernel,live", &["kernel: 13 as expected, 0 not", "live: 13 as expected, 0 not"]);
}
