//! The attachments of programs to interfaces: tcx links, or clsact filters where the kernel has none, and their pins.

mod restore;

use crate::clsact;
use crate::pin::{self, PinError};
use crate::sys::{self, TcxPoint};
use abi::Hook;
use abi::hook::Kind;
use aya::Ebpf;
use aya::programs::Program;
use netlink::Socket;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The end of a pin's name that marks a filter. (The file system allows no dots in names.)
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
    /// The kernel refused the change at an interface.
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

/// The programs, and where they are attached. Usable from several threads: a thread that waits for the kernel holds no lock.
#[derive(Debug)]
pub(crate) struct Links {
    mode: Mode,
    directory: Option<PathBuf>,
    /// See [`crate::Options::group`].
    group: Option<PathBuf>,
    /// The programs, each with its only descriptor. Their maps are closed: the tables hold these.
    programs: Ebpf,
    attached: Mutex<Attached>,
}

/// The attached programs, by interface and hook.
type Attached = BTreeMap<(u32, Hook), AttachedProgram>;

/// How one program is attached.
#[derive(Debug)]
enum AttachedProgram {
    /// A link, at an interface, a network namespace or a control group: lasts as long as this descriptor or its pin.
    Link(Arc<OwnedFd>),
    /// A filter: lasts as long as the interface.
    Filter,
}

impl Links {
    /// Nothing is attached yet.
    pub(crate) fn new(
        mode: Mode,
        (directory, group): (Option<PathBuf>, Option<PathBuf>),
        programs: Ebpf,
    ) -> Self {
        Self { mode, directory, group, programs, attached: Mutex::default() }
    }

    /// The directory of the pins, where there are any.
    pub(crate) fn directory(&self) -> Option<&Path> {
        self.directory.as_deref()
    }

    /// How programs are attached here, as `tc` and `bpftool` call it.
    pub(crate) fn attachment(&self) -> &'static str {
        let filters = self.known().values().any(|attached| matches!(attached, AttachedProgram::Filter));
        if filters || self.mode == Mode::Clsact { "clsact" } else { "tcx" }
    }

    /// The interfaces and hooks that programs are attached to.
    pub(crate) fn attached(&self) -> Vec<(u32, Hook)> {
        self.known().keys().copied().collect()
    }

    /// Puts the programs into the places of an earlier run's; removes the pins of interfaces that are gone.
    pub(crate) fn take_over(&self) -> Result<(), AttachError> {
        let Some(directory) = &self.directory else { return Ok(()) };
        for path in pin::pins(&pin::links(directory))? {
            let failed = |source| AttachError::Pinned { path: path.clone(), source };
            let Some(pinned) = PinnedLink::of(&path) else {
                return Err(failed(io::Error::other("not a name that this program gives")));
            };
            let taken = self.program(pinned.hook).and_then(|program| pinned.take_over(&path, program));
            match taken {
                Ok(link) => drop(self.known().insert((pinned.interface, pinned.hook), link)),
                Err(error) if is_gone(&error) => std::fs::remove_file(&path).map_err(failed)?,
                Err(error) => return Err(failed(error)),
            }
        }
        Ok(())
    }

    /// Attaches the programs of the hooks to an interface, in order, all or none.
    pub(crate) fn attach(
        &self,
        interface: u32,
        hooks: impl Iterator<Item = Hook>,
    ) -> Result<(), AttachError> {
        let mut made = Vec::new();
        for hook in hooks {
            if self.known().contains_key(&(interface, hook)) {
                continue;
            }
            match self.program(hook).and_then(|program| self.attach_one(interface, hook, program)) {
                Ok(link) => made.push((hook, link)),
                Err(source) => {
                    for (hook, link) in made {
                        // The caller needs the first error, and no later one.
                        let _ = self.detach_one(interface, hook, link);
                    }
                    return Err(AttachError::Interface { hook, interface, source });
                }
            }
        }
        self.known().extend(made.into_iter().map(|(hook, link)| ((interface, hook), link)));
        Ok(())
    }

    /// Detaches the programs of the hooks from an interface, as far as they are attached.
    pub(crate) fn detach(
        &self,
        interface: u32,
        hooks: impl Iterator<Item = Hook>,
    ) -> Result<(), AttachError> {
        for hook in hooks {
            let attached = self.known().remove(&(interface, hook));
            if let Some(link) = attached {
                self.detach_one(interface, hook, link)?;
            }
        }
        Ok(())
    }

    /// A loaded program.
    pub(crate) fn loaded(&self, hook: Hook) -> &Program {
        self.programs.program(hook.name()).expect("the spec was checked for every hook")
    }

    fn program(&self, hook: Hook) -> io::Result<BorrowedFd<'_>> {
        Ok(self.loaded(hook).fd().map_err(io::Error::other)?.as_fd())
    }

    fn known(&self) -> MutexGuard<'_, Attached> {
        // Each change of the map is a single call, so a panic cannot leave it inconsistent.
        self.attached.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn attach_one(&self, interface: u32, hook: Hook, program: BorrowedFd<'_>) -> io::Result<AttachedProgram> {
        let Some(point) = TcxPoint::of(hook.point()) else {
            let target = self.target(hook)?;
            return self.keep(interface, hook, sys::create_link_to(program, target.as_fd(), hook.point())?);
        };
        if self.mode == Mode::Automatic {
            match sys::create_link(program, interface, point) {
                Ok(link) => return self.keep(interface, hook, link),
                // A kernel before 6.6 does not know the attach point.
                Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {}
                Err(error) => return Err(error),
            }
        }
        clsact::attach(&mut Socket::open()?, interface, hook, program)?;
        if let Some(path) = self.path(interface, hook, true)
            && let Err(error) = sys::pin(program, &path)
        {
            clsact::detach(&mut Socket::open()?, interface, hook)?;
            return Err(error);
        }
        Ok(AttachedProgram::Filter)
    }

    /// What a hook that belongs to no interface is attached to.
    fn target(&self, hook: Hook) -> io::Result<File> {
        match hook.point().kind() {
            Kind::SocketAddress => {
                let unknown = || io::Error::other("the control group of the node's processes is not known");
                File::open(self.group.as_ref().ok_or_else(unknown)?)
            }
            _ => File::open("/proc/thread-self/ns/net"),
        }
    }

    /// Pins a link that is new.
    fn keep(&self, interface: u32, hook: Hook, link: OwnedFd) -> io::Result<AttachedProgram> {
        if let Some(path) = self.path(interface, hook, false) {
            sys::pin(link.as_fd(), &path)?;
        }
        Ok(AttachedProgram::Link(Arc::new(link)))
    }

    fn detach_one(&self, interface: u32, hook: Hook, attachment: AttachedProgram) -> Result<(), AttachError> {
        let path = self.path(interface, hook, matches!(attachment, AttachedProgram::Filter));
        let detached = match attachment {
            AttachedProgram::Link(link) => sys::detach_link(link.as_fd()),
            AttachedProgram::Filter => {
                Socket::open().and_then(|mut socket| clsact::detach(&mut socket, interface, hook))
            }
        };
        let unpinned = path.map_or(Ok(()), std::fs::remove_file);
        match detached.and(unpinned) {
            Err(source) if !is_gone(&source) => Err(AttachError::Interface { hook, interface, source }),
            _ => Ok(()),
        }
    }

    /// Where the link of an interface's hook is pinned.
    fn path(&self, interface: u32, hook: Hook, is_clsact: bool) -> Option<PathBuf> {
        Some(pin_path(self.directory.as_deref()?, interface, hook, is_clsact))
    }
}

