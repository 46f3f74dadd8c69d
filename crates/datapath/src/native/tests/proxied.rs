//! Flows that policy redirects to the node proxy.

use super::*;
use crate::SocketState;
use crate::craft::flag::{ACK, FIN, RST, SYN};
use crate::native::ProxySockets;
use abi::conntrack::lifetime;
use abi::event::PacketVerdict;
use abi::mark;

const TO_PROXY: Result<Delivery, DropReason> = Ok(Delivery::Ingress(PROXY));
const PASS: Result<Delivery, DropReason> = Ok(Delivery::Pass);

fn request(family: FamilyAddresses) -> craft::Craft {
    craft::tcp(at(family.client, 4000), at(family.server, 80))
}

fn answer(family: FamilyAddresses) -> craft::Craft {
    craft::tcp(at(family.server, 80), at(family.client, 4000)).flags(SYN | ACK)
}

fn from_proxy(node: &NativeNode, workload: NativeWorkload, frame: &[u8]) -> Outcome {
    node.run(Hook::ToWorkload, workload.interface, mark::FROM_PROXY, frame)
}

/// A node where one workload's policy redirects to the proxy.
fn node(family: FamilyAddresses, of: NativeWorkload) -> NativeNode {
    let mut node = NativeNode::new(family);
    if of.interface == SERVER.interface {
        node.enforce(SERVER, family.server, flag::ENFORCE_INGRESS);
        node.rule(SERVER, CLIENT.identity, Direction::Ingress, (6, 80), PROXIED);
    } else {
        node.enforce(CLIENT, family.client, flag::ENFORCE_EGRESS);
        node.rule(CLIENT, SERVER.identity, Direction::Egress, (6, 80), PROXIED);
    }
    node
}

#[test]
fn at_the_server_the_flow_has_a_leg_on_either_side_of_the_proxy() {
    each_family(|family| {
        let node = node(family, SERVER);
        let syn = node.to(SERVER, &request(family).frame());
        assert_eq!((syn.verdict, syn.mark), (TO_PROXY, mark::TO_PROXY));
        assert_eq!((syn.events[0].verdict, syn.events[0].l7), (PacketVerdict::Redirect as u8, 5));
        assert_eq!(
            from_proxy(&node, SERVER, &request(family).frame()).verdict,
            PASS,
            "the proxy's own request"
        );
        let back = node.from(SERVER, &answer(family).frame());
        assert_eq!((back.verdict, back.mark), (TO_PROXY, mark::TO_PROXY), "never straight to the client");
        assert_eq!(node.to(SERVER, &request(family).flags(ACK).frame()).verdict, TO_PROXY);
        assert_eq!(node.tables.connections().len(), 1, "both legs share a row");
    });
}

#[test]
fn at_the_client_the_flow_has_a_leg_on_either_side_of_the_proxy() {
    each_family(|family| {
        let node = node(family, CLIENT);
        assert_eq!(node.from(CLIENT, &request(family).frame()).verdict, TO_PROXY);
        assert_eq!(from_proxy(&node, SERVER, &request(family).frame()).verdict, PASS);
        let back = node.from(SERVER, &answer(family).frame());
        assert_eq!(back.verdict, TO_PROXY, "what the proxy opened is answered to the proxy");
        assert_eq!(
            node.to(CLIENT, &answer(family).frame()).verdict,
            TO_PROXY,
            "as is what comes from elsewhere"
        );
        assert_eq!(from_proxy(&node, CLIENT, &answer(family).frame()).verdict, PASS);
    });
}

#[test]
fn replies_of_a_proxied_flow_to_a_service_come_from_the_service() {
    each_family(|family| {
        let mut node = node(family, CLIENT);
        node.serve(6, at(family.service, 8000), 1, &[at(family.server, 80)]);
        let opening = craft::tcp(at(family.client, 4000), at(family.service, 8000)).frame();
        let sent = node.from(CLIENT, &opening);
        assert_eq!((sent.verdict, sent.frame), (TO_PROXY, request(family).frame()));
        let back = from_proxy(&node, CLIENT, &answer(family).frame());
        let seen = craft::tcp(at(family.service, 8000), at(family.client, 4000)).flags(SYN | ACK).frame();
        assert_eq!((back.verdict, back.frame), (PASS, seen));
    });
}

#[test]
fn the_proxys_packets_are_still_judged_at_layers_three_and_four() {
    each_family(|family| {
        let mut node = NativeNode::new(family);
        node.enforce(SERVER, family.server, flag::ENFORCE_INGRESS);
        let outcome = from_proxy(&node, SERVER, &request(family).frame());
        dropped(&node, &outcome, DropReason::PolicyDefaultDeny);
    });
}

#[test]
fn a_connection_that_policy_redirects_too_late_ends_at_the_proxy() {
    each_family(|family| {
        let mut node = NativeNode::new(family);
        node.enforce(SERVER, family.server, flag::ENFORCE_INGRESS);
        node.rule(SERVER, CLIENT.identity, Direction::Ingress, (6, 80), ALLOW);
        assert_eq!(node.to(SERVER, &request(family).frame()).verdict, PASS);
        node.rule(SERVER, CLIENT.identity, Direction::Ingress, (6, 80), PROXIED);
        node.configure(Config { epoch: 1, proxy_interface: PROXY, ..Config::default() });
        assert_eq!(node.to(SERVER, &request(family).flags(ACK).frame()).verdict, TO_PROXY);
        assert_eq!(node.from(SERVER, &answer(family).flags(ACK).frame()).verdict, TO_PROXY);
    });
}

