//! A complete example of each request, answer and view: every option is there, every list and map has an entry.

use crate::describe::describe;
use api::view::{
    ApiServerLoad, Applied, AppliedObject, ApplyResult, Branch, Considered, EndpointSummary, Explanation,
    FrontendSummary, IdentitySummary, NodeReachability, PolicySummary, ProxyConnections, RuleSummary,
    RuntimeSettings, ServiceSummary, SideVerdict, Status,
};
use api::{
    Answer, ApiRequest, AttachmentAddress, AttachmentName, AttachmentPort, AttachmentReadiness,
    AttachmentSpec, AttachmentSummary, Cause, Envelope, ExplainProbe, Failure, HttpProbe, PodIdentifier,
    WorkloadSpec,
};
use std::collections::BTreeMap;
use std::net::IpAddr;

pub(crate) fn envelope(request: ApiRequest) -> Envelope {
    Envelope { version: api::VERSION, request }
}

pub(crate) fn requests() -> Vec<ApiRequest> {
    let (namespace, name) = (text(), text());
    vec![
        ApiRequest::Status,
        ApiRequest::Endpoints,
        ApiRequest::Identities,
        ApiRequest::Services,
        ApiRequest::Policies,
        ApiRequest::Rules,
        ApiRequest::Apply { file: text(), text: text(), results: true },
        ApiRequest::Delete { names: vec![text()] },
        ApiRequest::Explain(Box::new(ExplainProbe {
            from: text(),
            to: text(),
            port: 1,
            port_name: Some(text()),
            protocol: text(),
            family: Some(text()),
            http: Some(HttpProbe {
                method: text(),
                path: text(),
                host: text(),
                headers: vec![(text(), text())],
            }),
        })),
        ApiRequest::Observe { last: 1, follow: true, filters: vec![text()] },
        ApiRequest::CreateWorkload(WorkloadSpec {
            namespace: text(),
            name: text(),
            labels: map(text()),
            addresses: vec!["10.0.0.1".parse().unwrap()],
            named_ports: map(text()),
            owner: Some(1),
        }),
        ApiRequest::RemoveWorkload { namespace: namespace.clone(), name: name.clone() },
        ApiRequest::ConfigureWorkload { namespace, name, audit: true },
        ApiRequest::Attach(Box::new(AttachmentSpec {
            name: attachment(),
            network: text(),
            network_namespace: "/run/netns/a".into(),
            pod: Some(PodIdentifier { namespace: text(), name: text(), uid: Some(text()) }),
            labels: map(text()),
            named_ports: map(text()),
            addresses: vec!["10.0.0.1".parse().unwrap()],
            chained: true,
            host_ports: vec![AttachmentPort {
                address: Some("192.0.2.1".parse().unwrap()),
                port: 1,
                protocol: text(),
                container_port: 1,
            }],
        })),
        ApiRequest::Detach { name: attachment() },
        ApiRequest::CheckAttachment { name: attachment(), addresses: vec!["10.0.0.1".parse().unwrap()] },
        ApiRequest::CollectAttachments { network: text(), valid: vec![attachment()] },
        ApiRequest::Readiness,
        ApiRequest::ChangeSettings { monitor_aggregation: Some(text()) },
        ApiRequest::Stop,
    ]
}

fn attachment() -> AttachmentName {
    AttachmentName { container: text(), interface: text() }
}

fn attachment_summary() -> AttachmentSummary {
    let address =
        AttachmentAddress { address: "10.0.0.1".parse().unwrap(), gateway: "169.254.1.1".parse().unwrap() };
    AttachmentSummary {
        id: 1,
        host_interface: text(),
        host_mac: text(),
        mac: text(),
        mtu: 1,
        addresses: vec![address],
    }
}

pub(crate) fn answers() -> Vec<String> {
    let failure = Failure { cause: Cause::Invalid, messages: vec![text()] };
    vec![
        describe("answer", &Answer::<String>::Ok(text())),
        describe("answer", &Answer::<String>::Error(failure)),
    ]
}

