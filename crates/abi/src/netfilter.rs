//! Where the running kernel keeps what its own connection tracking (nf_conntrack) knows of a packet.

/// The name of the programs' global variable that holds the number of the node's network namespace (`SO_NETNS_COOKIE`).
pub const NODE_NAMESPACE: &str = "NX_NAMESPACE";

/// Offsets in structures of the running kernel, which the loader finds in the kernel's type information. All zero where they are
/// not known, or where programs must not read that memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct TrackingOffsets {
    /// Of `_nfct` in `struct sk_buff`: the address of the packet's entry, with other information in the lowest three bits.
    pub entry: u32,
    /// Of `tuplehash[IP_CT_DIR_ORIGINAL].tuple.src` in `struct nf_conn`.
    pub opener: u32,
}

impl TrackingOffsets {
    /// Nothing is known.
    pub const UNKNOWN: Self = Self { entry: 0, opener: 0 };

    /// The name of the programs' global variable that holds the offsets.
    pub const VARIABLE: &str = "NX_TRACKING";

    /// The bytes of the variable.
    pub fn to_bytes(self) -> [u8; 8] {
        let ([a, b, c, d], [e, f, g, h]) = (self.entry.to_ne_bytes(), self.opener.to_ne_bytes());
        [a, b, c, d, e, f, g, h]
    }
}
