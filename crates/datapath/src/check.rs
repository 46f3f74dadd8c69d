//! Decides whether a packet may pass: by the connection that it belongs to, where policy allowed that under the rows in
//! force, and by policy otherwise.

use crate::conntrack::{self, Transition, opened};
use crate::decision::PacketDecision;
use crate::found::{Found, Sender};
use crate::maps::{Keep, Maps};
use crate::openings;
use crate::origin;
use crate::packet::{Bytes, Mark};
use crate::policy::{self, FlowQuery};
use crate::related;
use crate::scratch::Scratch;
use crate::verifier::Fresh;
use abi::DropReason;
use abi::address::AddressInfo;
use abi::config::{self, Config};
use abi::conntrack::{ConnInfo, LinkAddresses, Way, flag};
use abi::endpoint;
use abi::policy::{Direction, VerdictInfo, action};
use abi::protocol::{ICMP, ICMP6, TCP};
use abi::{identity, map};

/// Proof that a packet may be delivered; only this module grants it.
///
/// The permit is empty: what was decided is in `Scratch`. A permit with contents would be undefined beside every refusal,
/// and the verifier refuses what the compiler does with an undefined value.
#[must_use]
pub(crate) struct Permit(());

/// A packet as the endpoint sees it whose policy judges the packet.
pub(crate) struct EndpointTraffic<'a> {
    /// Row of the address at the other end.
    pub(crate) peer: &'a AddressInfo,
    /// The same as in `Found`; here the compiler knows the value.
    pub(crate) direction: Direction,
    /// Whether the policy of the endpoint before on the packet's way redirected the packet to the proxy.
    pub(crate) proxied: bool,
}

/// Checks one packet, of a known flow or a new one, and updates the flow's connection.
#[inline(always)]
pub(crate) fn check(
    packet: &(impl Bytes + Mark),
    maps: &impl Maps,
    traffic: &EndpointTraffic<'_>,
    scratch: &mut Fresh<'_, Scratch>,
) -> Result<Permit, DropReason> {
    scratch.found.from_proxy = packet.is_from_proxy();
    scratch.found.length = packet.length();
    if related::is_error(&scratch.found.flow)
        && let Some(permit) = check_related(packet, maps, traffic.direction, scratch)?
    {
        return Ok(permit);
    }
    scratch.key = conntrack::key(&scratch.found.flow, traffic.direction);
    scratch.opens = scratch.found.flow.opens();
    // Policy judges a segment that opens a connection whatever is known, so a refused one costs no lookup of entries. Audit mode
    // reports a flow once, and the proxy's segments belong to what policy allowed.
    scratch.is_judged_first = scratch.found.flow.is_syn()
        && !scratch.found.from_proxy
        && scratch.found.endpoint.flags & endpoint::flag::AUDIT == 0;
    let mut known = None;
    let is_in_force = if scratch.is_judged_first {
        openings::begin_first(traffic.direction, scratch);
        false
    } else {
        known = connection_in_force(maps, traffic.direction, scratch);
        known.is_some() || openings::find(maps, traffic.direction, scratch)
    };
    if !is_in_force {
        judge_flow(maps, traffic, scratch)?;
    }
    let is_known = known.is_some();
    let Scratch { found, decision, entry, .. } = &mut **scratch;
    let permit = pass(known.as_deref_mut().unwrap_or(entry), traffic, found, decision)?;
    if !is_known && conntrack::is_tracked(&scratch.found.flow) {
        openings::keep(maps, scratch)?;
    }
    Ok(permit)
}

/// The entry of the packet's connection, where the policy in force allowed the connection. It is changed in place; others are
/// copied, judged and written back. What answers an opening finds it before the connection that had the key before.
#[inline(always)]
fn connection_in_force<'a, M: Maps>(
    maps: &'a M,
    direction: Direction,
    scratch: &mut Fresh<'_, Scratch>,
) -> Option<<M as Keep<map::Conntrack>>::Entry<'a>> {
    scratch.answers_syn = scratch.found.flow.answers_syn();
    scratch.may_have_connection = scratch.answers_syn;
    if scratch.answers_syn || !conntrack::is_tracked(&scratch.found.flow) {
        return None;
    }
    let row = maps.connection(&scratch.key)?;
    scratch.may_have_connection = true;
    let continues = conntrack::continues(&row, scratch.opens, direction, scratch.found.seconds);
    scratch.is_in_force = continues && conntrack::is_current(&row, &scratch.found);
    scratch.is_in_force.then_some(row)
}

