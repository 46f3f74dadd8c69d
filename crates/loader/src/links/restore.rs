//! Attaches programs again that other programs detached, and pins links again.

use super::{AttachError, AttachedProgram, Links, is_gone};
use crate::clsact;
use crate::pin;
use crate::sys;
use crate::upkeep::Restored;
use abi::Hook;
use netlink::Socket;
use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;

/// An interface and a hook, and the link of the program that is attached there.
type AttachedLink = ((u32, Hook), Option<Arc<OwnedFd>>);

impl Links {
    /// Restores the attachments and pins that are missing; an interface that is gone has none. Interfaces that programs could
    /// not be attached to do not keep others from being restored. If all links `are_pinned`, only attachments are checked.
    pub(crate) fn restore(&self, are_pinned: bool) -> (Vec<Restored>, Vec<AttachError>) {
        let listed = self.directory().filter(|_| !are_pinned);
        let pins = match listed.map(|directory| pin::pins(&pin::links(directory))).transpose() {
            Ok(pins) => pins.map(BTreeSet::from_iter),
            Err(error) => return (Vec::new(), vec![error.into()]),
        };
        let (mut restored, mut failures) = (Vec::new(), Vec::new());
        for ((interface, hook), link) in self.links() {
            match self.restore_one((interface, hook), link, pins.as_ref()) {
                Ok(one) => restored.extend(one),
                Err(error) if is_gone(&error) => {}
                Err(source) => failures.push(AttachError::Interface { hook, interface, source }),
            }
        }
        (restored, failures)
    }

    /// The attached programs; a filter has no link. The lock is not held while the kernel is called.
    fn links(&self) -> Vec<AttachedLink> {
        let known = self.known();
        let link = |attached: &AttachedProgram| match attached {
            AttachedProgram::Link(link) => Some(Arc::clone(link)),
            AttachedProgram::Filter => None,
        };
        known.iter().map(|(key, attached)| (*key, link(attached))).collect()
    }

    fn restore_one(
        &self,
        (interface, hook): (u32, Hook),
        link: Option<Arc<OwnedFd>>,
        pins: Option<&BTreeSet<PathBuf>>,
    ) -> io::Result<Option<Restored>> {
        let program = self.program(hook)?;
        // The program of a link is replaced by itself, and so is a filter: both fail where there is none.
        let there = match &link {
            Some(link) => sys::update_link(link.as_fd(), program),
            None => clsact::replace(&mut Socket::open()?, interface, hook, program),
        };
        let path = || self.path(interface, hook, link.is_none());
        match there {
            Ok(()) => {
                let missing = pins.and_then(|pins| path().filter(|path| !pins.contains(path)));
                let Some(path) = missing else { return Ok(None) };
                sys::pin(link.as_ref().map_or(program, |link| link.as_fd()), &path)?;
                Ok(Some(Restored::Pin(path)))
            }
            Err(error) if is_gone(&error) => {
                if let Some(path) = path().filter(|path| path.exists()) {
                    // It holds the link that is detached.
                    std::fs::remove_file(path)?;
                }
                let attached = self.attach_one(interface, hook, program)?;
                self.replace((interface, hook), attached)?;
                Ok(Some(Restored::Program { interface, hook }))
            }
            Err(error) => Err(error),
        }
    }

    /// Keeps a new attachment in the place of one that is gone. If the programs of the interface were detached meanwhile, the
    /// new attachment is detached, too.
    fn replace(&self, (interface, hook): (u32, Hook), new: AttachedProgram) -> io::Result<()> {
        let unused = match self.known().get_mut(&(interface, hook)) {
            Some(known) => {
                *known = new;
                return Ok(());
            }
            None => new,
        };
        self.detach_one(interface, hook, unused).map_err(io::Error::other)
    }
}
