//! A complete example of each request, answer and view: every option is there, every list and map has an entry.

use crate::describe::describe;
use api::view::{
    Applied, ApplyResult, Branch, Considered, Endpoint, Explanation, Frontend, Identity, Policy,
    ProxyConnections, Rule, Service, Side, Status,
};
use api::{Answer, Cause, Envelope, Failure, HttpProbe, Probe, Request, WorkloadSpec};
use std::collections::BTreeMap;

pub(crate) fn envelope(request: Request) -> Envelope {
    Envelope { version: api::VERSION, request }
}

pub(crate) fn requests() -> Vec<Request> {
    let (namespace, name) = (text(), text());
    vec![
        Request::Status,
        Request::Endpoints,
        Request::Identities,
        Request::Services,
        Request::Policies,
        Request::Rules,
        Request::Apply { file: text(), text: text(), results: true },
        Request::Delete { names: vec![text()] },
        Request::Explain(Box::new(Probe {
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
        Request::Observe { last: 1, follow: true, filters: vec![text()] },
        Request::CreateWorkload(WorkloadSpec {
            namespace: text(),
            name: text(),
            labels: map(text()),
            addresses: vec!["10.0.0.1".parse().unwrap()],
            named_ports: map(text()),
            owner: Some(1),
        }),
        Request::RemoveWorkload { namespace: namespace.clone(), name: name.clone() },
        Request::ConfigureWorkload { namespace, name, audit: true },
        Request::Stop,
    ]
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
        describe("ProxyConnections", &proxy_connections()),
        describe("Endpoint", &endpoint()),
        describe("Identity", &Identity { id: 1, labels: vec![text()], workloads: 1 }),
        describe("Service", &Service { namespace: text(), name: text(), frontends: vec![frontend()] }),
        describe("Frontend", &frontend()),
        describe(
            "Policy",
            &Policy {
                kind: text(),
                namespace: Some(text()),
                name: text(),
                rules: 1,
                endpoints: 1,
                source: text(),
            },
        ),
        describe("Applied", &Applied { name: text(), result: ApplyResult::Created }),
        describe("Rule", &Rule { id: 1, policy: text(), place: text() }),
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
        describe("Side", &side()),
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
        problems: vec![text()],
        notes: vec![text()],
        endpoints: 1,
        identities: 1,
        policies: 1,
        services: 1,
        enforcement: text(),
        packets: map(1),
        lost_events: 1,
    }
}

fn proxy_connections() -> ProxyConnections {
    ProxyConnections { in_use: 1, limit: 1, most_of_a_client: 1, refused: map(1), made_room: 1 }
}

fn endpoint() -> Endpoint {
    Endpoint {
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

fn frontend() -> Frontend {
    Frontend { frontend: text(), backends: vec![text()] }
}

fn branch() -> Branch {
    Branch { to: text(), verdict: text(), sides: vec![side()] }
}

fn side() -> Side {
    Side {
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

fn text() -> String {
    "text".into()
}

fn map<T>(value: T) -> BTreeMap<String, T> {
    BTreeMap::from([("key".into(), value)])
}
