//! Tests of `explain`, `diff` and `validate` with services, their listed addresses, and API servers.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// A directory with files, and `nexin policy` run in it.
struct Files(PathBuf);

impl Files {
    fn new(name: &str, files: &[(&str, &str)]) -> Self {
        let directory = std::env::temp_dir().join(format!("nexin-services-{}-{name}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        files.iter().for_each(|(file, text)| fs::write(directory.join(file), text).unwrap());
        Self(directory)
    }

    /// The output and the exit code.
    fn policy(&self, words: &str) -> (String, Option<i32>) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nexin"));
        let output = command.arg("policy").args(words.split(' ')).current_dir(&self.0).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (String::from_utf8(said).unwrap(), output.status.code())
    }

    /// Expects a verdict, and parts of the explanation.
    fn explain(&self, words: &str, verdict: &str, told: &[&str]) {
        let (said, _) = self.policy(&format!("explain {words}"));
        assert_eq!(said.lines().next(), Some(verdict), "{words}: {said}");
        told.iter().for_each(|told| assert!(said.contains(told), "{words}: no {told:?} in {said}"));
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const CAST: &str = "
{apiVersion: v1, kind: Pod, metadata: {name: op, namespace: x, labels: {app: op}}, spec: {containers: [{name: c}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: s, namespace: x, labels: {app: s}}, spec: {containers: [{name: c}]}}
---
{apiVersion: v1, kind: Node, metadata: {name: cp, labels: {role: cp}}, status: {addresses: [{type: InternalIP, address: 192.0.2.10}]}}
---
{apiVersion: v1, kind: Node, metadata: {name: w}, status: {addresses: [{type: InternalIP, address: 192.0.2.11}]}}
";

/// The listed addresses of the API servers.
fn api(addresses: &str) -> String {
    format!(
        "{{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {{name: kubernetes, labels: \
         {{kubernetes.io/service-name: kubernetes}}}}, addressType: IPv4, endpoints: [{{addresses: [{addresses}]}}], ports: \
         [{{name: https, port: 6443}}]}}\n"
    )
}

/// A policy that selects all workloads of a namespace, with this egress.
fn egress(rules: &str) -> String {
    format!(
        "{{apiVersion: cilium.io/v2, kind: CiliumNetworkPolicy, metadata: {{name: p, namespace: x}}, spec: \
         {{endpointSelector: {{}}, egress: [{rules}]}}}}\n"
    )
}

const API: &str = "{toEntities: [kube-apiserver]}";

#[test]
fn services_of_every_kind_are_resolved_to_their_backends() {
    let services = "
{apiVersion: v1, kind: Service, metadata: {name: s, namespace: x}, spec: {type: LoadBalancer, selector: {app: s}, ports: [{port: 80, targetPort: 8080}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: alias, namespace: x}, spec: {type: ExternalName, externalName: db.example.com}}
---
{apiVersion: v1, kind: Service, metadata: {name: headless, namespace: x}, spec: {clusterIP: None}}
---
{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: h-1, namespace: x, labels: {kubernetes.io/service-name: headless}}, addressType: IPv4, endpoints: [{addresses: [198.51.100.20]}], ports: [{name: pg, port: 5433}]}
---
{apiVersion: v1, kind: Service, metadata: {name: old, namespace: x}, spec: {clusterIP: 10.96.0.9, ports: [{port: 5432, targetPort: pg}]}}
---
{apiVersion: v1, kind: Endpoints, metadata: {name: old, namespace: x}, subsets: [{addresses: [{ip: 192.0.2.11}], notReadyAddresses: [{ip: 192.0.2.12}], ports: [{name: pg, port: 5433}]}]}
";
    let rules = "{toFQDNs: [{matchName: db.example.com}]}, {toCIDR: [198.51.100.20/32], toPorts: [{ports: [{port: '5433'}]}]}, \
                 {toEndpoints: [{matchLabels: {app: s}}], toPorts: [{ports: [{port: '8080'}]}]}, {toEntities: [remote-node]}";
    let files = Files::new("kinds", &[("cast.yaml", CAST), ("s.yaml", services), ("p.yaml", &egress(rules))]);
    let ask = |to, port| format!("-f cast.yaml -f s.yaml -f p.yaml --from x/op --to {to} --port {port}");
    files.explain(&ask("x/s", "80"), "allow", &["x/s:80 is a service with backends x/s:8080"]);
    files.explain(&ask("x/s", "81"), "drop", &[]);
    files.explain(&ask("x/alias", "5432"), "allow", &["service x/alias is an alias of db.example.com"]);
    files.explain(&ask("x/headless", "5433"), "allow", &["with backends 198.51.100.20:5433"]);
    files.explain(&ask("x/headless", "pg"), "allow", &["with backends 198.51.100.20:5433"]);
    files.explain(&ask("x/headless", "5432"), "drop", &["with backends 198.51.100.20:5432"]);
    files.explain(
        &ask("10.96.0.9", "5432"),
        "allow",
        &["10.96.0.9:5432 is service x/old with backends w:5433"],
    );
    files.explain(&ask("10.96.0.9", "5433"), "drop", &["5433/TCP is not translated"]);
}

#[test]
fn api_servers_are_recognized_by_their_listed_addresses() {
    let all = [CAST, "---\n", &api("192.0.2.10, 198.51.100.6")].concat();
    let files = Files::new("api", &[("cast.yaml", CAST), ("all.yaml", &all), ("p.yaml", &egress(API))]);
    let ask = |cast, to| format!("-f {cast} -f p.yaml --from x/op --to {to} --port 6443");
    for to in ["cp", "192.0.2.10", "198.51.100.6", "kube-apiserver"] {
        files.explain(&ask("all.yaml", to), "allow", &["CiliumNetworkPolicy/x/p spec.egress[0]"]);
    }
    for to in ["w", "198.51.100.7"] {
        files.explain(&ask("all.yaml", to), "drop", &["needs entity kube-apiserver"]);
    }
    files.explain(&ask("cast.yaml", "cp"), "drop", &[]);
    let unknown = "no address is listed for service default/kubernetes in these files";
    files.explain(&ask("cast.yaml", "kube-apiserver"), "allow", &[unknown]);
}

#[test]
fn validate_warns_of_unknown_api_servers() {
    let labels =
        egress("{toEndpoints: [{matchLabels: {'reserved:kube-apiserver': ''}}]}, {toEntities: [world]}");
    let files = Files::new(
        "validate",
        &[
            ("p.yaml", &egress(API)),
            ("q.yaml", &labels),
            ("api.yaml", &api("192.0.2.10")),
            ("none.yaml", &api("")),
        ],
    );
    let warning = "spec.egress[0]: kube-apiserver matches no peer: no address is listed for service default/kubernetes here";
    for words in ["p.yaml", "q.yaml", "p.yaml none.yaml"] {
        let (said, code) = files.policy(&format!("validate {words}"));
        assert!(
            said.contains(warning) && said.contains("[no-api-server]") && said.contains("1 warning"),
            "{said}"
        );
        assert_eq!((code, files.policy(&format!("validate --strict {words}")).1), (Some(0), Some(1)));
    }
    assert_eq!(files.policy("validate p.yaml api.yaml"), ("2 objects, nothing wrong\n".to_owned(), Some(0)));
}

#[test]
fn a_change_of_api_servers_is_a_difference() {
    let with = |addresses: &str| [&egress(API), "---\n", &api(addresses)].concat();
    let files = Files::new(
        "diff",
        &[
            ("cast.yaml", CAST),
            ("all.yaml", &[CAST, "---\n", &api("192.0.2.10, 198.51.100.6")].concat()),
            ("none.yaml", &egress("{}")),
            ("p.yaml", &egress(API)),
            ("labels.yaml", &egress("{toEndpoints: [{matchLabels: {'reserved:kube-apiserver': ''}}]}")),
            ("node.yaml", &with("192.0.2.10")),
            ("outside.yaml", &with("198.51.100.6")),
        ],
    );
    let check = |words: &str, told: &[&str]| {
        let (said, code) = files.policy(&format!("diff {words}"));
        assert_eq!(code, Some(1), "{said}");
        told.iter().for_each(|told| assert!(said.contains(told), "{words}: no {told:?} in {said}"));
    };
    check(
        "none.yaml p.yaml --workloads cast.yaml",
        &["-> kube-apiserver, kube-apiserver on a node: anything: drop -> allow"],
    );
    check(
        "none.yaml labels.yaml --workloads cast.yaml",
        &["-> kube-apiserver, kube-apiserver on a node: anything: drop -> allow"],
    );
    check("none.yaml p.yaml --workloads all.yaml", &["-> 198.51.100.6, cp: anything: drop -> allow"]);
    let moved = ["-> cp: anything: allow -> drop", "-> 198.51.100.6: anything: drop -> allow"];
    check("node.yaml outside.yaml --workloads cast.yaml", &moved);
    let (said, code) = files.policy("diff p.yaml labels.yaml --workloads all.yaml");
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn a_change_of_a_services_listed_addresses_is_a_difference() {
    let service = "{apiVersion: v1, kind: Service, metadata: {name: old, namespace: x}, spec: {ports: [{port: 1}]}}\n---\n";
    let rule = egress("{toServices: [{k8sService: {serviceName: old, namespace: x}}]}");
    let listed = |address: &str| {
        let slice =
            api(address).replace("kubernetes.io/service-name: kubernetes", "kubernetes.io/service-name: old");
        [service, &slice.replace("name: kubernetes,", "name: old-1, namespace: x,"), "---\n", &rule].concat()
    };
    let files = Files::new(
        "listed",
        &[("cast.yaml", CAST), ("a.yaml", &listed("198.51.100.1")), ("b.yaml", &listed("198.51.100.2"))],
    );
    let (said, code) = files.policy("diff a.yaml b.yaml --workloads cast.yaml");
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("198.51.100.1/32: anything: allow -> drop"), "{said}");
}
