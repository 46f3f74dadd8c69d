//! Tests of services of every kind with a running agent: listed backends receive connections, and listed API servers are peers.

use crate::bed::{self, Bed, Host};
use crate::masquerade;
use api::ApiRequest;
use api::view::{Explanation, ServiceSummary};
use std::net::{IpAddr, SocketAddr};

/// Objects of a cluster's dump beside policies; none of them makes the agent refuse the others.
const DUMP: &str = r#"
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Service, metadata: {name: auto}, spec: {selector: {app: auto}, ports: [{port: 80}]}}
- {apiVersion: v1, kind: Service, metadata: {name: kubernetes, uid: u}, spec: {type: ClusterIP, clusterIP: 10.96.0.1, clusterIPs: [10.96.0.1], internalTrafficPolicy: Cluster, ipFamilies: [IPv4], ipFamilyPolicy: SingleStack, sessionAffinity: None, ports: [{name: https, port: 443, protocol: TCP, targetPort: 6443}]}, status: {loadBalancer: {}}}
- {apiVersion: v1, kind: Service, metadata: {name: lb}, spec: {type: LoadBalancer, clusterIP: 10.96.0.7, externalTrafficPolicy: Local, healthCheckNodePort: 30100, loadBalancerSourceRanges: [192.0.2.0/24], sessionAffinity: ClientIP, sessionAffinityConfig: {clientIP: {timeoutSeconds: 60}}, selector: {app: server}, ports: [{port: 8080, targetPort: 80, nodePort: 30101}]}, status: {loadBalancer: {ingress: [{ip: 192.0.2.9}]}}}
- {apiVersion: v1, kind: Service, metadata: {name: alias}, spec: {type: ExternalName, externalName: db.example.com}}
- {apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: names, labels: {kubernetes.io/service-name: alias}}, addressType: FQDN, endpoints: [{addresses: [db.example.com]}], ports: null}
- {apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: stray}, addressType: IPv4, endpoints: null, ports: null}
"#;

/// A service without selector, and its Endpoints: the servers.
fn listed(kind: &str, addresses: &[std::net::IpAddr]) -> String {
    let v4 =
        addresses.iter().find(|address| address.is_ipv4()).expect("a workload has an address of each family");
    let lists = match kind {
        "Endpoints" => format!(
            "{{apiVersion: v1, kind: Endpoints, metadata: {{name: old}}, subsets: [{{addresses: [{{ip: {v4}}}], ports: [{{port: 80}}]}}]}}"
        ),
        _ => format!(
            "{{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {{name: old-1, labels: {{kubernetes.io/service-name: old}}}}, \
             addressType: IPv4, endpoints: [{{addresses: [{v4}]}}, {{addresses: [192.0.2.77], conditions: {{ready: false}}}}], ports: [{{port: 80}}]}}"
        ),
    };
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: old}}\nspec: {{clusterIP: 10.96.0.9, ports: [{{port: 5432, targetPort: 80}}]}}\n---\n{lists}\n"
    )
}

fn fetch(from: &Host, to: &str) -> Option<u16> {
    from.connect_to(to.parse().unwrap())?.fetch("/")
}

fn explain(bed: &Bed, to: &str, port: u16) -> Explanation {
    explain_from(bed, "client", to, port)
}

fn explain_from(bed: &Bed, from: &str, to: &str, port: u16) -> Explanation {
    let probe = api::ExplainProbe {
        from: from.into(),
        to: to.into(),
        port,
        port_name: None,
        protocol: "TCP".into(),
        family: None,
        http: None,
    };
    bed.ask(ApiRequest::Explain(Box::new(probe)))
}

#[test]
#[ignore = "needs root"]
fn a_dump_with_services_of_every_kind_is_applied_completely() {
    let bed = Bed::new("va");
    let (server, client) = (bed.workload("server"), bed.workload("client"));
    bed.write_policy("dump.yaml", DUMP);
    let services = || -> Vec<ServiceSummary> { bed.ask(ApiRequest::Services) };
    assert!(
        bed::eventually(|| (services().len() == 4).then_some(())).is_some(),
        "{:?}",
        bed.status().problems
    );
    assert_eq!(bed.status().problems, Vec::<String>::new());
    assert_eq!(fetch(&client, "10.96.0.7:8080"), Some(200), "a load balancer has a cluster address");
    drop(server);
    let auto = services().into_iter().find(|service| service.name == "auto").unwrap();
    let frontends: Vec<&str> = auto.frontends.iter().map(|one| one.frontend.as_str()).collect();
    assert!(
        !frontends.contains(&"10.96.0.1:80/TCP"),
        "a requested address is not assigned to others: {frontends:?}"
    );
}

