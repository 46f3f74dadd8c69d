//! Asks the policy rows: peer to group and, from the innermost block outwards, block to column, column and group to
//! class, class and port to verdict ([`abi::policy`]).

use abi::address::AddressInfo;
use abi::endpoint::{EndpointInfo, flag};
use abi::identity;
use abi::policy::{
    ClassKey, ColumnKey, Direction, GROUP_OF_OTHERS, GROUP_OF_WORKLOADS, GroupKey, MAX_NESTING, VerdictInfo,
    VerdictKey, WHOLE_INSIDE, WHOLE_WORLD, action,
};

/// The rows of policies; whoever can look them up can ask for a verdict.
pub trait PolicyRows {
    /// The column that a policy has for a CIDR class.
    fn column(&self, key: &ColumnKey) -> Option<u32>;
    /// The CIDR class of the next block around that of a class.
    fn cidr_parent(&self, class: u32) -> Option<u32>;
    /// A grouping's group of a peer.
    fn group(&self, key: &GroupKey) -> Option<u32>;
    /// The class that a group has in a column.
    fn class(&self, key: &ClassKey) -> Option<u32>;
    /// The verdict with the longest prefix.
    fn verdict(&self, key: &VerdictKey) -> Option<VerdictInfo>;

    /// Walks on to the end. A kernel's verifier would follow a loop round by round, for every way that leads to it, so
    /// the kernel has a loop of its own.
    #[inline(always)]
    fn walk(&self, walk: &mut Walk)
    where
        Self: Sized,
    {
        for _ in 0..Walk::STEPS {
            if walk.step(self) {
                break;
            }
        }
    }
}

/// A query on its way outwards, from the longest block that holds the peer's address.
#[derive(Clone, Copy, Debug)]
pub struct Walk {
    key: VerdictKey,
    policy: u32,
    group: u32,
    /// The group that a group without a class falls back to: that of workloads, or itself.
    fallback: u32,
    peer: u32,
    cidr: u32,
    verdict: VerdictInfo,
}

impl Walk {
    /// The most steps that are taken: one for each block, and one for the peer alone.
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

/// What a policy is asked, seen from its workload: may the flow be opened?
#[derive(Clone, Copy, Debug)]
pub struct Query {
    /// Egress where the workload opens the flow.
    pub direction: Direction,
    /// IP protocol number.
    pub protocol: u8,
    /// Port of the side that is asked, in network order; for ICMP type and code.
    pub port: [u8; 2],
}

/// The verdict of the endpoint's policy; where it does not enforce the direction, everything is allowed.
pub fn evaluate(
    rows: &impl PolicyRows,
    endpoint: &EndpointInfo,
    peer: &AddressInfo,
    query: Query,
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
    query: Query,
) -> VerdictInfo {
    let enforced = match query.direction {
        Direction::Ingress => flag::ENFORCE_INGRESS,
        Direction::Egress => flag::ENFORCE_EGRESS,
    };
    if endpoint.flags & enforced == 0 {
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
    // Most walks end at their first step, and the kernel's loop is dear.
    if !walk.step(rows) {
        rows.walk(walk);
    }
    walk.verdict
}

/// The group that a grouping has the peer in: by itself, or by its namespace, or as all others of its kind.
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
    /// Looks at one block, or at last at the peer alone; whether the walk ends here.
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

    /// The class that the policy folds the group into for what it says of a block; [`VerdictKey::SILENT`] where it says
    /// nothing. An `Option` that lives on is more than the verifier of Linux 6.18 can follow: it finds the unset value
    /// of `None` on the stack.
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
