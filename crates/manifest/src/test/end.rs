//! The ends of probes, by the names that a test gives them.

use std::net::IpAddr;

/// The name of the local node.
pub(super) const HOST: &str = "host";

/// Names a workload.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkloadName {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// One end of a probe.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProbeEnd {
    /// A workload of the test.
    Workload(WorkloadName),
    /// An external host of the test, by name.
    External(String),
    /// Another node of the test, by name.
    Node(String),
    /// An address of any owner.
    Address(IpAddr),
    /// The local node.
    Host,
}
