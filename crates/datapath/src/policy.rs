//! Evaluates policy by its map entries: peer to group and, from the innermost block outwards, block to column, column and
//! group to class, class and port to verdict ([`abi::policy`]).

use abi::address::AddressInfo;
use abi::endpoint::{EndpointInfo, flag};
use abi::identity;
use abi::policy::{
    ClassKey, ColumnKey, Direction, GROUP_OF_OTHERS, GROUP_OF_WORKLOADS, GroupKey, MAX_NESTING, VerdictInfo,
    VerdictKey, WHOLE_INSIDE, WHOLE_WORLD, action,
};

/// Access to the map entries of policies, which is all that [`evaluate`] needs.
pub trait PolicyRows {
    /// The column that a policy has for a CIDR class.
    fn column(&self, key: &ColumnKey) -> Option<u32>;
    /// The CIDR class of the smallest block around the block of a class.
    fn cidr_parent(&self, class: u32) -> Option<u32>;
    /// The group of a peer in a grouping.
    fn group(&self, key: &GroupKey) -> Option<u32>;
    /// The class that a group has in a column.
    fn class(&self, key: &ClassKey) -> Option<u32>;
    /// The verdict with the longest prefix.
    fn verdict(&self, key: &VerdictKey) -> Option<VerdictInfo>;

    /// Calls a function with 0, 1, and so on, at most `times` times, until it returns true. The kernel's verifier would follow a
    /// loop round by round on every path that leads to the loop, so the kernel side overrides this with a helper (`bpf_loop`).
    #[inline(always)]
    fn repeat(&self, times: u32, step: impl FnMut(u32) -> bool)
    where
        Self: Sized,
    {
        let _ = (0..times).any(step);
    }
}

/// The evaluation of a query, block by block outwards from the longest one that holds the peer's address.
#[derive(Clone, Copy, Debug)]
pub struct Walk {
    key: VerdictKey,
    policy: u32,
    group: u32,
    /// The group whose class counts where `group` has none: the group of all workloads, or `group` itself.
    fallback: u32,
    peer: u32,
    cidr: u32,
    verdict: VerdictInfo,
}

impl Walk {
    /// Upper bound of the number of steps: one for each block, and one for the peer alone.
    pub const STEPS: u32 = MAX_NESTING + 1;

    /// Memory for a walk that has not begun.
    pub(crate) const UNUSED: Self = Self {
        key: VerdictKey { prefix_bits: 0, class: 0, direction: 0, protocol: 0, port: [0; 2] },
        policy: 0,
        group: 0,
        fallback: 0,
        peer: 0,
        cidr: 0,
        verdict: VerdictInfo { action: action::DENY, rule: 0, l7: 0 },
    };
}

/// The flow that an endpoint's policy is evaluated for: may the flow be opened?
#[derive(Clone, Copy, Debug)]
pub struct FlowQuery {
    /// Egress where the endpoint opens the flow.
    pub direction: Direction,
    /// IP protocol number.
    pub protocol: u8,
    /// Destination port of the opening packet, in network order; for ICMP type and code.
    pub port: [u8; 2],
}

/// The verdict of the endpoint's policy. Where policy does not enforce the direction, the verdict is to allow.
pub fn evaluate(
    rows: &impl PolicyRows,
    endpoint: &EndpointInfo,
    peer: &AddressInfo,
    query: FlowQuery,
) -> VerdictInfo {
    evaluate_in(&mut Walk { ..Walk::UNUSED }, rows, endpoint, peer, query)
}

/// The same, in memory that the caller provides.
#[inline(always)]
pub(crate) fn evaluate_in(
    walk: &mut Walk,
    rows: &impl PolicyRows,
    endpoint: &EndpointInfo,
    peer: &AddressInfo,
    query: FlowQuery,
) -> VerdictInfo {
    if !enforces(endpoint, query.direction) {
        return VerdictInfo { action: action::ALLOW, rule: 0, l7: 0 };
    }
    let key = VerdictKey {
        prefix_bits: VerdictKey::ONE_PORT,
        class: VerdictKey::SILENT,
        direction: query.direction as u8,
        protocol: query.protocol,
        port: query.port,
    };
    let group = group(rows, endpoint.grouping.number(), peer);
    *walk = Walk {
        key,
        policy: endpoint.policy,
        group,
        fallback: if identity::is_workload(peer.peer) { GROUP_OF_WORKLOADS } else { group },
        cidr: peer.cidr,
        peer: peer.peer,
        verdict: VerdictInfo { action: action::DENY, rule: 0, l7: 0 },
    };
    // Most walks end at their first step, and `bpf_loop` costs as much as several lookups.
    if !walk.step(rows) {
        rows.repeat(Walk::STEPS, |_| walk.step(rows));
    }
    walk.verdict
}

/// Whether policy judges the flows of a direction, seen from the endpoint.
#[inline(always)]
pub(crate) fn enforces(endpoint: &EndpointInfo, direction: Direction) -> bool {
    let enforced = match direction {
        Direction::Ingress => flag::ENFORCE_INGRESS,
        Direction::Egress => flag::ENFORCE_EGRESS,
    };
    endpoint.flags & enforced != 0
}

/// The group of the peer in a grouping: its own group, its namespace's, or the one of all peers of its kind.
#[inline(always)]
fn group(rows: &impl PolicyRows, grouping: u32, peer: &AddressInfo) -> u32 {
    if let Some(group) = rows.group(&GroupKey { grouping, peer: peer.peer }) {
        return group;
    }
    if !identity::is_workload(peer.peer) {
        return GROUP_OF_OTHERS;
    }
    if peer.namespace == 0 {
        return GROUP_OF_WORKLOADS;
    }
    rows.group(&GroupKey { grouping, peer: peer.namespace }).unwrap_or(GROUP_OF_WORKLOADS)
}

impl Walk {
    /// Evaluates one block, or last the peer alone; true where the walk ends.
    #[inline(always)]
    pub fn step(&mut self, rows: &impl PolicyRows) -> bool {
        self.key.class = self.class(rows);
        if self.key.class != VerdictKey::SILENT
            && let Some(verdict) = rows.verdict(&self.key)
        {
            self.verdict = verdict;
            return true;
        }
        if self.cidr == 0 {
            return true;
        }
        self.cidr = rows.cidr_parent(self.cidr).unwrap_or(0);
        false
    }

    /// The class of the group in the policy's column for the block; [`VerdictKey::SILENT`] where the policy has no verdicts
    /// for the block. Not an `Option`: the verifier of Linux 6.18 refuses to read the unset value beside `None` from the
    /// stack.
    #[inline(always)]
    fn class(&self, rows: &impl PolicyRows) -> u32 {
        let cidr = match self.cidr {
            0 if identity::is_world(self.peer) => WHOLE_WORLD,
            0 => WHOLE_INSIDE,
            cidr => cidr,
        };
        let Some(column) = rows.column(&ColumnKey { policy: self.policy, cidr }) else {
            return VerdictKey::SILENT;
        };
        if let Some(class) = rows.class(&ClassKey { column, group: self.group }) {
            return class;
        }
        if self.group == self.fallback {
            return VerdictKey::SILENT;
        }
        rows.class(&ClassKey { column, group: self.fallback }).unwrap_or(VerdictKey::SILENT)
    }
}
