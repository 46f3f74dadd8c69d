//! Pods and the kinds that create pods: the fields that policies depend on, in each kind.

use manifest::{Diagnostic, Object, PodCount, WorkloadObject};

fn lines(findings: &[Diagnostic]) -> String {
    findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

fn workloads(text: &str) -> Vec<WorkloadObject> {
    let manifest =
        manifest::parse("file.yaml", text).unwrap_or_else(|found| panic!("{text}\n{}", lines(&found)));
    let workload = |object| match object {
        Object::Workload(workload) => Some(workload),
        _ => None,
    };
    manifest.objects.into_iter().filter_map(workload).collect()
}

fn workload(text: &str) -> WorkloadObject {
    let mut found = workloads(text);
    assert_eq!(found.len(), 1, "{text}");
    found.remove(0)
}

/// The kinds that make pods, with `POD` for the spec of a pod, `META` for its metadata and `MORE` for fields of their own.
const CONTROLLERS: &[(&str, &str)] = &[
    ("apps/v1", "Deployment"),
    ("apps/v1", "ReplicaSet"),
    ("apps/v1", "StatefulSet"),
    ("apps/v1", "DaemonSet"),
    ("v1", "ReplicationController"),
    ("batch/v1", "Job"),
    ("batch/v1", "CronJob"),
    ("batch/v1beta1", "CronJob"),
];

fn controller(version: &str, kind: &str, more: &str, pod: &str) -> String {
    let template = format!("template: {{metadata: {{labels: {{app: a}}}}, spec: {pod}}}");
    let spec = match kind {
        "CronJob" => format!("{{schedule: x, jobTemplate: {{spec: {{{more}{template}}}}}}}"),
        "Job" => format!("{{{more}{template}}}"),
        "ReplicationController" => format!("{{{more}selector: {{app: a}}, {template}}}"),
        _ => format!("{{{more}selector: {{matchLabels: {{app: a}}}}, {template}}}"),
    };
    format!("{{apiVersion: {version}, kind: {kind}, metadata: {{name: a, namespace: x}}, spec: {spec}}}")
}

const PLAIN: &str = "{containers: [{name: c}]}";

#[test]
fn every_kind_with_a_template_makes_pods_with_its_labels() {
    for (version, kind) in CONTROLLERS {
        let found = workload(&controller(version, kind, "", PLAIN));
        assert_eq!((found.labels["app"].as_str(), found.namespace.as_str()), ("a", "x"), "{kind}");
        assert!(!found.host_network, "{kind}");
    }
    let list =
        format!("{{apiVersion: v1, kind: List, items: [{}]}}", controller("batch/v1", "CronJob", "", PLAIN));
    assert_eq!(workloads(&list).len(), 1);
    let item = controller("batch/v1", "Job", "", PLAIN).replace("apiVersion: batch/v1, kind: Job, ", "");
    assert_eq!(workloads(&format!("{{apiVersion: batch/v1, kind: JobList, items: [{item}]}}")).len(), 1);
}

#[test]
fn pods_of_a_job_have_its_name_as_a_label() {
    let found = workload(&controller("batch/v1", "Job", "", PLAIN));
    assert_eq!(found.labels["job-name"], "a");
    assert_eq!(found.labels["batch.kubernetes.io/job-name"], "a");
    let bare = "{apiVersion: batch/v1, kind: Job, metadata: {generateName: run-}, spec: {template: {spec: {containers: []}}}}";
    assert_eq!(workload(bare).name, "run");
}

#[test]
fn a_workload_says_how_many_pods_it_has() {
    let check = |kind: &str, more: &str, pods: PodCount| {
        let version = CONTROLLERS.iter().find(|(_, known)| *known == kind).unwrap().0;
        assert_eq!(workload(&controller(version, kind, more, PLAIN)).pods, pods, "{kind} {more}");
    };
    for kind in ["Deployment", "ReplicaSet", "StatefulSet", "ReplicationController"] {
        check(kind, "", PodCount::Several);
        check(kind, "replicas: 0, ", PodCount::None);
        check(kind, "replicas: 1, ", PodCount::One);
        check(kind, "replicas: 2, ", PodCount::Several);
    }
    check("DaemonSet", "", PodCount::Several);
    check("Job", "", PodCount::One);
    check("Job", "completions: 5, ", PodCount::One);
    check("Job", "parallelism: 3, ", PodCount::Several);
    check("Job", "parallelism: 3, completions: 1, ", PodCount::One);
    check("Job", "parallelism: 0, ", PodCount::None);
    check("Job", "suspend: true, ", PodCount::None);
    check("CronJob", "", PodCount::Several);
    let forbids = controller("batch/v1", "CronJob", "", PLAIN)
        .replace("schedule: x", "schedule: x, concurrencyPolicy: Forbid");
    assert_eq!(workload(&forbids).pods, PodCount::One);
}

#[test]
fn the_host_network_is_read_from_pods_and_every_template() {
    let shared = "{hostNetwork: true, nodeName: n1, containers: [{name: c}]}";
    for (version, kind) in CONTROLLERS {
        let found = workload(&controller(version, kind, "", shared));
        assert!(found.host_network, "{kind}");
    }
    let pod = format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: a}}, spec: {shared}, status: {{podIP: 192.0.2.1}}}}"
    );
    let found = workload(&pod);
    assert_eq!((found.host_network, found.node.as_deref()), (true, Some("n1")));
    assert!(found.addresses.is_empty(), "they are its node's");
}

