//! Ports of the node that lead to workloads.

use super::masquerade::{come, ends, leave, out};
use super::*;
use crate::craft::flag::{ACK, SYN};

const PASS: Result<Delivery, DropReason> = Ok(Delivery::Pass);

/// A node with the family's `other` address, whose port 8080 leads to port 80 of the server.
fn forwarding(family: FamilyAddresses) -> NativeNode {
    let mut node = NativeNode::new(family);
    node.own(family.other);
    for protocol in [6, 17] {
        node.serve(protocol, at(family.other, 8080), u32::from(protocol), &[at(family.server, 80)]);
    }
    let flags = MEDIUM | config::flag::NODE_OPEN | config::flag::HOST_PORTS;
    node.configure(Config { flags, ..Config::default() });
    node
}

#[test]
fn packets_from_outside_reach_the_workload_under_the_clients_address_and_its_answers_have_the_nodes() {
    each_family(|family| {
        let mut node = forwarding(family);
        let (client, port, server) = (at(family.world, 4000), at(family.other, 8080), at(family.server, 80));
        let segment = |from, to, flags| craft::tcp(from, to).flags(flags);
        let datagram = |from, to, _| craft::udp(from, to);
        for craft in [&segment as &dyn Fn(_, _, _) -> craft::Craft, &datagram] {
            for (there, back) in [(SYN, SYN | ACK), (ACK, ACK), (ACK, ACK)] {
                let came = come(&node, &craft(client, port, there).frame());
                assert_eq!((came.verdict, ends(&came.frame)), (PASS, [client, server]));
                assert_eq!(node.forward(OUTSIDE, SERVER, &came.frame).verdict, PASS);
                let left = leave(&node, SERVER, &craft(server, client, back).frame());
                assert_eq!((left.verdict, ends(&left.frame)), (PASS, [port, client]));
            }
        }
        // Without an entry of its own, as after a flood, a flow that continues gets it anew.
        node.tables.forget();
        let came = come(&node, &segment(client, port, ACK).payload(b"more").frame());
        assert_eq!(ends(&came.frame), [client, server]);
        let left = leave(&node, SERVER, &segment(server, client, ACK).payload(b"answer").frame());
        assert_eq!(ends(&left.frame), [port, client]);
    });
}

#[test]
fn other_packets_keep_their_addresses() {
    each_family(|family| {
        let mut node = forwarding(family);
        let (client, server) = (at(family.world, 4000), at(family.server, 80));
        // Another port of the node, and the workload itself.
        for to in [at(family.other, 8081), server] {
            let came = come(&node, &craft::tcp(client, to).flags(SYN).frame());
            assert_eq!((came.verdict, ends(&came.frame)), (PASS, [client, to]));
        }
        let direct = craft::tcp(client, server).flags(SYN).frame();
        assert_eq!(node.forward(OUTSIDE, SERVER, &direct).verdict, PASS);
        let left = leave(&node, SERVER, &craft::tcp(server, client).flags(SYN | ACK).frame());
        assert_eq!(ends(&left.frame), [server, client]);
        // Services at other addresses, and those of several backends.
        node.serve(6, at(family.service, 80), 7, &[server]);
        node.serve(6, at(family.other, 9090), 8, &[server, at(family.client, 80)]);
        for to in [at(family.service, 80), at(family.other, 9090)] {
            let came = come(&node, &craft::tcp(client, to).flags(SYN).frame());
            assert_eq!(ends(&came.frame), [client, to]);
        }
    });
}

#[test]
fn a_port_that_leads_elsewhere_now_hides_no_answers() {
    each_family(|family| {
        let mut node = forwarding(family);
        let (client, port, server) = (at(family.world, 4000), at(family.other, 8080), at(family.server, 80));
        let came = come(&node, &craft::tcp(client, port).flags(SYN).frame());
        assert_eq!(ends(&came.frame), [client, server]);
        node.serve(6, port, 9, &[at(family.client, 80)]);
        let left = out(&node, SERVER.interface, &craft::tcp(server, client).flags(ACK).frame());
        assert_eq!(ends(&left.frame), [server, client]);
        let came = come(&node, &craft::tcp(client, port).flags(SYN).frame());
        assert_eq!(ends(&came.frame), [client, at(family.client, 80)]);
    });
}
