//! A flow as one line of text.

use crate::flow::{Flow, FlowEndpoint, FlowType, FlowVerdict, IcmpMessage, Layer4, Layer7, TrafficDirection};
use crate::lost::LostEvents;
use crate::time::Time;
use std::net::IpAddr;

/// Whether lines are coloured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paint {
    /// Plain text.
    Plain,
    /// With ANSI escape sequences.
    Ansi,
}

/// The line of a flow: `Nov 22 16:40:01.123: default/app2:38412 (ID:257) -> default/app1:80 (ID:256) http-request
/// FORWARDED (…) …`. For a reply the arrow points left: the end that opened the connection is always on the left.
pub fn line(flow: &Flow, paint: Paint) -> String {
    let ports = flow.ports();
    let source = end(&flow.source, flow.ip.source, ports.map(|ports| ports.source_port));
    let destination = end(&flow.destination, flow.ip.destination, ports.map(|ports| ports.destination_port));
    let (left, arrow, right) =
        if flow.is_reply { (destination, "<-", source) } else { (source, "->", destination) };
    let verdict = painted(flow, paint);
    let mut line = format!(
        "{}: {left} {arrow} {right} {} {verdict} ({})",
        flow.time.short(),
        title(flow),
        summary(flow)
    );
    if let Some(service) = &flow.destination_service {
        line.push_str(&format!(" via {}/{}", service.namespace, service.name));
    }
    line.push_str(&why(flow));
    line
}

/// The line of lost events: `Nov 22 16:40:01.123: 12 events lost (slow reader)`.
pub fn gap(lost: LostEvents, time: Time, paint: Paint) -> String {
    let events = if lost.num_events_lost == 1 { "event" } else { "events" };
    let text = format!("{} {events} lost ({})", lost.num_events_lost, lost.source.describe());
    let text = match paint {
        Paint::Plain => text,
        Paint::Ansi => format!("\x1b[33m{text}\x1b[0m"),
    };
    format!("{}: {text}", time.short())
}

/// One end: its name or address, and its identity by number or reserved name.
fn end(endpoint: &FlowEndpoint, address: IpAddr, port: Option<u16>) -> String {
    let name = match (&endpoint.namespace, &endpoint.pod_name, address) {
        (Some(namespace), Some(pod), _) => format!("{namespace}/{pod}"),
        (_, _, IpAddr::V6(v6)) if port.is_some() => format!("[{v6}]"),
        _ => address.to_string(),
    };
    let port = port.map(|port| format!(":{port}")).unwrap_or_default();
    match abi::identity::reserved_name(endpoint.identity) {
        Some(reserved) => format!("{name}{port} ({reserved})"),
        None => format!("{name}{port} (ID:{})", endpoint.identity),
    }
}

fn title(flow: &Flow) -> String {
    let direction = format!("{:?}", flow.traffic_direction).to_lowercase();
    match flow.kind {
        FlowType::Request => "http-request".into(),
        FlowType::Packet if flow.is_policy_verdict() => format!("policy-verdict:{direction}"),
        FlowType::Packet if flow.verdict == FlowVerdict::Dropped => format!("drop:{direction}"),
        FlowType::Packet => match flow.traffic_direction {
            TrafficDirection::Egress => "from-endpoint".into(),
            TrafficDirection::Ingress => "to-endpoint".into(),
        },
    }
}

/// The verdict. As with Hubble, a policy verdict allows or denies, where another packet is forwarded or dropped, and AUDITED
/// is the verdict that JSON calls AUDIT. Hubble shows a policy verdict that redirects as ALLOWED, too.
fn painted(flow: &Flow, paint: Paint) -> String {
    let colour = match flow.verdict {
        FlowVerdict::Forwarded => 32,
        FlowVerdict::Dropped => 31,
        FlowVerdict::Audit | FlowVerdict::Redirected => 33,
    };
    let name = match flow.verdict {
        FlowVerdict::Forwarded if flow.is_policy_verdict() => "ALLOWED",
        FlowVerdict::Dropped if flow.is_policy_verdict() => "DENIED",
        FlowVerdict::Audit => "AUDITED",
        verdict => verdict.name(),
    };
    match paint {
        Paint::Plain => name.to_owned(),
        Paint::Ansi => format!("\x1b[{colour}m{name}\x1b[0m"),
    }
}

/// What was sent: TCP flags, ICMP type, or the request.
fn summary(flow: &Flow) -> String {
    if let Some(request) = &flow.l7 {
        return exchange(request);
    }
    match flow.l4 {
        Layer4::Tcp(segment) => format!("TCP Flags: {}", segment.flags),
        Layer4::Icmp4(message) => format!("ICMPv4 {}", icmp(message, [8, 0])),
        Layer4::Icmp6(message) => format!("ICMPv6 {}", icmp(message, [128, 129])),
        Layer4::Other(number) => format!("protocol {number}"),
        Layer4::Udp(_) | Layer4::Sctp(_) => flow.l4.name().to_owned(),
    }
}