#[test]
fn a_pod_has_the_addresses_of_its_status_while_it_runs() {
    let check = |status: &str, expected: &[&str]| {
        let text =
            format!("{{apiVersion: v1, kind: Pod, metadata: {{name: a}}, spec: {PLAIN}, status: {status}}}");
        let found: Vec<String> = workload(&text).addresses.iter().map(ToString::to_string).collect();
        assert_eq!(found, expected, "{status}");
    };
    check("{podIP: 10.1.1.1, podIPs: [{ip: 10.1.1.1}, {ip: 'fd00::1'}]}", &["10.1.1.1", "fd00::1"]);
    check("{podIP: 10.1.1.1}", &["10.1.1.1"]);
    check("{podIPs: [{ip: 'fd00::1'}]}", &["fd00::1"]);
    check("{phase: Pending}", &[]);
    check("{podIP: ''}", &[]);
    check("{phase: Succeeded, podIP: 10.1.1.1}", &[]);
}

#[test]
fn sidecars_have_ports_and_other_init_containers_do_not() {
    let pod = "{containers: [{name: c, ports: [{name: sql, containerPort: 5432}]}], initContainers: [\
               {name: s, restartPolicy: Always, ports: [{name: metrics, containerPort: 8099}]}, \
               {name: i, ports: [{name: once, containerPort: 9}]}]}";
    for (version, kind) in CONTROLLERS {
        let found = workload(&controller(version, kind, "", pod));
        let names: Vec<&str> = found.named_ports.iter().map(|port| port.name.as_str()).collect();
        assert_eq!(names, ["sql", "metrics"], "{kind}");
    }
}

#[test]
fn the_service_account_is_a_label_that_a_pod_cannot_set() {
    let account = |spec: &str, labels: &str| {
        let text = format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: a, labels: {{{labels}}}}}, spec: {{containers: []{spec}}}}}"
        );
        workload(&text).labels.get("io.cilium.k8s.policy.serviceaccount").cloned()
    };
    assert_eq!(account(", serviceAccountName: reader", ""), Some("reader".to_owned()));
    assert_eq!(account(", serviceAccount: reader", ""), Some("reader".to_owned()));
    assert_eq!(account("", ""), None);
    assert_eq!(account("", "io.cilium.k8s.policy.serviceaccount: admin"), None);
    let forged = "{apiVersion: v1, kind: Pod, metadata: {name: a, labels: {io.cilium.k8s.namespace.labels.team: b}}, \
                  spec: {containers: []}}";
    let manifest = manifest::parse("file.yaml", forged).unwrap();
    assert!(
        manifest.warnings[0].message.contains("the cluster itself sets the label"),
        "{:?}",
        manifest.warnings
    );
    assert!(workload(forged).labels.is_empty());
}

#[test]
fn an_owner_is_identified_by_kind_name_and_uid() {
    let set = |uid: &str| {
        workload(
            &controller("apps/v1", "ReplicaSet", "", PLAIN)
                .replace("namespace: x", &format!("namespace: x, uid: {uid}")),
        )
    };
    let pod = |kind: &str, name: &str, uid: &str| {
        workload(&format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: a-1, namespace: x, ownerReferences: \
             [{{apiVersion: apps/v1, kind: {kind}, name: {name}{uid}, controller: true}}]}}, spec: {PLAIN}}}"
        ))
    };
    assert!(set("r1").owns(&pod("ReplicaSet", "a", ", uid: r1")));
    assert!(set("r1").owns(&pod("ReplicaSet", "a", "")));
    assert!(!set("r1").owns(&pod("ReplicaSet", "a", ", uid: r2")));
    assert!(!set("r1").owns(&pod("StatefulSet", "a", ", uid: r1")));
    assert!(!set("r1").owns(&pod("ReplicaSet", "b", ", uid: r1")));
}

#[test]
fn documents_that_are_no_objects_are_skipped_and_counted() {
    let check = |text: &str, skipped: usize| {
        let manifest =
            manifest::parse("file.yaml", text).unwrap_or_else(|found| panic!("{text}\n{}", lines(&found)));
        assert_eq!((manifest.skipped, manifest.objects.len()), (skipped, 0), "{text}");
    };
    check("resources: [a.yaml]\n", 1);
    check("replicaCount: 3\n---\nimage: {tag: x}\n", 2);
    check("- {op: replace, path: /spec/replicas, value: 3}\n", 1);
    for text in ["kind: NetworkPolicy\nspec: {}\n", "apiVersion: networking.k8s.io/v1\nspec: {}\n"] {
        let found = lines(&manifest::parse("file.yaml", text).unwrap_err());
        assert!(found.contains("is missing"), "{found}");
    }
}

#[test]
fn the_form_of_2023_is_reported_with_the_current_form() {
    for peers in
        ["namespaces: {namespaceSelector: {matchLabels: {a: b}}}", "pods: {namespaces: {}, podSelector: {}}"]
    {
        let text = format!(
            "{{apiVersion: policy.networking.k8s.io/v1alpha1, kind: AdminNetworkPolicy, metadata: {{name: p}}, spec: \
             {{priority: 1, subject: {{namespaces: {{}}}}, ingress: [{{action: Deny, from: [{{{peers}}}]}}]}}}}"
        );
        let found = lines(&manifest::parse("file.yaml", &text).unwrap_err());
        assert!(found.contains("is the form of 2023;") && found.contains("matchLabels: ..."), "{found}");
        assert!(!found.contains("unknown field"), "{found}");
    }
}
