//! Every drop reason: the packet is dropped, counted and reported, and nothing else happens.

use super::*;
use crate::craft::flag::ACK;
use crate::native::ProxySockets;
use abi::mark;

/// Checks that a case drops its packet for this reason: a fresh node, changed by the case, and a packet at a hook.
fn check(reason: DropReason, case: impl Fn(&mut NativeNode, FamilyAddresses) -> Outcome) {
    each_family(|family| {
        let mut node = NativeNode::new(family);
        let outcome = case(&mut node, family);
        dropped(&node, &outcome, reason);
        assert_eq!(node.tables.counters().len(), 1, "only one counter moves");
        assert_eq!(node.tables.connections(), [], "nothing is remembered");
    });
}

fn syn(family: FamilyAddresses) -> craft::Craft {
    craft::tcp(at(family.client, 4000), at(family.server, 80))
}

#[test]
fn policy_default_deny() {
    check(DropReason::PolicyDefaultDeny, |node, family| {
        node.enforce(SERVER, family.server, BOTH);
        node.to(SERVER, &syn(family).frame())
    });
}

#[test]
fn policy_deny() {
    check(DropReason::PolicyDeny, |node, family| {
        node.enforce(SERVER, family.server, BOTH);
        node.rule(SERVER, CLIENT.identity, Direction::Ingress, (6, 80), DENY);
        let outcome = node.to(SERVER, &syn(family).frame());
        assert_eq!(outcome.events[0].rule, RULE);
        outcome
    });
}

#[test]
fn an_action_of_no_known_number_denies() {
    check(DropReason::PolicyDeny, |node, family| {
        node.enforce(CLIENT, family.client, BOTH);
        let unknown = VerdictInfo { action: 9, ..DENY };
        node.rule(CLIENT, SERVER.identity, Direction::Egress, (6, 80), unknown);
        node.from(CLIENT, &syn(family).frame())
    });
}

#[test]
fn unknown_endpoint() {
    for hook in [Hook::FromWorkload, Hook::ToWorkload] {
        check(DropReason::UnknownEndpoint, |node, family| node.run(hook, 11, 0, &syn(family).frame()));
    }
}

#[test]
fn invalid_source() {
    check(DropReason::InvalidSource, |node, family| {
        node.from(CLIENT, &craft::tcp(at(family.other, 4000), at(family.server, 80)).frame())
    });
}

#[test]
fn the_unspecified_address_is_an_invalid_source() {
    check(DropReason::InvalidSource, |node, family| {
        let unspecified: IpAddr = if family.client.is_ipv4() { "0.0.0.0" } else { "::" }.parse().unwrap();
        node.from(CLIENT, &craft::udp(at(unspecified, 68), at(family.server, 67)).frame())
    });
}

#[test]
fn invalid_destination() {
    check(DropReason::InvalidDestination, |node, family| {
        node.to(SERVER, &craft::tcp(at(family.client, 4000), at(family.other, 80)).frame())
    });
}

#[test]
fn invalid_packet_wherever_it_is_cut() {
    each_family(|family| {
        let whole = syn(family).frame();
        for length in 0..whole.len() {
            let node = NativeNode::new(family);
            let outcome = node.from(CLIENT, &whole[..length]);
            dropped(&node, &outcome, DropReason::InvalidPacket);
        }
    });
}

#[test]
fn a_mapped_address_on_the_wire_is_invalid() {
    check(DropReason::InvalidPacket, |node, _| {
        let (source, destination) = ("::ffff:10.0.0.1".parse().unwrap(), "fd00::2".parse().unwrap());
        node.from(CLIENT, &craft::tcp(at(source, 4000), at(destination, 80)).frame())
    });
}

#[test]
fn a_routing_header_with_segments_left_is_invalid() {
    check(DropReason::InvalidPacket, |node, _| {
        let (source, destination) = ("fd00::1".parse().unwrap(), "fd00::2".parse().unwrap());
        let mut frame = craft::tcp(at(source, 4000), at(destination, 80)).padded(1).frame();
        frame[14 + 6] = 43;
        frame[14 + 40 + 3] = 1;
        node.from(CLIENT, &frame)
    });
}

#[test]
fn too_many_extension_headers_are_invalid() {
    check(DropReason::InvalidPacket, |node, _| {
        let (source, destination) = ("fd00::1".parse().unwrap(), "fd00::2".parse().unwrap());
        node.from(CLIENT, &craft::tcp(at(source, 4000), at(destination, 80)).padded(7).frame())
    });
}

#[test]
fn unsupported_protocol() {
    for kind in [[0x88, 0x47], [0x81, 0x00]] {
        check(DropReason::UnsupportedProtocol, |node, family| {
            let mut frame = syn(family).frame();
            frame[12..14].copy_from_slice(&kind);
            node.from(CLIENT, &frame)
        });
    }
}

#[test]
fn unknown_fragment() {
    check(DropReason::UnknownFragment, |node, family| {
        let pieces =
            craft::udp(at(family.client, 4000), at(family.server, 53)).payload(&[7; 64]).fragments(32);
        node.from(CLIENT, &pieces[1])
    });
}