#[test]
#[ignore = "needs root"]
fn listed_backends_receive_connections_until_they_are_removed() {
    let bed = Bed::new("vb");
    let (server, client) = (bed.workload("server"), bed.workload("client"));
    for (kind, name) in
        [("Endpoints", "Endpoints/default/old"), ("EndpointSlice", "EndpointSlice/default/old-1")]
    {
        bed.apply(&listed(kind, &server.addresses));
        assert_eq!(fetch(&client, "10.96.0.9:5432"), Some(200), "{kind}");
        let said = explain(&bed, "10.96.0.9", 5432);
        assert!(said.notes[0].ends_with("with backends default/server:80"), "{said:?}");
        bed.delete(name);
        assert_eq!(fetch(&client, "10.96.0.9:5432"), None, "{kind}");
        assert_eq!(explain(&bed, "10.96.0.9", 5432).verdict, "drop");
    }
}

#[test]
#[ignore = "needs root"]
fn the_backend_of_each_flow_to_a_service_is_listed() {
    let bed = Bed::new("vd");
    let (server, client) = (bed.workload("server"), bed.workload("client"));
    bed.apply(&listed("Endpoints", &server.addresses));
    let choices = || -> Vec<serde_json::Value> {
        let (code, said) = bed.says(&["bpf", "choices", "-o", "json"]);
        assert_eq!(code, Some(0), "{said}");
        serde_json::from_str(&said).unwrap()
    };
    assert_eq!(choices(), Vec::<serde_json::Value>::new());
    assert_eq!(fetch(&client, "10.96.0.9:5432"), Some(200));
    let [choice] = &choices()[..] else { panic!("one flow, one choice: {:?}", choices()) };
    assert!(choice["client"].as_str().unwrap().starts_with("default/client:"), "{choice}");
    assert_eq!(
        [&choice["service"], &choice["frontend"], &choice["protocol"], &choice["backend"]],
        ["default/old", "10.96.0.9:5432", "TCP", "default/server:80"],
        "{choice}"
    );
    let (code, said) = bed.says(&["bpf", "choices"]);
    assert_eq!(code, Some(0));
    assert!(said.contains("BACKEND") && said.contains("default/server:80"), "{said}");
}

#[test]
#[ignore = "needs root"]
fn api_servers_follow_their_listed_addresses() {
    let bed = Bed::new("vc");
    let client = bed.workload("client");
    let node = bed.node();
    node.serve("node");
    bed.apply(
        "{apiVersion: cilium.io/v2, kind: CiliumNetworkPolicy, metadata: {name: api}, spec: {endpointSelector: {matchLabels: \
         {app: client}}, egress: [{toEntities: [kube-apiserver]}]}}",
    );
    bed.apply(DUMP);
    let listed = |address: &str| {
        bed.apply(&format!(
            "{{apiVersion: v1, kind: Endpoints, metadata: {{name: kubernetes}}, subsets: [{{addresses: [{{ip: {address}}}], ports: \
             [{{name: https, port: 80}}]}}]}}"
        ));
    };
    assert_eq!(client.fetch(&node, "/"), None, "none is known");
    listed("10.244.0.1");
    assert_eq!(client.fetch(&node, "/"), Some(200), "the node is one");
    assert_eq!(fetch(&client, "10.96.0.1:443"), Some(200), "by the address of the service");
    listed("198.51.100.6");
    assert_eq!(client.fetch(&node, "/"), None, "it is one no longer");
    assert_eq!(explain(&bed, "kube-apiserver", 443).verdict, "allow");
    assert_eq!(explain(&bed, "198.51.100.6", 443).verdict, "allow");
    assert_eq!(explain(&bed, "198.51.100.7", 443).verdict, "drop");
}

/// The address that a service of the workload sees its peer at, by TCP and by UDP.
fn seen_through(service: SocketAddr, from: &Host) -> [Option<IpAddr>; 2] {
    [masquerade::seen_by_tcp(from, service), masquerade::seen_by_udp(from, service)]
}

#[test]
#[ignore = "needs root"]
fn a_workload_reaches_itself_through_its_service_whatever_policy_allows() {
    let bed = Bed::new("ve");
    let own = bed.bare_workload("own");
    masquerade::tell_sources(&own, 8080);
    bed.apply(
        "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: none}, spec: {podSelector: {}, policyTypes: \
         [Ingress, Egress]}}",
    );
    bed.apply(
        "{apiVersion: v1, kind: Service, metadata: {name: own}, spec: {clusterIPs: [10.96.0.9, 'fd96::9'], selector: {app: own}, \
         ports: [{name: t, port: 80, targetPort: 8080}, {name: u, port: 80, targetPort: 8080, protocol: UDP}]}}",
    );
    for (service, source) in [("10.96.0.9:80", "169.254.42.1"), ("[fd96::9]:80", "100::a9fe:2a01")] {
        let (service, source) = (service.parse().unwrap(), source.parse().ok());
        assert_eq!(bed::eventually(|| seen_through(service, &own)[0]), source, "{service}");
        assert_eq!(seen_through(service, &own), [source; 2], "{service}");
    }
    let said = explain_from(&bed, "own", "10.96.0.9", 80);
    assert_eq!((said.verdict.as_str(), said.sides.len()), ("allow", 0), "{said:?}");
}
