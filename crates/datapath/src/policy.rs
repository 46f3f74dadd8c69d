//! Asks the policy rows: peer to class, class and port to verdict (see [`abi::policy`]).

use abi::address::AddressInfo;
use abi::endpoint::{EndpointInfo, flag};
use abi::identity;
use abi::policy::{CidrPartKey, ClassKey, Direction, VerdictInfo, VerdictKey, action};

/// The rows of policies; whoever can look them up can ask for a verdict.
pub trait PolicyRows {
    /// A policy's number for a CIDR class.
    fn cidr_part(&self, key: &CidrPartKey) -> Option<u32>;
    /// A policy's class of a peer.
    fn class(&self, key: &ClassKey) -> Option<u32>;
    /// The verdict with the longest prefix.
    fn verdict(&self, key: &VerdictKey) -> Option<VerdictInfo>;
}

/// What a policy is asked, seen from its workload: may the flow be opened?
#[derive(Clone, Copy, Debug)]
pub struct Question {
    /// Egress where the workload opens the flow.
    pub direction: Direction,
    /// IP protocol number.
    pub protocol: u8,
    /// Port of the side that is asked, in network order; for ICMP type and code.
    pub port: [u8; 2],
}

/// The verdict of the endpoint's policy; where it does not enforce the direction, everything is allowed.
#[inline(always)]
pub fn ask(
    rows: &impl PolicyRows,
    endpoint: &EndpointInfo,
    peer: &AddressInfo,
    question: Question,
) -> VerdictInfo {
    let enforced = match question.direction {
        Direction::Ingress => flag::ENFORCE_INGRESS,
        Direction::Egress => flag::ENFORCE_EGRESS,
    };
    if endpoint.flags & enforced == 0 {
        return VerdictInfo { action: action::ALLOW, rule: 0, l7: 0 };
    }
    let key = VerdictKey {
        prefix_bits: VerdictKey::ONE_PORT,
        policy: endpoint.policy,
        class: class(rows, endpoint.policy, peer),
        direction: question.direction as u8,
        protocol: question.protocol,
        port: question.port,
    };
    rows.verdict(&key).unwrap_or(VerdictInfo { action: action::DENY, rule: 0, l7: 0 })
}

/// The class that a policy folds the peer into.
#[inline(always)]
fn class(rows: &impl PolicyRows, policy: u32, peer: &AddressInfo) -> u32 {
    let part = match peer.cidr {
        0 => 0,
        cidr => rows.cidr_part(&CidrPartKey { policy, cidr }).unwrap_or(0),
    };
    if let Some(class) = rows.class(&ClassKey { policy, peer: peer.peer, part }) {
        return class;
    }
    if !identity::is_workload(peer.peer) {
        return 0;
    }
    rows.class(&ClassKey { policy, peer: identity::ANY_WORKLOAD, part }).unwrap_or(0)
}
