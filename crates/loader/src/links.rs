//! Attaching programs to interfaces: tcx links, or clsact filters where the kernel has none.

use crate::clsact;
use crate::loaded::Loaded;
use crate::pin::{self, PinError};
use crate::sys::{self, TcxPoint};
use abi::Hook;
use abi::hook::Site;
use netlink::Socket;
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Ends the name of a pin that stands for a filter. (The file system takes no dots.)
const CLSACT_SUFFIX: &str = "-clsact";

/// How programs are attached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Tcx links where the kernel has them (6.6), else clsact filters.
    #[default]
    Automatic,
    /// Clsact filters in any case.
    Clsact,
}

/// Why a program could not be attached, replaced or detached.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// At an interface.
    #[error("program {hook} at interface {interface}: {source}")]
    Interface {
        /// The program.
        hook: Hook,
        /// Index of the interface.
        interface: u32,
        /// Why.
        source: io::Error,
    },
    /// A pinned link of an earlier run could not be used.
    #[error("pinned link {path}: {source}")]
    Pinned {
        /// Where it is pinned.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The pins could not be listed.
    #[error(transparent)]
    Pins(#[from] PinError),
}

/// What is attached where, by us.
#[derive(Debug)]
pub(crate) struct Links {
    mode: Mode,
    directory: Option<PathBuf>,
    attached: BTreeMap<(u32, Hook), Link>,
}

/// One attachment.
#[derive(Debug)]
enum Link {
    /// Lasts as long as this descriptor or its pin; at a network namespace as well.
    Tcx(OwnedFd),
    /// Lasts as long as the interface.
    Clsact,
}

impl Links {
    pub(crate) fn new(mode: Mode, directory: Option<PathBuf>) -> Self {
        Self { mode, directory, attached: BTreeMap::new() }
    }

    /// Where the link of an interface's hook is pinned or, as a record of a filter, its program.
    fn path(&self, interface: u32, hook: Hook, is_clsact: bool) -> Option<PathBuf> {
        let suffix = if is_clsact { CLSACT_SUFFIX } else { "" };
        Some(pin::links(self.directory.as_deref()?).join(format!("{interface}-{hook}{suffix}")))
    }
}

impl Loaded {
    /// Attaches the programs of a workload to its host-side interface, in both directions or not at all. That they
    /// are attached already is fine. Do this before the interface is up.
    pub fn attach(&mut self, interface: u32) -> Result<(), AttachError> {
        self.attach_site(interface, Site::Workload)
    }

    /// Attaches the programs that ask the node's own policy to an interface that leads out of the node, in both
    /// directions or not at all. That they are attached already is fine.
    pub fn attach_outside(&mut self, interface: u32) -> Result<(), AttachError> {
        self.attach_site(interface, Site::Outside)
    }

    /// Attaches the program that lets packets through to the node proxy to the proxy's interface, and the one that finds
    /// the proxy's listener for them to the network namespace of the calling thread, which is the interface's.
    pub fn attach_proxy(&mut self, interface: u32) -> Result<(), AttachError> {
        self.attach_site(interface, Site::Proxy)
    }

    /// Detaches every program of ours from the interface; one that is gone has none. Take it down before: without its
    /// programs a workload's interface passes everything.
    pub fn detach(&mut self, interface: u32) -> Result<(), AttachError> {
        self.detach_hooks(interface, Hook::ALL.iter().copied())
    }

    /// Detaches the programs of [`Self::attach_outside`].
    pub fn detach_outside(&mut self, interface: u32) -> Result<(), AttachError> {
        self.detach_hooks(interface, Hook::of_site(Site::Outside))
    }

    fn detach_hooks(&mut self, interface: u32, hooks: impl Iterator<Item = Hook>) -> Result<(), AttachError> {
        for hook in hooks {
            if let Some(link) = self.links.attached.remove(&(interface, hook)) {
                self.detach_one(interface, hook, link)?;
            }
        }
        Ok(())
    }

    /// How programs are attached here, as `tc` and `bpftool` call it.
    pub fn attachment(&self) -> &'static str {
        let filters = self.links.attached.values().any(|link| matches!(link, Link::Clsact));
        if filters || self.links.mode == Mode::Clsact { "clsact" } else { "tcx" }
    }

    /// The interfaces and hooks that programs of ours are attached to.
    pub fn attached(&self) -> impl Iterator<Item = (u32, Hook)> {
        self.links.attached.keys().copied()
    }

    /// Detaches everything and removes the pins: no packet is judged any more.
    pub fn unload(mut self) -> Result<(), AttachError> {
        let interfaces: Vec<_> = self.attached().map(|(interface, _)| interface).collect();
        for interface in interfaces {
            self.detach(interface)?;
        }
        match &self.links.directory {
            Some(directory) => Ok(pin::remove_pins(directory)?),
            None => Ok(()),
        }
    }

    /// Puts the programs into the places of an earlier run's; the pins of interfaces that are gone are removed.
    pub(crate) fn take_over_links(&mut self) -> Result<(), AttachError> {
        let Some(directory) = self.links.directory.clone() else { return Ok(()) };
        for path in pin::pins(&pin::links(&directory))? {
            let failed = |source| AttachError::Pinned { path: path.clone(), source };
            let Some(place) = Place::of(&path) else {
                return Err(failed(io::Error::other("not a name that this program gives")));
            };
            match self.take_over(&place, &path) {
                Ok(link) => drop(self.links.attached.insert((place.interface, place.hook), link)),
                Err(error) if is_gone(&error) => std::fs::remove_file(&path).map_err(failed)?,
                Err(error) => return Err(failed(error)),
            }
        }
        Ok(())
    }

    fn take_over(&self, place: &Place, path: &Path) -> io::Result<Link> {
        let program = self.program_descriptor(place.hook);
        if place.is_clsact {
            clsact::replace(&mut Socket::open()?, place.interface, place.hook, program)?;
            std::fs::remove_file(path)?;
            sys::pin(program, path)?;
            return Ok(Link::Clsact);
        }
        let link = sys::open_pinned(path)?;
        sys::update_link(link.as_fd(), program)?;
        Ok(Link::Tcx(link))
    }

    fn attach_site(&mut self, interface: u32, site: Site) -> Result<(), AttachError> {
        let mut made = Vec::new();
        for hook in Hook::of_site(site) {
            if self.links.attached.contains_key(&(interface, hook)) {
                continue;
            }
            match self.attach_one(interface, hook) {
                Ok(link) => made.push((hook, link)),
                Err(source) => {
                    for (hook, link) in made {
                        // What failed first is what the caller needs to know.
                        let _ = self.detach_one(interface, hook, link);
                    }
                    return Err(AttachError::Interface { hook, interface, source });
                }
            }
        }
        self.links.attached.extend(made.into_iter().map(|(hook, link)| ((interface, hook), link)));
        Ok(())
    }

    fn attach_one(&self, interface: u32, hook: Hook) -> io::Result<Link> {
        let program = self.program_descriptor(hook);
        let Some(point) = TcxPoint::of(hook.point()) else {
            let namespace = std::fs::File::open("/proc/thread-self/ns/net")?;
            return self.keep(interface, hook, sys::create_lookup_link(program, namespace.as_fd())?);
        };
        if self.links.mode == Mode::Automatic {
            match sys::create_link(program, interface, point) {
                Ok(link) => return self.keep(interface, hook, link),
                // A kernel before 6.6 does not know the place.
                Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {}
                Err(error) => return Err(error),
            }
        }
        clsact::attach(&mut Socket::open()?, interface, hook, program)?;
        if let Some(path) = self.links.path(interface, hook, true)
            && let Err(error) = sys::pin(program, &path)
        {
            clsact::detach(&mut Socket::open()?, interface, hook)?;
            return Err(error);
        }
        Ok(Link::Clsact)
    }

    /// Pins a link that is new.
    fn keep(&self, interface: u32, hook: Hook, link: OwnedFd) -> io::Result<Link> {
        if let Some(path) = self.links.path(interface, hook, false) {
            sys::pin(link.as_fd(), &path)?;
        }
        Ok(Link::Tcx(link))
    }

    fn detach_one(&self, interface: u32, hook: Hook, link: Link) -> Result<(), AttachError> {
        let path = self.links.path(interface, hook, matches!(link, Link::Clsact));
        let detached = match link {
            Link::Tcx(link) => sys::detach_link(link.as_fd()),
            Link::Clsact => {
                Socket::open().and_then(|mut socket| clsact::detach(&mut socket, interface, hook))
            }
        };
        let unpinned = path.map_or(Ok(()), std::fs::remove_file);
        match detached.and(unpinned) {
            Err(source) if !is_gone(&source) => Err(AttachError::Interface { hook, interface, source }),
            _ => Ok(()),
        }
    }

    fn program_descriptor(&self, hook: Hook) -> BorrowedFd<'_> {
        self.program(hook).fd().expect("programs are loaded before anything is attached").as_fd()
    }
}

