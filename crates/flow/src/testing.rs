//! Names and events for tests: three workloads, one service, one policy.

use crate::decode::{Clock, ProxiedRequest};
use crate::flow::{Flow, FlowVerdict, TrafficDirection};
use crate::names::{FlowService, FlowWorkload, Names, RuleName};
use abi::Address;
use abi::event::{DropReason, FlowEvent};
use std::net::IpAddr;
use std::time::Duration;

/// Names app1, app2 and app3 at 10.0.0.1, 10.0.0.2 and 10.0.0.3, with identities from 256.
pub(crate) struct TestNames;

impl Names for TestNames {
    fn workload(&self, address: IpAddr) -> Option<FlowWorkload> {
        let last = address.to_string().strip_prefix("10.0.0.")?.to_owned();
        Some(FlowWorkload { namespace: "default".into(), name: format!("app{last}") })
    }

    fn labels(&self, identity: u32) -> Vec<String> {
        vec![format!("k8s:id=app{}", identity - 255)]
    }

    fn rule(&self, number: u32) -> Option<RuleName> {
        (number == 1).then(|| RuleName {
            kind: "CiliumNetworkPolicy".into(),
            namespace: Some("default".into()),
            name: "rule1".into(),
            place: "spec.ingress[0]".into(),
        })
    }

    fn log(&self, rule: u32) -> Option<String> {
        (rule == 1).then(|| "audited".to_owned())
    }

    fn service(&self, address: IpAddr, port: u16, protocol: u8) -> Option<FlowService> {
        let known = address.to_string() == "10.96.0.1" && port == 80 && protocol == 6;
        known.then(|| FlowService { namespace: "default".into(), name: "app1-service".into() })
    }
}

/// A clock for events at second 1 of the monotonic clock.
pub(crate) fn clock() -> Clock {
    Clock::new(1_795_365_601_123_000_000, 1_000_000_000)
}

/// The first packet from app3 to app1 through the service, dropped by default deny.
pub(crate) fn dropped_syn() -> FlowEvent {
    FlowEvent {
        time: 1_000_000_000,
        source: Address::from_v4([10, 0, 0, 3]),
        destination: Address::from_v4([10, 0, 0, 1]),
        source_port: 38_412u16.to_be_bytes(),
        destination_port: 80u16.to_be_bytes(),
        protocol: 6,
        tcp_flags: 0x02,
        verdict: abi::event::PacketVerdict::Drop as u8,
        reason: DropReason::PolicyDefaultDeny as u8,
        direction: 0,
        reply: 0,
        padding: [0; 2],
        length: 74,
        source_identity: 258,
        destination_identity: 256,
        endpoint: 7,
        policy: 3,
        rule: 0,
        l7: 0,
        service_port: 80u16.to_be_bytes(),
        padding2: [0; 6],
        service: Address::from_v4([10, 96, 0, 1]),
    }
}

/// The flow of a packet.
pub(crate) fn packet_flow(event: &FlowEvent) -> Flow {
    Flow::from_packet(event, &TestNames, clock()).unwrap()
}

/// The flow of a request.
pub(crate) fn request_flow(request: &ProxiedRequest) -> Flow {
    Flow::from_request(request, &TestNames, clock())
}

/// A request from app2 to app1.
pub(crate) fn request(verdict: FlowVerdict, path: &str) -> ProxiedRequest {
    let forwarded = verdict == FlowVerdict::Forwarded;
    ProxiedRequest {
        time: 1_000_000_000,
        verdict,
        source: "10.0.0.2:40000".parse().unwrap(),
        destination: "10.0.0.1:80".parse().unwrap(),
        source_identity: 257,
        destination_identity: 256,
        endpoint: 7,
        direction: TrafficDirection::Ingress,
        rule: u32::from(forwarded),
        method: "GET".into(),
        path: path.into(),
        host: "app1-service".into(),
        protocol: "HTTP/1.1".into(),
        reason: String::new(),
        status: Some(if forwarded { 200 } else { 403 }),
        latency: forwarded.then(|| Duration::from_micros(1250)),
    }
}
