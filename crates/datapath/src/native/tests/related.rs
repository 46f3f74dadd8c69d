//! ICMP errors on flows.

use super::*;

/// Type and code of "port unreachable" in each family.
fn unreachable(family: FamilyAddresses) -> (u8, u8) {
    if family.client.is_ipv4() { (3, 3) } else { (1, 4) }
}

fn datagram(family: FamilyAddresses, to: SocketAddr) -> Vec<u8> {
    craft::udp(at(family.client, 4000), to).frame()
}

/// A node whose client may send datagrams to port 53 of the server only; with the first datagram, and the error that a router
/// sends on it.
fn guarded_client(family: FamilyAddresses) -> (NativeNode, Vec<u8>, Vec<u8>) {
    let mut node = NativeNode::new(family);
    node.enforce(CLIENT, family.client, BOTH);
    node.rule(CLIENT, SERVER.identity, Direction::Egress, (17, 53), ALLOW);
    let (kind, code) = unreachable(family);
    let opening = datagram(family, at(family.server, 53));
    let error = craft::icmp_error(family.world, family.client, kind, code, &opening).frame();
    (node, opening, error)
}

#[test]
fn an_error_on_a_known_flow_passes_and_policy_judges_any_other() {
    each_family(|family| {
        let (node, opening, error) = guarded_client(family);
        dropped(&node, &node.to(CLIENT, &error), DropReason::PolicyDefaultDeny);
        delivered(&node.from(CLIENT, &opening), SERVER);
        assert_eq!(node.to(CLIENT, &error).verdict, Ok(Delivery::Pass), "from any router");
    });
}

#[test]
fn policy_judges_an_error_on_a_flow_of_an_older_policy_or_epoch() {
    each_family(|family| {
        let (mut node, opening, error) = guarded_client(family);
        delivered(&node.from(CLIENT, &opening), SERVER);
        node.configure(Config { epoch: 1, ..Config::default() });
        dropped(&node, &node.to(CLIENT, &error), DropReason::PolicyDefaultDeny);
        delivered(&node.from(CLIENT, &opening), SERVER);
        assert_eq!(node.to(CLIENT, &error).verdict, Ok(Delivery::Pass), "policy allows the error");
    });
}

#[test]
fn a_workload_sends_errors_on_its_own_flows_to_their_other_end_only() {
    each_family(|family| {
        let mut node = NativeNode::new(family);
        node.enforce(SERVER, family.server, BOTH);
        node.rule(SERVER, CLIENT.identity, Direction::Ingress, (17, 53), ALLOW);
        let (kind, code) = unreachable(family);
        let opening = datagram(family, at(family.server, 53));
        assert!(node.to(SERVER, &opening).verdict.is_ok());
        delivered(
            &node
                .from(SERVER, &craft::icmp_error(family.server, family.client, kind, code, &opening).frame()),
            CLIENT,
        );
        let elsewhere = craft::icmp_error(family.server, family.world, kind, code, &opening).frame();
        dropped(&node, &node.from(SERVER, &elsewhere), DropReason::PolicyDefaultDeny);
        let others = datagram(family, at(family.other, 53));
        let others = craft::icmp_error(family.server, family.client, kind, code, &others).frame();
        dropped(&node, &node.from(SERVER, &others), DropReason::PolicyDefaultDeny);
    });
}

#[test]
fn an_error_on_a_translated_packet_carries_the_services_address() {
    each_family(|family| {
        let mut node = NativeNode::new(family);
        node.serve(17, at(family.service, 53), 1, &[at(family.server, 5353)]);
        let (kind, code) = unreachable(family);
        let opening = datagram(family, at(family.service, 53));
        let sent = node.from(CLIENT, &opening);
        delivered(&sent, SERVER);
        let error = craft::icmp_error(family.world, family.client, kind, code, &sent.frame).frame();
        let outcome = node.to(CLIENT, &error);
        assert_eq!(outcome.verdict, Ok(Delivery::Pass));
        assert_eq!(craft::check(&outcome.frame), Ok(()));
        // The packet inside is the one that the workload sent, but for the hop limit and the checksums over it.
        let ip = if family.client.is_ipv4() { 20 } else { 40 };
        let inside = &outcome.frame[14 + ip + 8..];
        let addresses = if family.client.is_ipv4() { 12..20 } else { 8..40 };
        assert_eq!(inside[addresses.clone()], opening[14..][addresses]);
        assert_eq!(inside[ip..ip + 4], opening[14 + ip..][..4], "ports");
    });
}