fn exchange(request: &Layer7) -> String {
    // The request is untrusted input: characters that could move the cursor or forge a line are escaped.
    let clean = |text: &str| text.escape_debug().to_string();
    let http = &request.http;
    let mut text = format!("{} {} {}", clean(&http.protocol), clean(&http.method), clean(&http.url));
    if let Some(code) = http.code {
        text.push_str(&format!(" {code}"));
    }
    if let Some(nanos) = request.latency_ns.as_ref().and_then(|text| text.parse::<f64>().ok()) {
        text.push_str(&format!(" {:.1}ms", nanos / 1e6));
    }
    text
}

fn icmp(message: IcmpMessage, [request, reply]: [u8; 2]) -> String {
    match message.kind {
        kind if kind == request => "EchoRequest".into(),
        kind if kind == reply => "EchoReply".into(),
        kind => format!("type {kind} code {}", message.code),
    }
}

/// The rule or reason that decided; empty if policy is not enforced.
fn why(flow: &Flow) -> String {
    let reason = match &flow.l7 {
        Some(request) if flow.verdict == FlowVerdict::Dropped => {
            Some(request.reason.as_deref().unwrap_or_else(|| refusal(request)))
        }
        _ => flow.reason().map(|reason| reason.describe()),
    };
    match (reason, flow.rule()) {
        (Some(reason), Some(rule)) => format!(" {reason}: {rule}"),
        (Some(reason), None) => format!(" {reason}"),
        (None, Some(rule)) => format!(" by {rule}"),
        (None, None) => String::new(),
    }
}

