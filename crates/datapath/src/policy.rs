//! Asks the policy rows: peer to class, class and port to verdict (see [`abi::policy`]).

use crate::Maps;
use abi::address::AddressInfo;
use abi::endpoint::{EndpointInfo, flag};
use abi::identity;
use abi::policy::{CidrPartKey, ClassKey, Direction, VerdictInfo, VerdictKey, action};

/// What a policy is asked, seen from its workload: may the flow be opened?
#[derive(Clone, Copy)]
pub(crate) struct Question {
    /// Egress where the workload opens the flow.
    pub(crate) direction: Direction,
    pub(crate) protocol: u8,
    /// Port of the side that is asked, in network order; for ICMP type and code.
    pub(crate) port: [u8; 2],
}

/// The verdict of the endpoint's policy; where it does not enforce the direction, everything is allowed.
#[inline(always)]
pub(crate) fn ask(
    maps: &impl Maps,
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
        class: class(maps, endpoint.policy, peer),
        direction: question.direction as u8,
        protocol: question.protocol,
        port: question.port,
    };
    match maps.verdict(&key) {
        Some(verdict) => *verdict,
        None => VerdictInfo { action: action::DENY, rule: 0, l7: 0 },
    }
}

/// The class that a policy folds the peer into.
#[inline(always)]
fn class(maps: &impl Maps, policy: u32, peer: &AddressInfo) -> u32 {
    let part = match peer.cidr {
        0 => 0,
        cidr => maps.cidr_part(&CidrPartKey { policy, cidr }).unwrap_or(0),
    };
    if let Some(class) = maps.class(&ClassKey { policy, peer: peer.peer, part }) {
        return class;
    }
    if !identity::is_workload(peer.peer) {
        return 0;
    }
    maps.class(&ClassKey { policy, peer: identity::ANY_WORKLOAD, part }).unwrap_or(0)
}