/// Where the link of an interface's hook is pinned. A filter has no link: there its program is pinned as a record.
fn pin_path(directory: &Path, interface: u32, hook: Hook, is_clsact: bool) -> PathBuf {
    let suffix = if is_clsact { CLSACT_SUFFIX } else { "" };
    pin::links(directory).join(format!("{interface}-{hook}{suffix}"))
}

/// Detaches the filters that are recorded by pins in this directory. A filter lasts as long as its interface, and the
/// interfaces that lead out of the node stay when all else is removed. The calling thread must be in the node's namespace.
pub fn detach_filters(directory: &Path) -> Result<(), AttachError> {
    for path in pin::pins(&pin::links(directory))? {
        let Some(PinnedLink { interface, hook, is_clsact: true }) = PinnedLink::of(&path) else { continue };
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

/// A pin in the directory of links, as its name describes it.
#[derive(Debug, PartialEq, Eq)]
struct PinnedLink {
    interface: u32,
    hook: Hook,
    is_clsact: bool,
}

impl PinnedLink {
    fn of(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?;
        let (name, is_clsact) = name.strip_suffix(CLSACT_SUFFIX).map_or((name, false), |name| (name, true));
        let (interface, hook) = name.split_once('-')?;
        Some(Self { interface: interface.parse().ok()?, hook: Hook::from_name(hook)?, is_clsact })
    }

    /// Puts a program into the place of the one that is attached.
    fn take_over(&self, path: &Path, program: BorrowedFd<'_>) -> io::Result<AttachedProgram> {
        if self.is_clsact {
            clsact::replace(&mut Socket::open()?, self.interface, self.hook, program)?;
            std::fs::remove_file(path)?;
            sys::pin(program, path)?;
            return Ok(AttachedProgram::Filter);
        }
        let link = sys::open_pinned(path)?;
        sys::update_link(link.as_fd(), program)?;
        Ok(AttachedProgram::Link(Arc::new(link)))
    }
}

/// Whether the interface, or what was attached to it, is gone.
fn is_gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOLINK | libc::ENODEV | libc::ENOENT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_pinned_under_the_name_that_is_read_back() {
        for is_clsact in [false, true] {
            let path = pin_path(Path::new("/pins"), 7, Hook::ToWorkload, is_clsact);
            assert_eq!(
                PinnedLink::of(&path),
                Some(PinnedLink { interface: 7, hook: Hook::ToWorkload, is_clsact })
            );
        }
        for name in ["7", "x-to_workload", "7-to_nowhere", "7-to_workload-tcx"] {
            assert_eq!(PinnedLink::of(Path::new(name)), None, "{name}");
        }
    }
}