#[test]
fn the_upstream_leg_may_open_anew_while_the_downstream_leg_lives() {
    each_family(|family| {
        let mut node = node(family, SERVER);
        assert_eq!(node.to(SERVER, &request(family).frame()).verdict, TO_PROXY);
        assert_eq!(node.to(SERVER, &request(family).flags(ACK).frame()).verdict, TO_PROXY);
        assert_eq!(from_proxy(&node, SERVER, &request(family).frame()).verdict, PASS);
        assert_eq!(from_proxy(&node, SERVER, &request(family).flags(RST).frame()).verdict, PASS);
        node.wait(u64::from(lifetime::TCP_OPENING) + 1);
        assert_eq!(node.to(SERVER, &request(family).flags(ACK).frame()).verdict, TO_PROXY, "idle, not over");
        assert_eq!(from_proxy(&node, SERVER, &request(family).frame()).verdict, PASS);
        assert_eq!(node.to(SERVER, &request(family).flags(FIN | ACK).frame()).verdict, TO_PROXY);
        assert_eq!(from_proxy(&node, SERVER, &request(family).flags(RST).frame()).verdict, PASS);
        let left = u64::from(node.connection().expires) - node.now / SECOND;
        assert_eq!(left, u64::from(lifetime::TCP_CLOSING), "both legs are over");
    });
}

#[test]
fn until_the_epoch_rises_the_entry_is_all_that_the_proxys_packets_need() {
    each_family(|family| {
        for redirecting in [CLIENT, SERVER] {
            let mut node = node(family, redirecting);
            let (data, back) = (request(family).flags(ACK).frame(), answer(family).flags(ACK).frame());
            node.from(CLIENT, &request(family).frame());
            node.to(SERVER, &request(family).frame());
            for frame in [&request(family).frame(), &data, &data] {
                assert_eq!(from_proxy(&node, SERVER, frame).verdict, PASS);
                node.from(SERVER, &answer(family).frame());
            }
            assert_eq!(from_proxy(&node, CLIENT, &answer(family).frame()).verdict, PASS);
            node.from(CLIENT, &data);
            assert_eq!(from_proxy(&node, CLIENT, &back).verdict, PASS);
            // A packet on its way to the proxy leaves the way from the proxy as it is.
            assert_eq!(node.forward(CLIENT.interface, SERVER, &data).verdict, TO_PROXY);
            forget_all(&mut node, family);
            let to_workloads = [(SERVER, &data), (CLIENT, &back)];
            for (workload, frame) in to_workloads {
                let outcome = from_proxy(&node, workload, frame);
                assert_eq!((outcome.verdict, outcome.events.len()), (PASS, 0));
                // The proxy's way is not one around the proxy.
                let outcome = node.to(workload, frame);
                let goes_around = outcome.verdict == PASS && workload.interface == redirecting.interface;
                assert!(!goes_around, "{outcome:?}");
            }
            node.configure(Config { epoch: 1, proxy_interface: PROXY, ..Config::default() });
            for (workload, frame) in to_workloads {
                dropped(&node, &from_proxy(&node, workload, frame), DropReason::UnknownEndpoint);
            }
        }
    });
}

#[test]
fn at_the_proxys_interface_a_packet_finds_its_socket() {
    let listens = |connected| ProxySockets { connected, listens: true };
    let absent = |connected| ProxySockets { connected, listens: false };
    let lost = Err(DropReason::ProxyUnavailable);
    let table = [
        // The stack finds the socket of a connection.
        (absent(Some(SocketState::Connected)), ACK, PASS),
        // The listener of another program at the packet's port is not the proxy's.
        (absent(Some(SocketState::Listen([0, 80]))), SYN, lost),
        (listens(Some(SocketState::Listen([0, 80]))), SYN, PASS),
        // A late segment goes to the old socket, a new connection to the listener.
        (absent(Some(SocketState::TimeWait)), ACK, PASS),
        (absent(Some(SocketState::TimeWait)), SYN, lost),
        (listens(Some(SocketState::TimeWait)), SYN, PASS),
        (listens(None), SYN, PASS),
        (listens(None), ACK, PASS),
    ];
    each_family(|family| {
        for (sockets, flags, expected) in table {
            let mut node = NativeNode::new(family);
            node.tables.set_proxy_sockets(sockets);
            let frame = request(family).flags(flags).frame();
            let outcome = node.run(Hook::ToProxy, PROXY, mark::TO_PROXY, &frame);
            assert_eq!((outcome.verdict, outcome.mark), (expected, mark::TO_PROXY), "{sockets:?} {flags}");
            assert_eq!(outcome.frame, frame);
        }
    });
}

#[test]
fn packets_of_the_proxys_interface_are_for_its_listener_on_any_port() {
    each_family(|family| {
        let mut node = NativeNode::new(family);
        node.configure(Config { proxy_interface: PROXY, ..Config::default() });
        assert!(crate::is_for_proxy(&node.tables, PROXY));
        assert!(!crate::is_for_proxy(&node.tables, SERVER.interface));
        node.configure(Config::default());
        assert!(!crate::is_for_proxy(&node.tables, 0), "the node's own packets");
    });
}