/// Detaches the filters that pins in this directory tell of: they last as long as their interfaces, and those that lead
/// out of the node stay when all else is removed. The calling thread must be in the node's namespace.
pub fn detach_filters(directory: &Path) -> Result<(), AttachError> {
    for path in pin::pins(&pin::links(directory))? {
        let Some(Place { interface, hook, is_clsact: true }) = Place::of(&path) else { continue };
        let detached = Socket::open().and_then(|mut socket| clsact::detach(&mut socket, interface, hook));
        match detached {
            Err(source) if !is_gone(&source) => {
                return Err(AttachError::Interface { hook, interface, source });
            }
            _ => {}
        }
    }
    Ok(())
}

/// What the name of a pin in the directory of links says.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    interface: u32,
    hook: Hook,
    is_clsact: bool,
}

impl Place {
    fn of(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?;
        let (name, is_clsact) = name.strip_suffix(CLSACT_SUFFIX).map_or((name, false), |name| (name, true));
        let (interface, hook) = name.split_once('-')?;
        Some(Self { interface: interface.parse().ok()?, hook: Hook::from_name(hook)?, is_clsact })
    }
}

/// Whether an error says that the interface, or what was attached to it, is no more.
fn is_gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOLINK | libc::ENODEV | libc::ENOENT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_pinned_under_the_name_that_is_read_back() {
        let links = Links::new(Mode::Automatic, Some(PathBuf::from("/pins")));
        for is_clsact in [false, true] {
            let path = links.path(7, Hook::ToWorkload, is_clsact).unwrap();
            assert_eq!(Place::of(&path), Some(Place { interface: 7, hook: Hook::ToWorkload, is_clsact }));
        }
        for name in ["7", "x-to_workload", "7-to_nowhere", "7-to_workload-tcx"] {
            assert_eq!(Place::of(Path::new(name)), None, "{name}");
        }
    }
}