#[test]
fn no_backend() {
    check(DropReason::NoBackend, |node, family| {
        node.serve(6, at(family.service, 80), 1, &[]);
        node.from(CLIENT, &craft::tcp(at(family.client, 4000), at(family.service, 80)).frame())
    });
}

#[test]
fn proxy_unavailable_while_there_is_none() {
    check(DropReason::ProxyUnavailable, |node, family| {
        node.configure(Config::default());
        node.enforce(SERVER, family.server, BOTH);
        node.rule(SERVER, CLIENT.identity, Direction::Ingress, (6, 80), PROXIED);
        node.to(SERVER, &syn(family).frame())
    });
}

#[test]
fn proxy_unavailable_for_another_protocol_than_tcp() {
    check(DropReason::ProxyUnavailable, |node, family| {
        node.enforce(SERVER, family.server, BOTH);
        node.rule(SERVER, CLIENT.identity, Direction::Ingress, (17, 53), PROXIED);
        node.to(SERVER, &craft::udp(at(family.client, 4000), at(family.server, 53)).frame())
    });
}

#[test]
fn proxy_unavailable_while_it_does_not_listen() {
    check(DropReason::ProxyUnavailable, |node, family| {
        node.tables.set_proxy_sockets(ProxySockets { connected: None, listens: false });
        node.run(Hook::ToProxy, PROXY, mark::TO_PROXY, &syn(family).frame())
    });
}

#[test]
fn not_established() {
    for flags in [ACK, ACK | craft::flag::SYN, craft::flag::FIN | ACK, craft::flag::RST] {
        check(DropReason::NotEstablished, |node, family| {
            node.enforce(CLIENT, family.client, flag::ENFORCE_INGRESS);
            node.from(CLIENT, &syn(family).flags(flags).frame())
        });
    }
}

#[test]
fn conntrack_full() {
    check(DropReason::ConntrackFull, |node, family| {
        node.tables.set_connection_limit(0);
        node.from(CLIENT, &syn(family).frame())
    });
}

#[test]
fn translation_failed_where_a_crc_would_have_to_change() {
    each_family(|family| {
        let mut node = NativeNode::new(family);
        node.serve(132, at(family.service, 80), 1, &[at(family.server, 8080)]);
        let outcome =
            node.from(CLIENT, &craft::sctp(at(family.client, 4000), at(family.service, 80)).frame());
        dropped(&node, &outcome, DropReason::TranslationFailed);
    });
}

#[test]
fn map_missing_where_an_address_has_no_row() {
    check(DropReason::MapMissing, |node, family| {
        node.tables = Tables::new();
        node.enforce(CLIENT, family.client, 0);
        node.from(CLIENT, &syn(family).frame())
    });
}

#[test]
fn time_exceeded() {
    each_family(|family| {
        for hops in [0, 1] {
            let node = NativeNode::new(family);
            let outcome = node.from(CLIENT, &syn(family).hop_limit(hops).frame());
            dropped(&node, &outcome, DropReason::TimeExceeded);
        }
    });
}

#[test]
fn not_for_proxy() {
    for given in [0, mark::FROM_PROXY] {
        check(DropReason::NotForProxy, |node, family| {
            node.run(Hook::ToProxy, PROXY, given, &syn(family).frame())
        });
    }
}

#[test]
fn an_address_whose_identity_is_not_known_is_judged_by_no_rule() {
    each_family(|family| {
        let mut node = NativeNode::new(family);
        node.put(fixtures::address(family.other, identity::UNKNOWN));
        let opening = |node: &NativeNode| {
            [
                node.from(
                    CLIENT,
                    &craft::tcp(at(family.client, 4000), at(family.other, 80))
                        .flags(craft::flag::SYN)
                        .frame(),
                ),
                node.to(
                    CLIENT,
                    &craft::tcp(at(family.other, 4000), at(family.client, 80))
                        .flags(craft::flag::SYN)
                        .frame(),
                ),
            ]
        };
        assert!(
            opening(&node).iter().all(|outcome| outcome.verdict == Ok(Delivery::Pass)),
            "nothing is enforced"
        );
        for direction in [Direction::Egress, Direction::Ingress] {
            // A rule for every peer matches this one too, as far as rules go.
            node.rule(CLIENT, identity::UNKNOWN, direction, (6, 80), ALLOW);
        }
        node.enforce(CLIENT, family.client, BOTH);
        for outcome in opening(&node) {
            dropped(&node, &outcome, DropReason::IdentityUnknown);
            assert_eq!(outcome.events[0].rule, 0);
        }
        let mut node = NativeNode::new(family);
        node.put(fixtures::address(family.other, identity::UNKNOWN));
        node.enforce(CLIENT, family.client, BOTH | flag::AUDIT);
        for outcome in opening(&node) {
            let reasons: Vec<u8> = outcome.events.iter().map(|event| event.reason).collect();
            assert_eq!(
                (outcome.verdict, &*reasons),
                (Ok(Delivery::Pass), &[DropReason::IdentityUnknown as u8][..])
            );
        }
    });
}

#[test]
fn every_reason_is_tried_above() {
    let text = [include_str!("drops.rs"), include_str!("masquerade.rs")].concat();
    for reason in DropReason::ALL {
        assert!(text.contains(&format!("DropReason::{reason:?}")), "no test drops for {reason:?}");
    }
}