/// Only a rule's verdict is answered with 403; any other refusal precedes rule evaluation.
fn refusal(request: &Layer7) -> &'static str {
    match request.http.code {
        Some(403) => "no HTTP rule allows it",
        _ => "refused before any rule was evaluated",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::ProxiedRequest;
    use crate::lost::LostSource;
    use crate::testing::{dropped_syn, packet_flow, request, request_flow};
    use abi::Address;
    use abi::event::{FlowEvent, PacketVerdict as Number};

    const START: &str = "Nov 22 16:40:01.123: ";

    fn check(event: FlowEvent, expected: &str) {
        let flow = packet_flow(&event);
        assert_eq!(line(&flow, Paint::Plain), format!("{START}{expected}"));
    }

    #[test]
    fn a_line_names_both_ends_the_packet_and_the_reason() {
        let drop = FlowEvent { service: Address::default(), ..dropped_syn() };
        let ends = "default/app3:38412 (ID:258) -> default/app1:80 (ID:256)";
        let udp = FlowEvent { protocol: 17, ..drop };
        let (forward, redirect) = (Number::Forward as u8, Number::Redirect as u8);
        let allowed = FlowEvent { verdict: forward, reason: 0, rule: 1, ..drop };
        let echo = FlowEvent { protocol: 1, destination_port: [8, 0], ..drop };
        let rule = "CiliumNetworkPolicy/default/rule1 spec.ingress[0]";
        check(
            drop,
            &format!("{ends} policy-verdict:ingress DENIED (TCP Flags: SYN) no policy rule allows it"),
        );
        check(
            dropped_syn(),
            &format!(
                "{ends} policy-verdict:ingress DENIED (TCP Flags: SYN) via default/app1-service no policy rule allows it"
            ),
        );
        check(udp, &format!("{ends} policy-verdict:ingress DENIED (UDP) no policy rule allows it"));
        check(allowed, &format!("{ends} policy-verdict:ingress ALLOWED (TCP Flags: SYN) by {rule}"));
        check(
            FlowEvent { verdict: redirect, direction: 1, ..allowed },
            &format!("{ends} policy-verdict:egress REDIRECTED (TCP Flags: SYN) by {rule}"),
        );
        check(
            FlowEvent { reason: 2, rule: 1, ..drop },
            &format!("{ends} policy-verdict:ingress DENIED (TCP Flags: SYN) a policy rule denies it: {rule}"),
        );
        check(
            FlowEvent { verdict: Number::Audit as u8, reason: 2, rule: 1, ..drop },
            &format!(
                "{ends} policy-verdict:ingress AUDITED (TCP Flags: SYN) a policy rule denies it: {rule}"
            ),
        );
        check(
            FlowEvent { reason: 14, ..drop },
            &format!("{ends} drop:ingress DROPPED (TCP Flags: SYN) the hop limit ran out"),
        );
        check(
            echo,
            "default/app3 (ID:258) -> default/app1 (ID:256) policy-verdict:ingress DENIED (ICMPv4 EchoRequest) \
             no policy rule allows it",
        );
    }

    #[test]
    fn a_reply_points_to_the_end_that_opened_the_connection() {
        let event = FlowEvent {
            verdict: Number::Forward as u8,
            reason: 0,
            reply: 1,
            tcp_flags: 0x12,
            service: Address::default(),
            ..dropped_syn()
        };
        check(
            event,
            "default/app1:80 (ID:256) <- default/app3:38412 (ID:258) to-endpoint FORWARDED \
             (TCP Flags: SYN, ACK)",
        );
    }

    #[test]
    fn an_external_end_is_an_address_with_its_reserved_identity() {
        let source: IpAddr = "2001:db8::1".parse().unwrap();
        let event = FlowEvent {
            source: source.into(),
            source_identity: abi::identity::WORLD,
            service: Address::default(),
            ..dropped_syn()
        };
        let flow = packet_flow(&event);
        assert!(line(&flow, Paint::Plain).starts_with(&format!("{START}[2001:db8::1]:38412 (world) -> ")));
    }

    #[test]
    fn a_refused_request_shows_the_protocol_and_the_reason() {
        let request = crate::decode::ProxiedRequest {
            method: String::new(),
            path: String::new(),
            host: String::new(),
            protocol: "HTTP/2".into(),
            status: Some(505),
            reason: "HTTP/2 is not supported yet".into(),
            rule: 0,
            ..request(FlowVerdict::Dropped, "")
        };
        let flow = request_flow(&request);
        let shown = line(&flow, Paint::Plain);
        assert!(shown.contains("DROPPED (HTTP/2   505"), "{shown}");
        assert!(shown.ends_with(" HTTP/2 is not supported yet"), "{shown}");
        let json = serde_json::to_value(&flow).unwrap();
        assert_eq!(json["l7"]["reason"], "HTTP/2 is not supported yet");
        assert_eq!(
            (&json["source"]["identity"], &json["l7"]["http"]["protocol"]),
            (&257.into(), &"HTTP/2".into())
        );
    }

    #[test]
    fn a_request_shows_its_url_status_and_latency() {
        let ends = format!("{START}default/app2:40000 (ID:257) -> default/app1:80 (ID:256) http-request");
        let shown = |verdict, path| line(&request_flow(&request(verdict, path)), Paint::Plain);
        assert_eq!(
            shown(FlowVerdict::Forwarded, "/public"),
            format!(
                "{ends} FORWARDED (HTTP/1.1 GET http://app1-service/public 200 1.2ms) by CiliumNetworkPolicy/default/rule1 spec.ingress[0]"
            )
        );
        assert_eq!(
            shown(FlowVerdict::Dropped, "/private"),
            format!("{ends} DROPPED (HTTP/1.1 GET http://app1-service/private 403) no HTTP rule allows it")
        );
        let malformed = ProxiedRequest { status: Some(400), ..request(FlowVerdict::Dropped, "/") };
        let malformed = request_flow(&malformed);
        assert!(line(&malformed, Paint::Plain).ends_with(" 400) refused before any rule was evaluated"));
        let by_rule = ProxiedRequest { rule: 1, ..request(FlowVerdict::Dropped, "/") };
        let by_rule = request_flow(&by_rule);
        assert!(
            line(&by_rule, Paint::Plain)
                .contains(" 403) no HTTP rule allows it: CiliumNetworkPolicy/default/rule1")
        );
        assert!(shown(FlowVerdict::Dropped, "/\x1b[2J\n").contains(r"/\u{1b}[2J\n 403"));
    }

    #[test]
    fn lines_are_coloured_only_on_request() {
        let flow = packet_flow(&dropped_syn());
        assert!(!line(&flow, Paint::Plain).contains('\x1b'));
        assert!(line(&flow, Paint::Ansi).contains("\x1b[31mDENIED\x1b[0m"));
    }

    #[test]
    fn a_gap_shows_how_many_events_were_lost_and_why() {
        let shown = |source, num_events_lost| {
            let time = Time(1_795_365_601_123_456_789);
            gap(LostEvents { source, num_events_lost }, time, Paint::Plain)
        };
        assert_eq!(shown(LostSource::SlowReader, 12), format!("{START}12 events lost (slow reader)"));
        assert_eq!(shown(LostSource::PacketRing, 1), format!("{START}1 event lost (ring full)"));
        assert_eq!(shown(LostSource::Proxy, 2), format!("{START}2 events lost (proxy)"));
    }
}
