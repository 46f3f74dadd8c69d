//! Audit mode at every hook: what policy refuses passes, is tracked, and is reported with the rule that refuses.

use super::*;
use crate::craft::flag::{ACK, SYN};
use abi::event::{self, PacketVerdict};

const AUDITED: u8 = BOTH | flag::AUDIT;

/// Asserts that a packet passed though policy refused it, for this reason, by this rule.
fn audited(outcome: &Outcome, reason: DropReason, rule: u32) {
    assert!(outcome.verdict.is_ok(), "{outcome:?}");
    let reported: Vec<_> =
        outcome.events.iter().map(|event| (event.verdict, event.reason, event.rule)).collect();
    assert_eq!(reported, [(PacketVerdict::Audit as u8, reason as u8, rule)]);
}

#[test]
fn a_rule_that_denies_is_named_and_the_packet_counts_as_forwarded() {
    each_family(|family| {
        let mut node = NativeNode::new(family);
        node.enforce(SERVER, family.server, AUDITED);
        node.rule(SERVER, CLIENT.identity, Direction::Ingress, (6, 80), DENY);
        let opening = craft::tcp(at(family.client, 4000), at(family.server, 80)).frame();
        audited(&node.to(SERVER, &opening), DropReason::PolicyDeny, RULE);
        let [(row, counter)] = node.tables.counters()[..] else { panic!("{:?}", node.tables.counters()) };
        assert_eq!((row, counter.packets), (event::counter_index(0, Direction::Ingress), 1));
        assert_eq!(node.connection().rule, RULE);
    });
}

#[test]
fn every_hook_lets_pass_what_it_refuses() {
    each_family(|family| {
        let mut node = NativeNode::new(family);
        node.own(family.other);
        node.enforce(CLIENT, family.client, AUDITED);
        let to = |address| craft::udp(at(family.client, 4000), at(address, 53)).frame();
        audited(&node.from(CLIENT, &to(family.server)), DropReason::PolicyDefaultDeny, 0);
        node.enforce(CLIENT, family.client, 0);
        node.enforce(NODE, family.other, AUDITED);
        let own = |peer| craft::udp(at(family.other, 4000), at(peer, 53)).frame();
        let at_outside = |hook, frame: &[u8]| node.run(hook, OUTSIDE, 0, frame);
        audited(&at_outside(Hook::ToOutside, &own(family.world)), DropReason::PolicyDefaultDeny, 0);
        let comes = craft::udp(at(family.world, 4001), at(family.other, 53)).frame();
        audited(&at_outside(Hook::FromOutside, &comes), DropReason::PolicyDefaultDeny, 0);
        for two_hooks in [node.from(CLIENT, &to(family.other)), node.to(SERVER, &own(family.server))] {
            let reported: Vec<u8> = two_hooks.events.iter().map(|event| event.verdict).collect();
            assert!(reported.contains(&(PacketVerdict::Audit as u8)) && reported.len() == 2, "{reported:?}");
            assert!(two_hooks.verdict.is_ok());
        }
    });
}

#[test]
fn a_connection_from_before_lives_on() {
    each_family(|family| {
        let mut node = NativeNode::new(family);
        node.enforce(SERVER, family.server, AUDITED);
        let segment = craft::tcp(at(family.client, 4000), at(family.server, 80)).flags(ACK).frame();
        audited(&node.to(SERVER, &segment), DropReason::PolicyDefaultDeny, 0);
        assert_eq!(node.to(SERVER, &segment).events, [], "once is enough");
    });
}

#[test]
fn a_flow_for_a_proxy_that_cannot_serve_it_goes_straight() {
    each_family(|family| {
        let mut node = NativeNode::new(family);
        node.enforce(SERVER, family.server, AUDITED);
        node.rule(SERVER, CLIENT.identity, Direction::Ingress, (17, 53), PROXIED);
        let opening = craft::udp(at(family.client, 4000), at(family.server, 53)).frame();
        let outcome = node.to(SERVER, &opening);
        audited(&outcome, DropReason::ProxyUnavailable, RULE);
        assert_eq!(outcome.verdict, Ok(Delivery::Pass));
    });
}

#[test]
fn the_end_of_audit_mode_cuts_what_it_let_through() {
    each_family(|family| {
        let mut node = NativeNode::new(family);
        node.enforce(SERVER, family.server, AUDITED);
        let opening = craft::tcp(at(family.client, 4000), at(family.server, 80));
        audited(&node.to(SERVER, &opening.clone().flags(SYN).frame()), DropReason::PolicyDefaultDeny, 0);
        node.enforce(SERVER, family.server, BOTH);
        node.configure(Config { epoch: 1, ..Config::default() });
        dropped(&node, &node.to(SERVER, &opening.flags(ACK).frame()), DropReason::PolicyDefaultDeny);
    });
}
