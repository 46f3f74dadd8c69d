//! The hooks: each place in the kernel where a program of ours runs, with the program's name and its attach point.
//!
//! One line of the list below is all that the loader, the native engine, the testbed and `nexin bpf` know of a hook. A new
//! hook is a line here, a file of the same name in `programs`, and its stages in `datapath`.

use core::fmt;

/// What a program is to the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A traffic-control classifier (`BPF_PROG_TYPE_SCHED_CLS`): it returns what happens to a packet.
    Classifier,
    /// A socket lookup (`BPF_PROG_TYPE_SK_LOOKUP`): it selects the socket that receives a packet.
    SocketLookup,
    /// A change of the address that a process gives the kernel or gets from it (`BPF_PROG_TYPE_CGROUP_SOCK_ADDR`).
    SocketAddress,
}

/// Where the kernel runs a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Point {
    /// Packets that an interface receives, by a tcx link or a clsact filter.
    Ingress,
    /// Packets that an interface sends, by a tcx link or a clsact filter.
    Egress,
    /// The lookup of a listening socket in a network namespace, by a link to the namespace.
    SocketLookup,
    /// The connection of an IPv4 socket, by a link to the control group of its process; so are the following points.
    Connect4,
    /// The connection of an IPv6 socket.
    Connect6,
    /// A datagram that a process sends to an address by an IPv4 socket.
    Send4,
    /// The same by an IPv6 socket.
    Send6,
    /// A datagram that a process receives with its sender's address by an IPv4 socket.
    Receive4,
    /// The same by an IPv6 socket.
    Receive6,
}

impl Point {
    /// The kind of program that the kernel runs there.
    pub const fn kind(self) -> Kind {
        match self {
            Self::Ingress | Self::Egress => Kind::Classifier,
            Self::SocketLookup => Kind::SocketLookup,
            Self::Connect4 | Self::Connect6 | Self::Send4 | Self::Send6 | Self::Receive4 | Self::Receive6 => {
                Kind::SocketAddress
            }
        }
    }

    /// The number of the point in the kernel's `enum bpf_attach_type`.
    pub const fn attach_type(self) -> u32 {
        match self {
            Self::Ingress => 46,
            Self::Egress => 47,
            Self::SocketLookup => 36,
            Self::Connect4 => 10,
            Self::Connect6 => 11,
            Self::Send4 => 14,
            Self::Send6 => 15,
            Self::Receive4 => 19,
            Self::Receive6 => 20,
        }
    }
}

/// Which interface a hook belongs to. A hook at a network namespace belongs to the interface that it serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Site {
    /// The host-side interface of a workload.
    Workload,
    /// An interface that leads out of the node.
    Outside,
    /// The interface of the node proxy.
    Proxy,
    /// No interface: the processes of the node.
    Processes,
}

/// The text of one table makes the enum, the programs' names, the attach points and the sites.
macro_rules! hooks {
    ($($(#[$doc:meta])* $hook:ident = $program:literal, $point:ident, $site:ident;)*) => {
        /// A place in the kernel where a program of ours runs.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Hook {
            $($(#[$doc])* $hook,)*
        }

        impl Hook {
            /// All hooks. Those of one site are in the order in which they are attached.
            pub const ALL: &[Self] = &[$(Self::$hook),*];

            /// Name of the program, as the object file and `bpftool` show it.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$hook => $program,)* }
            }

            /// Where the program is attached.
            pub const fn point(self) -> Point {
                match self { $(Self::$hook => Point::$point,)* }
            }

            /// Which interface the hook belongs to.
            pub const fn site(self) -> Site {
                match self { $(Self::$hook => Site::$site,)* }
            }
        }
    };
}

hooks! {
    /// Runs on packets from a workload.
    FromWorkload = "from_workload", Ingress, Workload;
    /// Runs on packets to a workload.
    ToWorkload = "to_workload", Egress, Workload;
    /// Runs on packets that the node itself receives.
    FromOutside = "from_outside", Ingress, Outside;
    /// Runs on packets that the node itself sends.
    ToOutside = "to_outside", Egress, Outside;
    /// Selects the node proxy's listener. It comes before the hook that lets packets through to the listener.
    ProxySocket = "proxy_socket", SocketLookup, Proxy;
    /// Runs on packets that policy redirects to the node proxy.
    ToProxy = "to_proxy", Ingress, Proxy;
    /// Leads the connection of a process of the node to a port of the node that leads to a workload; so do the following hooks.
    Connect4 = "connect4", Connect4, Processes;
    /// The same over IPv6.
    Connect6 = "connect6", Connect6, Processes;
    /// The same for each datagram of a socket without connection.
    Send4 = "send4", Send4, Processes;
    /// The same over IPv6.
    Send6 = "send6", Send6, Processes;
    /// Shows a process of the node the port that its datagram was sent to as the sender of the answer.
    Receive4 = "receive4", Receive4, Processes;
    /// The same over IPv6.
    Receive6 = "receive6", Receive6, Processes;
}

impl Hook {
    /// The hooks that belong to an interface of this site, in the order in which they are attached.
    pub fn of_site(site: Site) -> impl Iterator<Item = Self> {
        Self::ALL.iter().copied().filter(move |hook| hook.site() == site)
    }

    /// The hook whose program has this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|hook| hook.name() == name)
    }
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_proxys_listener_is_found_before_packets_are_let_through_to_it() {
        assert!(Hook::of_site(Site::Proxy).eq([Hook::ProxySocket, Hook::ToProxy]));
    }

    #[test]
    fn a_program_is_named_once_and_within_the_kernels_fifteen_bytes() {
        for &hook in Hook::ALL {
            assert_eq!(Hook::from_name(hook.name()), Some(hook));
            assert!(hook.name().len() <= 15, "{hook}");
        }
    }
}