pub(crate) fn views() -> Vec<String> {
    vec![
        describe("Status", &status()),
        describe("RuntimeSettings", &RuntimeSettings { monitor_aggregation: text() }),
        describe("ProxyConnections", &proxy_connections()),
        describe("ApiServerLoad", &api_server_load()),
        describe("NodeReachability", &node_reachability()),
        describe("EndpointSummary", &endpoint()),
        describe("AttachmentSummary", &attachment_summary()),
        describe("AttachmentReadiness", &AttachmentReadiness { reasons: vec![text()] }),
        describe("IdentitySummary", &IdentitySummary { id: 1, labels: vec![text()], workloads: 1 }),
        describe(
            "ServiceSummary",
            &ServiceSummary { namespace: text(), name: text(), frontends: vec![frontend()] },
        ),
        describe("FrontendSummary", &frontend()),
        describe(
            "PolicySummary",
            &PolicySummary {
                kind: text(),
                namespace: Some(text()),
                name: text(),
                rules: 1,
                endpoints: 1,
                source: text(),
            },
        ),
        describe("Applied", &Applied { objects: vec![applied()], warnings: vec![text()], skipped: 1 }),
        describe("AppliedObject", &applied()),
        describe("RuleSummary", &RuleSummary { id: 1, policy: text(), place: text() }),
        describe(
            "Explanation",
            &Explanation {
                verdict: text(),
                requests: Some(vec![text()]),
                notes: vec![text()],
                sides: vec![side()],
                branches: vec![branch()],
            },
        ),
        describe("Branch", &branch()),
        describe("SideVerdict", &side()),
        describe("Considered", &considered()),
    ]
}

fn status() -> Status {
    Status {
        version: text(),
        kernel: text(),
        agent: 1,
        proxy: Some(1),
        proxy_connections: Some(proxy_connections()),
        attach: text(),
        pins: text(),
        policies_from: text(),
        api_server: Some(api_server_load()),
        nodes: vec![node_reachability()],
        problems: vec![text()],
        notes: vec![text()],
        endpoints: 1,
        identities: 1,
        policies: 1,
        services: 1,
        enforcement: text(),
        packets: map(1),
        lost_events: 1,
        lost_events_by_cause: map(1),
    }
}

fn node_reachability() -> NodeReachability {
    NodeReachability {
        name: text(),
        address: IpAddr::from([192, 0, 2, 1]),
        reachable: true,
        round_trip_micros: Some(1),
        unreachable_since: Some(text()),
    }
}

fn api_server_load() -> ApiServerLoad {
    ApiServerLoad { lists: 1, watches: 1, writes: 1, received_bytes: 1 }
}

fn proxy_connections() -> ProxyConnections {
    ProxyConnections { in_use: 1, limit: 1, most_of_a_client: 1, refused: map(1), made_room: 1 }
}

fn endpoint() -> EndpointSummary {
    EndpointSummary {
        id: 1,
        namespace: text(),
        name: text(),
        identity: 1,
        labels: vec![text()],
        addresses: vec!["10.0.0.1".parse().unwrap()],
        named_ports: vec![(text(), text())],
        interface: text(),
        network_namespace: text(),
        group: Some("/group".into()),
        ingress_enforced: true,
        egress_enforced: true,
        policy: 1,
        audit: true,
    }
}

fn frontend() -> FrontendSummary {
    FrontendSummary { frontend: text(), backends: vec![text()] }
}

fn branch() -> Branch {
    Branch { to: text(), verdict: text(), sides: vec![side()] }
}

fn side() -> SideVerdict {
    SideVerdict {
        direction: text(),
        subject: text(),
        verdict: text(),
        requests: Some(vec![text()]),
        rule: Some(text()),
        reason: text(),
        considered: vec![considered()],
    }
}

fn considered() -> Considered {
    Considered {
        rule: text(),
        at: Some(text()),
        tier: text(),
        applies: true,
        nearest: true,
        finding: text(),
        why: text(),
    }
}

fn applied() -> AppliedObject {
    AppliedObject { name: text(), result: ApplyResult::Created }
}

fn text() -> String {
    "text".into()
}

fn map<T>(value: T) -> BTreeMap<String, T> {
    BTreeMap::from([("key".into(), value)])
}
