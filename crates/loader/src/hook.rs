//! The places of the packet path that a program sits at.

use crate::sys::TcxPoint;
use std::fmt;

/// A program, by the packets it sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hook {
    /// Ingress of a workload's host-side interface: what the workload sends.
    FromWorkload,
    /// Egress of a workload's host-side interface: what the workload is about to receive.
    ToWorkload,
    /// Ingress of an interface that leads out of the node: what comes to the node itself.
    FromOutside,
    /// Egress of an interface that leads out of the node: what the node itself sends.
    ToOutside,
    /// Ingress of the proxy's interface: what policy sends to the node proxy.
    ToProxy,
    /// The lookup of a listener, where the proxy's is found: at the network namespace that the proxy's interface is in,
    /// named by that interface.
    ProxySocket,
}

impl Hook {
    /// All hooks.
    pub const ALL: [Self; 6] = [
        Self::FromWorkload,
        Self::ToWorkload,
        Self::FromOutside,
        Self::ToOutside,
        Self::ToProxy,
        Self::ProxySocket,
    ];
    /// The hooks of a workload's interface.
    pub const WORKLOAD: [Self; 2] = [Self::FromWorkload, Self::ToWorkload];
    /// The hooks of an interface that leads out of the node.
    pub const OUTSIDE: [Self; 2] = [Self::FromOutside, Self::ToOutside];
    /// The hooks of the proxy's interface: what lets packets through comes last.
    pub const PROXY: [Self; 2] = [Self::ProxySocket, Self::ToProxy];

    /// Name of the program, as the object file and `bpf` show it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::FromWorkload => "from_workload",
            Self::ToWorkload => "to_workload",
            Self::FromOutside => "from_outside",
            Self::ToOutside => "to_outside",
            Self::ToProxy => "to_proxy",
            Self::ProxySocket => "proxy_socket",
        }
    }

    /// The hook whose program has this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|hook| hook.name() == name)
    }

    /// The attach point on a packet's way; none for a program that selects a socket.
    pub(crate) const fn point(self) -> Option<TcxPoint> {
        match self {
            Self::FromWorkload | Self::FromOutside | Self::ToProxy => Some(TcxPoint::Ingress),
            Self::ToWorkload | Self::ToOutside => Some(TcxPoint::Egress),
            Self::ProxySocket => None,
        }
    }
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
