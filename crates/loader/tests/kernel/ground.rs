//! The set-up of the tests: permission, a network namespace, interfaces, a directory for pins.

use loader::{Capacities, Loaded, Options};
use netlink::message::RouteNetlinkMessage as Message;
use netlink::message::link::{InfoData, InfoKind, InfoVeth, LinkAttribute, LinkInfo, LinkMessage};
use netlink::{NLM_F_CREATE, NLM_F_EXCL, Socket};
use rustix::thread::UnshareFlags;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

/// Whether the test runs as root. As root, a program that cannot be loaded fails the test.
pub(crate) fn possible() -> bool {
    let possible = rustix::process::geteuid().is_root();
    if !possible {
        assert!(std::env::var_os("CI").is_none(), "CI runs these tests as root");
        println!("skipped: loading programs takes root");
    }
    possible
}

/// Moves the test's own thread into a new network namespace with an interface, and returns the interface's index.
#[expect(unsafe_code, reason = "the one call to make a namespace is unsafe for tables of descriptors")]
pub(crate) fn interface() -> u32 {
    const INDEX: u32 = 1234;
    // SAFETY: the table of descriptors stays shared.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }
        .expect("root can make a network namespace");
    let mut peer = LinkMessage::default();
    peer.attributes.push(LinkAttribute::IfName("eth0".to_owned()));
    let mut link = LinkMessage::default();
    link.header.index = INDEX;
    link.attributes = vec![
        LinkAttribute::IfName("nx0".to_owned()),
        LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
        ]),
    ];
    Socket::open().unwrap().change(Message::NewLink(link), NLM_F_CREATE | NLM_F_EXCL).expect("a veth pair");
    INDEX
}

/// Deletes the interface of [`interface`].
pub(crate) fn delete_interface(index: u32) {
    let mut link = LinkMessage::default();
    link.header.index = index;
    Socket::open().unwrap().change(Message::DelLink(link), 0).unwrap();
}

pub(crate) const SYN: u8 = 2;
pub(crate) const ACK: u8 = 16;

/// A TCP segment with these flags.
pub(crate) fn tcp(source: ([u8; 4], u16), destination: ([u8; 4], u16), flags: u8) -> Vec<u8> {
    let rest = [0, 0, 0, 1, 0, 0, 0, 0, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0];
    ip(6, source, destination, &rest)
}

/// A UDP datagram without a payload and without a checksum.
pub(crate) fn udp(source: ([u8; 4], u16), destination: ([u8; 4], u16)) -> Vec<u8> {
    ip(17, source, destination, &[0, 8, 0, 0])
}

/// A packet of IPv4 whose transport header begins with the ports.
fn ip(protocol: u8, source: ([u8; 4], u16), destination: ([u8; 4], u16), rest: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x08, 0x00];
    frame.extend([0x45, 0, 0, 24 + rest.len() as u8, 0, 1, 0, 0, 64, protocol, 0, 0]);
    frame.extend([source.0, destination.0].concat());
    frame.extend([source.1.to_be_bytes(), destination.1.to_be_bytes()].concat());
    frame.extend(rest);
    frame
}

/// Small maps, nothing pinned.
pub(crate) fn options() -> Options {
    Options { capacities: Capacities::SMALL, ..Options::default() }
}

/// Loads with [`options`].
pub(crate) fn loaded() -> Loaded {
    Loaded::open(options()).unwrap_or_else(|error| panic!("{error}"))
}

/// A directory for pins that is removed in the end, also when the test fails.
pub(crate) struct Pins(pub(crate) PathBuf);

impl Pins {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let instance = format!("test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        Self(loader::pin_directory(&instance))
    }

    pub(crate) fn options(&self) -> Options {
        Options { pin_directory: Some(self.0.clone()), ..options() }
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        loader::remove_pins(&self.0).unwrap();
    }
}
