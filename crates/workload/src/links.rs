//! Interfaces that are told apart by who made them, and deleted one by one or together.

use crate::network::{Link, Network, NetworkError};
use netlink::message::RouteNetlinkMessage as Message;
use netlink::message::link::{LinkAttribute, LinkMessage};

/// The group that interfaces are put in to be deleted together: the kernel waits once for all of a group until no packet
/// uses them, and some 20 ms for each that is deleted alone.
const DELETION_GROUP: u32 = 0x4e58_454e;

impl Network {
    /// Writes a text on an interface, by which its maker knows it again.
    pub fn set_alias(&mut self, interface: u32, alias: &str) -> Result<(), NetworkError> {
        let alias = LinkAttribute::IfAlias(alias.to_owned());
        self.set(interface, alias, || format!("marking interface {interface}"))
    }

    /// Gives an interface, which must be down, another name; that another has the name is an error that
    /// [`NetworkError::is_present`] tells.
    pub fn rename(&mut self, interface: u32, name: &str) -> Result<(), NetworkError> {
        self.set(interface, LinkAttribute::IfName(name.to_owned()), || format!("making interface {name}"))
    }

    /// Deletes an interface, and with it its other end; one that is gone is no error.
    pub fn delete_link(&mut self, name: &str) -> Result<(), NetworkError> {
        match self.link(name)? {
            Some(link) => self.delete_index(&link),
            None => Ok(()),
        }
    }

    /// Deletes interfaces, and with them their other ends, all at once; those that are gone are no error.
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
        let mut request = LinkMessage::default();
        request.header.index = interface;
        request.attributes.push(attribute);
        self.change(Message::SetLink(request), 0, what)
    }
}

fn deleting(link: &Link) -> String {
    format!("deleting interface {}", link.name)
}
