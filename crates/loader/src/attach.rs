//! Attaching the loaded programs to interfaces, and detaching them.

use crate::links::{AttachError, Links};
use crate::loaded::Loaded;
use crate::pin;
use abi::Hook;
use abi::hook::Site;
use std::sync::Arc;

/// The index under which attachments without an interface are kept.
const NO_INTERFACE: u32 = 0;

/// Attaches the programs of workloads to interfaces, on any thread and several at a time.
#[derive(Clone, Debug)]
pub struct Attacher {
    links: Arc<Links>,
}

impl Attacher {
    /// As [`Loaded::attach`].
    pub fn attach(&self, interface: u32) -> Result<(), AttachError> {
        self.links.attach(interface, Hook::of_site(Site::Workload))
    }

    /// As [`Loaded::detach`].
    pub fn detach(&self, interface: u32) -> Result<(), AttachError> {
        self.links.detach(interface, Hook::ALL.iter().copied())
    }
}

impl Loaded {
    /// A handle for threads that attach and detach the programs of workloads.
    pub fn attacher(&self) -> Attacher {
        Attacher { links: Arc::clone(&self.links) }
    }

    /// Attaches the programs of a workload to its host-side interface, in both directions or not at all. Programs that are
    /// attached already stay. The caller attaches them before the interface is up.
    pub fn attach(&mut self, interface: u32) -> Result<(), AttachError> {
        self.attach_site(interface, Site::Workload)
    }

    /// Attaches the programs that apply the node's own policy to an interface that leads out of the node, in both
    /// directions or not at all. Programs that are attached already stay.
    pub fn attach_outside(&mut self, interface: u32) -> Result<(), AttachError> {
        self.attach_site(interface, Site::Outside)
    }

    /// Attaches the program that lets packets through to the node proxy to the proxy's interface, and the program that
    /// selects the proxy's listener to the network namespace of the calling thread, which must be the interface's.
    pub fn attach_proxy(&mut self, interface: u32) -> Result<(), AttachError> {
        self.attach_site(interface, Site::Proxy)
    }

    /// Attaches the programs that lead processes of the node to the workloads behind its ports ([`crate::Options::group`]).
    /// Programs that are attached already stay.
    pub fn attach_processes(&mut self) -> Result<(), AttachError> {
        self.attach_site(NO_INTERFACE, Site::Processes)
    }

    /// Detaches the programs of [`Self::attach_processes`].
    pub fn detach_processes(&mut self) -> Result<(), AttachError> {
        self.links.detach(NO_INTERFACE, Hook::of_site(Site::Processes))
    }

    /// Detaches every program of ours from the interface; an interface that is gone has none. The caller takes the interface
    /// down before: without its programs a workload's interface passes everything.
    pub fn detach(&mut self, interface: u32) -> Result<(), AttachError> {
        self.links.detach(interface, Hook::ALL.iter().copied())
    }

    /// Detaches the programs of [`Self::attach_outside`].
    pub fn detach_outside(&mut self, interface: u32) -> Result<(), AttachError> {
        self.links.detach(interface, Hook::of_site(Site::Outside))
    }

    /// How programs are attached here, as `tc` and `bpftool` call it.
    pub fn attachment(&self) -> &'static str {
        self.links.attachment()
    }

    /// The interfaces and hooks that programs of ours are attached to.
    pub fn attached(&self) -> impl Iterator<Item = (u32, Hook)> {
        self.links.attached().into_iter()
    }

    /// Detaches every program and removes the pins: no policy applies any more.
    pub fn unload(mut self) -> Result<(), AttachError> {
        let interfaces: Vec<_> = self.attached().map(|(interface, _)| interface).collect();
        for interface in interfaces {
            self.detach(interface)?;
        }
        match self.links.directory() {
            Some(directory) => Ok(pin::remove_pins(directory)?),
            None => Ok(()),
        }
    }

    fn attach_site(&self, interface: u32, site: Site) -> Result<(), AttachError> {
        self.links.attach(interface, Hook::of_site(site))
    }
}
