//! Processes of the node that use a port of the node that leads to a workload.

use super::*;
use crate::{PeerAddress, to_port_of_workload, to_workload_of_port};

/// An address and port of a socket's system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Call {
    protocol: u8,
    peer: SocketAddr,
    socket: u64,
}

impl PeerAddress for Call {
    fn protocol(&self) -> u8 {
        self.protocol
    }

    fn address(&self) -> Address {
        self.peer.ip().into()
    }

    fn port(&self) -> [u8; 2] {
        self.peer.port().to_be_bytes()
    }

    fn replace(&mut self, address: &Address, port: [u8; 2]) {
        self.peer = SocketAddr::new((*address).into(), u16::from_be_bytes(port));
    }

    fn socket(&self) -> u64 {
        self.socket
    }
}

impl Call {
    fn to(node: &NativeNode, protocol: u8, peer: SocketAddr) -> SocketAddr {
        let mut call = Self { protocol, peer, socket: 7 };
        to_workload_of_port(&mut call, &node.tables);
        call.peer
    }

    fn from(node: &NativeNode, socket: u64, peer: SocketAddr) -> SocketAddr {
        let mut call = Self { protocol: 17, peer, socket };
        to_port_of_workload(&mut call, &node.tables);
        call.peer
    }
}

fn loopback(family: FamilyAddresses) -> IpAddr {
    if family.client.is_ipv4() { "127.0.0.1" } else { "::1" }.parse().unwrap()
}

/// A node whose port 8080 leads to port 80 of the server, at its address and at the loopback address.
fn with_ports(family: FamilyAddresses) -> NativeNode {
    let mut node = NativeNode::new(family);
    node.own(family.other);
    for protocol in [6, 17] {
        for address in [family.other, loopback(family)] {
            node.serve(protocol, at(address, 8080), u32::from(protocol), &[at(family.server, 80)]);
        }
    }
    node.configure(Config { flags: config::flag::HOST_PORTS, ..Config::default() });
    node
}

#[test]
fn a_process_is_led_to_the_workload_and_other_destinations_stay() {
    each_family(|family| {
        let mut node = with_ports(family);
        node.serve(6, at(family.service, 80), 9, &[at(family.server, 80)]);
        node.serve(6, at(family.other, 9090), 10, &[at(family.world, 80)]);
        for protocol in [6, 17] {
            for address in [family.other, loopback(family)] {
                assert_eq!(Call::to(&node, protocol, at(address, 8080)), at(family.server, 80));
            }
        }
        // Other ports of the node, a service that is kube-proxy's here, and a backend elsewhere.
        for other in [
            at(family.other, 8081),
            at(loopback(family), 8081),
            at(family.service, 80),
            at(family.other, 9090),
            at(family.server, 80),
        ] {
            assert_eq!(Call::to(&node, 6, other), other);
        }
        node.configure(Config::default());
        assert_eq!(Call::to(&node, 6, at(family.other, 8080)), at(family.other, 8080));
    });
}

#[test]
fn the_answer_of_a_datagram_comes_from_the_port_that_the_socket_sent_to() {
    each_family(|family| {
        let node = with_ports(family);
        let (port, server) = (at(family.other, 8080), at(family.server, 80));
        assert_eq!(Call::from(&node, 7, server), server, "the socket sent nothing");
        Call::to(&node, 17, port);
        assert_eq!(Call::from(&node, 7, server), port);
        assert_eq!(Call::from(&node, 8, server), server, "another socket");
        assert_eq!(Call::from(&node, 7, at(family.client, 80)), at(family.client, 80), "another sender");
    });
}
