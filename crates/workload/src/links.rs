//! Changes of interfaces: alias, name, deletion alone or together.

use crate::network::{Link, Network, NetworkError};
use netlink::message::RouteNetlinkMessage as Message;
use netlink::message::link::{AfSpecInet6, AfSpecUnspec, In6AddrGenMode, LinkAttribute, LinkMessage};

/// The interface group for deleting several interfaces together. The kernel waits for one grace period per group; for an
/// interface that is deleted alone, it waits about 20 ms.
const DELETION_GROUP: u32 = 0x4e58_454e;

impl Network {
    /// Sets the alias of an interface, by which its creator recognizes it.
    pub fn set_alias(&mut self, interface: u32, alias: &str) -> Result<(), NetworkError> {
        let alias = LinkAttribute::IfAlias(alias.to_owned());
        self.set(interface, alias, || format!("marking interface {interface}"))
    }

    /// Lets the kernel assign no IPv6 address of its own to an interface, and sets its alias, if there is one. Writing the setting
    /// `addr_gen_mode` instead would spin on a CPU while another thread changes any network of the host.
    pub(crate) fn without_own_address(
        &mut self,
        interface: u32,
        alias: Option<&str>,
    ) -> Result<(), NetworkError> {
        let mode = AfSpecUnspec::Inet6(vec![AfSpecInet6::AddrGenMode(In6AddrGenMode::None)]);
        let alias = alias.map(|alias| LinkAttribute::IfAlias(alias.to_owned()));
        let attributes = alias.into_iter().chain([LinkAttribute::AfSpecUnspec(vec![mode])]);
        self.set_all(interface, attributes.collect(), || format!("configuring interface {interface}"))
    }

    /// Renames an interface, which must be down. For the error that the name is taken, [`NetworkError::is_present`] is true.
    pub fn rename(&mut self, interface: u32, name: &str) -> Result<(), NetworkError> {
        self.set(interface, LinkAttribute::IfName(name.to_owned()), || format!("making interface {name}"))
    }

    /// Deletes an interface and its other end; succeeds where it does not exist.
    pub fn delete_link(&mut self, name: &str) -> Result<(), NetworkError> {
        match self.link(name)? {
            Some(link) => self.delete_index(&link),
            None => Ok(()),
        }
    }

    /// Deletes interfaces and their other ends together; interfaces that do not exist are skipped.
    pub fn delete_links(&mut self, links: &[Link]) -> Result<(), NetworkError> {
        if let [link] = links {
            return self.delete_index(link);
        }
        for link in links {
            let grouped = self.set(link.index, LinkAttribute::Group(DELETION_GROUP), || deleting(link));
            match grouped {
                Err(error) if error.is(rustix::io::Errno::NODEV) => {}
                grouped => grouped?,
            }
        }
        let is_ours = |found: &Link| links.iter().any(|link| link.index == found.index);
        if self.links()?.iter().any(|found| found.group == DELETION_GROUP && !is_ours(found)) {
            // Another program uses the group.
            return links.iter().try_for_each(|link| self.delete_index(link));
        }
        let mut request = LinkMessage::default();
        request.attributes.push(LinkAttribute::Group(DELETION_GROUP));
        match self.change(Message::DelLink(request), 0, || "deleting interfaces".to_owned()) {
            Err(error) if error.is(rustix::io::Errno::NODEV) => Ok(()),
            deleted => deleted,
        }
    }

    fn delete_index(&mut self, link: &Link) -> Result<(), NetworkError> {
        let mut request = LinkMessage::default();
        request.header.index = link.index;
        match self.change(Message::DelLink(request), 0, || deleting(link)) {
            Err(error) if error.is(rustix::io::Errno::NODEV) => Ok(()),
            deleted => deleted,
        }
    }

    fn set(
        &mut self,
        interface: u32,
        attribute: LinkAttribute,
        what: impl Fn() -> String,
    ) -> Result<(), NetworkError> {
        self.set_all(interface, vec![attribute], what)
    }

    fn set_all(
        &mut self,
        interface: u32,
        attributes: Vec<LinkAttribute>,
        what: impl Fn() -> String,
    ) -> Result<(), NetworkError> {
        let mut request = LinkMessage::default();
        request.header.index = interface;
        request.attributes = attributes;
        self.change(Message::SetLink(request), 0, what)
    }
}

fn deleting(link: &Link) -> String {
    format!("deleting interface {}", link.name)
}
