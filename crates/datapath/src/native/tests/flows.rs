//! Flows that open, have replies, are judged again and end.

use super::*;
use crate::craft::flag::{ACK, FIN, RST, SYN};
use abi::conntrack::{self, lifetime};
use abi::event::PacketVerdict;
use abi::mark;

fn syn(family: FamilyAddresses) -> craft::Craft {
    craft::tcp(at(family.client, 4000), at(family.server, 80))
}

fn answer(family: FamilyAddresses) -> craft::Craft {
    craft::tcp(at(family.server, 80), at(family.client, 4000)).flags(SYN | ACK)
}

/// A node where the server's policy allows the client on `port`, and nothing else is allowed to either workload.
fn strict(family: FamilyAddresses, protocol: u8, port: u16) -> NativeNode {
    let mut node = NativeNode::new(family);
    node.enforce(CLIENT, family.client, BOTH);
    node.enforce(SERVER, family.server, BOTH);
    node.rule(CLIENT, SERVER.identity, Direction::Egress, (protocol, port), ALLOW);
    node.rule(SERVER, CLIENT.identity, Direction::Ingress, (protocol, port), ALLOW);
    node
}

#[test]
fn a_connection_between_workloads_goes_both_ways() {
    each_family(|family| {
        let node = strict(family, 6, 80);
        let sent = node.from(CLIENT, &syn(family).frame());
        delivered(&sent, SERVER);
        assert_eq!(node.to(SERVER, &sent.frame).verdict, Ok(Delivery::Pass));
        let back = node.from(SERVER, &answer(family).frame());
        delivered(&back, CLIENT);
        assert_eq!(node.to(CLIENT, &back.frame).verdict, Ok(Delivery::Pass));
        let rows = node.tables.connections();
        assert_eq!(rows.len(), 2, "a row for each end");
        for (_, row) in rows {
            assert_eq!((row.packets_out, row.packets_in, row.rule), (1, 1, RULE));
            assert_eq!(row.flags & conntrack::flag::ANSWERED, conntrack::flag::ANSWERED);
        }
    });
}

#[test]
fn an_opening_is_reported_by_each_hook_and_answer_and_end_by_the_last() {
    each_family(|family| {
        let node = strict(family, 6, 80);
        let [data, reset] = [ACK, ACK | RST].map(|flags| syn(family).flags(flags).frame());
        let steps = [
            (node.from(CLIENT, &syn(family).frame()), 1),
            (node.to(SERVER, &syn(family).frame()), 1),
            (node.from(CLIENT, &syn(family).frame()), 0),
            (node.to(SERVER, &syn(family).frame()), 0),
            (node.from(SERVER, &answer(family).frame()), 0),
            (node.to(CLIENT, &answer(family).frame()), 1),
            (node.from(CLIENT, &data), 0),
            (node.to(SERVER, &data), 0),
            (node.from(CLIENT, &reset), 0),
            (node.to(SERVER, &reset), 1),
        ];
        for (step, (outcome, events)) in steps.iter().enumerate() {
            assert!(outcome.verdict.is_ok(), "step {step}: {outcome:?}");
            assert_eq!(outcome.events.len(), *events, "step {step}");
        }
        let [opening, answer] = [&steps[1].0, &steps[5].0].map(|outcome| outcome.events[0]);
        assert_eq!((opening.verdict, opening.reply, opening.rule), (PacketVerdict::Forward as u8, 0, RULE));
        assert_eq!((answer.verdict, answer.reply), (PacketVerdict::Forward as u8, 1));
        assert_eq!((answer.source_identity, answer.destination_identity), (SERVER.identity, CLIENT.identity));
    });
}

#[test]
fn what_leaves_the_node_is_reported_where_it_leaves() {
    each_family(|family| {
        let mut node = NativeNode::new(family);
        node.enforce(SERVER, family.server, BOTH);
        node.rule(SERVER, identity::WORLD, Direction::Ingress, (6, 80), ALLOW);
        let ends = [at(family.world, 4000), at(family.server, 80)];
        let there = |flags| craft::tcp(ends[0], ends[1]).flags(flags).frame();
        let back = |flags| craft::tcp(ends[1], ends[0]).flags(flags).frame();
        let steps = [
            (node.to(SERVER, &there(SYN)), 1),
            (node.from(SERVER, &back(SYN | ACK)), 1),
            (node.to(SERVER, &there(ACK)), 0),
            (node.to(SERVER, &there(FIN | ACK)), 0),
            (node.from(SERVER, &back(FIN | ACK)), 1),
            (node.to(SERVER, &there(ACK)), 0),
        ];
        for (step, (outcome, events)) in steps.iter().enumerate() {
            assert_eq!((outcome.verdict, outcome.events.len()), (Ok(Delivery::Pass), *events), "step {step}");
        }
        let answer = steps[1].0.events[0];
        assert_eq!((answer.verdict, answer.reply, answer.rule), (PacketVerdict::Forward as u8, 1, RULE));
    });
}

