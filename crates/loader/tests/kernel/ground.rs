//! What the tests stand on: permission, a network namespace, interfaces, a directory for pins.

use loader::{Capacities, Loaded, Options};
use netlink::message::RouteNetlinkMessage as Message;
use netlink::message::link::{InfoData, InfoKind, InfoVeth, LinkAttribute, LinkInfo, LinkMessage};
use netlink::{NLM_F_CREATE, NLM_F_EXCL, Socket};
use rustix::thread::UnshareFlags;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

/// Whether programs can be loaded here; root that can not load them fails the test that does.
pub(crate) fn possible() -> bool {
    let possible = rustix::process::geteuid().is_root();
    if !possible {
        assert!(std::env::var_os("CI").is_none(), "CI runs these tests as root");
        println!("skipped: loading programs takes root");
    }
    possible
}

/// Moves the test's own thread into a new network namespace with an interface, and tells the interface's index.
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