/// The permit for an ICMP error on a connection that policy allowed; none where policy judges the error.
#[inline(always)]
fn check_related(
    packet: &impl Bytes,
    maps: &impl Maps,
    direction: Direction,
    scratch: &mut Fresh<'_, Scratch>,
) -> Result<Option<Permit>, DropReason> {
    let Scratch { found, related, .. } = &mut **scratch;
    if !related::read(packet, &found.flow, direction, related)? {
        return Ok(None);
    }
    if !openings::find_related(maps, scratch) {
        return Ok(None);
    }
    let Scratch { found, decision, entry, .. } = &mut **scratch;
    if !conntrack::is_live(entry, found.seconds) || !conntrack::is_current(entry, found) {
        return Ok(None);
    }
    permit(entry, found, decision).map(Some)
}

/// Lets a packet of a connection pass: stores the verdict and what the packet did in the connection's entry.
#[inline(always)]
fn pass(
    row: &mut ConnInfo,
    traffic: &EndpointTraffic<'_>,
    found: &Found,
    decision: &mut PacketDecision,
) -> Result<Permit, DropReason> {
    let row = &mut Fresh::new(row);
    let decision = &mut Fresh::new(decision);
    store_verdict(row, traffic.peer, found, decision);
    store_detours(row, traffic, found);
    if found.is_routed {
        row.flags |= flag::ROUTED;
    }
    // The short way reports nothing. Of a flow that goes through the proxy, it is the way of the proxy's packets.
    let takes_way = row.flags & flag::PROXIED == 0 || found.from_proxy;
    if found.way.is_known && takes_way && found.config.flags & config::flag::REPORT_PACKETS == 0 {
        store_way(row, traffic, found);
    }
    if found.sender == Sender::Hidden {
        row.flags = row.flags & !flag::TRANSLATED | flag::MASQUERADED;
        row.untranslated = found.hidden;
        row.way_in = Way::new(found.config.epoch, found.way.interface);
    }
    let transition = conntrack::update(row, found, traffic.direction);
    let (row, decision) = (&**row, &mut **decision);
    if decision.transition == Transition::None {
        decision.transition = transition;
    }
    decision.is_reply = conntrack::opening_direction(row) != traffic.direction;
    permit(row, found, decision)
}

/// Stores the verdict, where policy was evaluated.
#[inline(always)]
fn store_verdict(row: &mut ConnInfo, peer: &AddressInfo, found: &Found, decision: &PacketDecision) {
    let Some(verdict) = decision.verdict else { return };
    row.policy = found.endpoint.policy;
    row.epoch = found.config.epoch;
    row.rule = verdict.rule;
    row.peer_identity = peer.identity;
    // A flow that went through the proxy stays with the proxy, also when policy has no rules for its requests any more.
    row.l7 = 0;
    if decision.is_redirected {
        row.flags |= flag::PROXIED;
        row.l7 = verdict.l7;
    }
}

/// Stores whether the flow's packets go through the proxy, and the service that they are sent to.
#[inline(always)]
fn store_detours(row: &mut ConnInfo, traffic: &EndpointTraffic<'_>, found: &Found) {
    if traffic.proxied || (found.from_proxy && conntrack::opening_direction(row) == Direction::Ingress) {
        // The proxy connects to the endpoint with the opener's address, so the replies are the proxy's.
        row.flags |= flag::PROXIED;
    }
    if found.service.is_set() && row.flags & flag::TRANSLATED == 0 {
        row.flags |= flag::TRANSLATED;
        row.untranslated = found.service.address;
        row.untranslated_port = found.service.port;
    }
}

/// Stores the way of the flow's packets in this direction. The packet read the epoch before it looked up the way.
#[inline(always)]
fn store_way(row: &mut ConnInfo, traffic: &EndpointTraffic<'_>, found: &Found) {
    let Found { config: Config { epoch, .. }, way, .. } = *found;
    row.local = Way::new(epoch, way.local);
    let known = Way::new(epoch, way.interface);
    match traffic.direction {
        Direction::Egress => {
            let [a, b, c, d, e, f] = traffic.peer.mac;
            let [g, h, i, j, k, l] = found.endpoint.host_mac;
            // The interface has one workload as long as it exists, so these need no epoch.
            row.link = LinkAddresses([a, b, c, d, e, f, g, h, i, j, k, l]);
            row.way_out = if row.flags & flag::ROUTED == 0 { known } else { Way::new(epoch, 0) };
            row.flags |= flag::WAY_OUT;
        }
        Direction::Ingress => {
            row.way_in = known;
            row.flags |= flag::WAY_IN;
        }
    }
}