#[test]
fn the_hop_limit_is_decremented_and_the_checksum_stays_right() {
    each_family(|family| {
        for hops in [2, 64, 255] {
            let outcome = NativeNode::new(family).from(CLIENT, &syn(family).hop_limit(hops).frame());
            delivered(&outcome, SERVER);
            let place = if family.client.is_ipv4() { 14 + 8 } else { 14 + 7 };
            assert_eq!(outcome.frame[place], hops - 1);
        }
    });
}

#[test]
fn options_and_extension_headers_are_passed_over() {
    each_family(|family| {
        for count in 0..=5 {
            let node = strict(family, 6, 80);
            delivered(&node.from(CLIENT, &syn(family).padded(count).frame()), SERVER);
        }
    });
}

#[test]
fn what_leaves_the_node_passes_to_the_stack_unchanged() {
    each_family(|family| {
        let node = NativeNode::new(family);
        let frame = craft::tcp(at(family.client, 4000), at(family.world, 443)).frame();
        let outcome = node.run(Hook::FromWorkload, CLIENT.interface, mark::FROM_PROXY | 7, &frame);
        assert_eq!(outcome.verdict, Ok(Delivery::Pass));
        assert_eq!(outcome.frame, frame);
        assert_eq!(outcome.mark, 7, "the mark's bits of this product are cleared, the others stay");
        assert_eq!(outcome.events[0].destination_identity, identity::WORLD);
    });
}

#[test]
fn a_new_policy_cuts_a_connection_at_its_next_packet_either_way() {
    each_family(|family| {
        let mut node = strict(family, 6, 80);
        assert!(node.to(SERVER, &syn(family).frame()).verdict.is_ok());
        assert!(node.from(SERVER, &answer(family).frame()).verdict.is_ok());
        // The same policy number and another epoch: the rule is gone.
        node.rule(SERVER, CLIENT.identity, Direction::Ingress, (6, 80), DENY);
        let data = syn(family).flags(ACK).frame();
        assert!(node.to(SERVER, &data).verdict.is_ok(), "the epoch is still the same");
        node.configure(Config { epoch: 1, ..Config::default() });
        dropped(&node, &node.to(SERVER, &data), DropReason::PolicyDeny);
        dropped(&node, &node.from(SERVER, &answer(family).flags(ACK).frame()), DropReason::PolicyDeny);
        node.rule(SERVER, CLIENT.identity, Direction::Ingress, (6, 80), ALLOW);
        assert!(node.to(SERVER, &data).verdict.is_ok(), "and lets it live again when it is allowed again");
    });
}

#[test]
fn entries_live_as_long_as_their_state_allows() {
    each_family(|family| {
        let node = strict(family, 6, 80);
        let left = |node: &NativeNode| u64::from(node.connection().expires) - node.now / SECOND;
        assert!(node.to(SERVER, &syn(family).frame()).verdict.is_ok());
        assert_eq!(left(&node), u64::from(lifetime::TCP_OPENING));
        assert!(node.from(SERVER, &answer(family).frame()).verdict.is_ok());
        assert_eq!(left(&node), u64::from(lifetime::TCP));
        assert!(node.to(SERVER, &syn(family).flags(FIN | ACK).frame()).verdict.is_ok());
        assert_eq!(left(&node), u64::from(lifetime::TCP_HALF_CLOSED), "half closed");
        assert!(node.from(SERVER, &answer(family).flags(FIN | ACK).frame()).verdict.is_ok());
        assert_eq!(left(&node), u64::from(lifetime::TCP_CLOSING));
    });
}

#[test]
fn an_expired_entry_does_not_count() {
    each_family(|family| {
        let mut node = strict(family, 6, 80);
        assert!(node.to(SERVER, &syn(family).frame()).verdict.is_ok());
        node.wait(u64::from(lifetime::TCP_OPENING) + 1);
        dropped(&node, &node.from(SERVER, &answer(family).frame()), DropReason::NotEstablished);
    });
}

#[test]
fn a_tuple_is_opened_anew_under_policy_only_after_its_end() {
    each_family(|family| {
        let mut node = strict(family, 6, 80);
        assert!(node.to(SERVER, &syn(family).frame()).verdict.is_ok());
        assert!(node.to(SERVER, &syn(family).flags(RST).frame()).verdict.is_ok());
        node.rule(SERVER, CLIENT.identity, Direction::Ingress, (6, 80), DENY);
        dropped(&node, &node.to(SERVER, &syn(family).frame()), DropReason::PolicyDeny);
        node.rule(SERVER, CLIENT.identity, Direction::Ingress, (6, 80), ALLOW);
        assert!(node.to(SERVER, &syn(family).frame()).verdict.is_ok());
        assert_eq!(node.connection().packets_in, 1, "a new row");
    });
}

#[test]
fn an_opening_packet_of_the_other_end_is_no_reply() {
    each_family(|family| {
        let node = strict(family, 6, 80);
        assert!(node.to(SERVER, &syn(family).frame()).verdict.is_ok());
        let request = craft::tcp(at(family.server, 80), at(family.client, 4000)).frame();
        dropped(&node, &node.from(SERVER, &request), DropReason::PolicyDefaultDeny);
    });
}

#[test]
fn an_echo_is_tracked_by_its_identifier() {
    each_family(|family| {
        let (request, reply) = if family.client.is_ipv4() { (8, 0) } else { (128, 129) };
        let kind = u16::from_be_bytes([request, 0]);
        let protocol = if family.client.is_ipv4() { 1 } else { 58 };
        let node = strict(family, protocol, kind);
        assert!(
            node.to(SERVER, &craft::icmp(family.client, family.server, request, 0).frame()).verdict.is_ok()
        );
        let back = craft::icmp(family.server, family.client, reply, 0);
        delivered(&node.from(SERVER, &back.clone().frame()), CLIENT);
        dropped(&node, &node.from(SERVER, &back.identifier(8).frame()), DropReason::PolicyDefaultDeny);
        let own = craft::icmp(family.server, family.client, request, 0).frame();
        dropped(&node, &node.from(SERVER, &own), DropReason::PolicyDefaultDeny);
    });
}

#[test]
fn policy_judges_every_other_icmp_message_and_none_is_tracked() {
    each_family(|family| {
        let protocol = if family.client.is_ipv4() { 1 } else { 58 };
        let node = strict(family, protocol, u16::from_be_bytes([13, 0]));
        assert!(node.to(SERVER, &craft::icmp(family.client, family.server, 13, 0).frame()).verdict.is_ok());
        assert_eq!(node.tables.connections(), []);
    });
}

#[test]
fn audit_mode_reports_what_it_lets_through() {
    each_family(|family| {
        let mut node = NativeNode::new(family);
        node.enforce(SERVER, family.server, BOTH | flag::AUDIT);
        let outcome = node.to(SERVER, &syn(family).frame());
        assert_eq!(outcome.verdict, Ok(Delivery::Pass));
        let event = outcome.events[0];
        assert_eq!(
            (event.verdict, event.reason),
            (PacketVerdict::Audit as u8, DropReason::PolicyDefaultDeny as u8)
        );
        assert_eq!(node.to(SERVER, &syn(family).frame()).events, [], "once for a flow");
    });
}

#[test]
fn without_enforcement_older_connections_are_tracked_from_any_segment() {
    each_family(|family| {
        let node = NativeNode::new(family);
        delivered(&node.from(CLIENT, &syn(family).flags(ACK).frame()), SERVER);
    });
}

#[test]
fn other_protocols_are_flows_without_ports() {
    each_family(|family| {
        let mut node = strict(family, 47, 0);
        assert!(node.to(SERVER, &craft::other(family.client, family.server, 47).frame()).verdict.is_ok());
        node.wait(u64::from(lifetime::ANY) - 1);
        delivered(&node.from(SERVER, &craft::other(family.server, family.client, 47).frame()), CLIENT);
    });
}