/// The permit that a connection stands for.
#[inline(always)]
fn permit(row: &ConnInfo, found: &Found, decision: &mut PacketDecision) -> Result<Permit, DropReason> {
    decision.rule = row.rule;
    decision.l7 = row.l7;
    if row.flags & flag::TRANSLATED != 0 {
        decision.service.address = row.untranslated;
        decision.service.port = row.untranslated_port;
    }
    decision.is_routed = row.flags & flag::ROUTED != 0;
    // A packet that the proxy sends was judged before it came to the proxy.
    if row.flags & flag::PROXIED != 0 && !found.from_proxy {
        if found.config.proxy_interface == 0 {
            return Err(DropReason::ProxyUnavailable);
        }
        decision.proxy = found.config.proxy_interface;
    }
    Ok(Permit(()))
}

/// Evaluates policy for a flow. Of a connection that was taken up, the rules of both directions must allow it.
///
/// A function of its own in the kernel: most packets belong to a connection that was judged.
#[inline(never)]
fn judge_flow(
    maps: &impl Maps,
    traffic: &EndpointTraffic<'_>,
    scratch: &mut Scratch,
) -> Result<(), DropReason> {
    let scratch = &mut Fresh::new(scratch);
    let mut traffic = EndpointTraffic { ..*traffic };
    if traffic.direction == Direction::Egress && scratch.flags & flag::MASQUERADED != 0 {
        // The packet answers a sender behind the node's address.
        let (interface, sender) = (scratch.entry.way_in.interface(), scratch.entry.untranslated);
        match origin::row(maps, interface, &sender) {
            Some(peer) => traffic.peer = peer,
            None => return origin::refuse_unknown(scratch),
        }
    }
    let traffic = &traffic;
    if scratch.found.sender == Sender::Backend && opened(scratch.flags) == Direction::Ingress {
        // The endpoint opened the flow, and its entry is lost.
        return origin::refuse_unknown(scratch);
    }
    if scratch.flags & flag::TAKEN_UP != 0 {
        scratch.judged = opened(scratch.flags ^ flag::LOCAL_OPENED);
        judge_apart(maps, traffic, scratch)?;
    }
    scratch.judged = opened(scratch.flags);
    judge(maps, traffic, scratch)
}

/// The same as [`judge`], in a function of its own in the kernel: few connections are taken up.
#[inline(never)]
fn judge_apart(
    maps: &impl Maps,
    traffic: &EndpointTraffic<'_>,
    scratch: &mut Scratch,
) -> Result<(), DropReason> {
    judge(maps, traffic, scratch)
}

/// Evaluates policy for a flow as one that is opened in the direction `scratch.judged`. In audit mode a refusal is stored, and
/// the packet passes.
#[inline(always)]
fn judge(maps: &impl Maps, traffic: &EndpointTraffic<'_>, scratch: &mut Scratch) -> Result<(), DropReason> {
    let Scratch { found, decision, walk, is_midstream, judged, .. } = scratch;
    let flow = &found.flow;
    let port = match flow.protocol {
        _ if *judged == traffic.direction => flow.destination_port,
        // A reply: the flow was opened to the reply's source, for ICMP by an echo request.
        ICMP => [8, 0],
        ICMP6 => [128, 0],
        _ => flow.source_port,
    };
    let query = FlowQuery { direction: *judged, protocol: flow.protocol, port };
    let verdict = policy::evaluate_in(walk, maps, &found.endpoint, traffic.peer, query);
    decision.rule = verdict.rule;
    decision.verdict = Some(verdict);
    let reason = match verdict.action {
        // A rule may match the workload that has the address, whichever that is.
        _ if traffic.peer.identity == identity::UNKNOWN && policy::enforces(&found.endpoint, *judged) => {
            decision.rule = 0;
            DropReason::IdentityUnknown
        }
        action::ALLOW => return Ok(()),
        action::REDIRECT if has_proxy(found) => {
            decision.is_redirected = true;
            return Ok(());
        }
        action::REDIRECT => DropReason::ProxyUnavailable,
        _ if verdict.rule == 0 => DropReason::PolicyDefaultDeny,
        _ => DropReason::PolicyDeny,
    };
    if found.endpoint.flags & endpoint::flag::AUDIT != 0 {
        decision.audit = Some(reason);
        decision.verdict = Some(VerdictInfo { action: action::ALLOW, l7: 0, ..verdict });
        return Ok(());
    }
    if *is_midstream {
        // No rule refuses the segment: the connection that it would belong to is not known.
        decision.rule = 0;
        return Err(DropReason::NotEstablished);
    }
    Err(reason)
}

/// Whether the proxy serves the packet's flow: TCP, and not the node's own.
#[inline(always)]
fn has_proxy(found: &Found) -> bool {
    found.flow.protocol == TCP && found.endpoint.identity != identity::HOST
}
