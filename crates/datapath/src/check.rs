//! Decides whether a packet may go on: a flow that was allowed under the policy in force, or policy's own verdict.

use crate::conntrack::{self, Turn, Way};
use crate::packet::Packet;
use crate::parse::Flow;
use crate::policy::{self, Question};
use crate::report::{Trace, converge};
use crate::{Maps, related};
use abi::DropReason;
use abi::address::AddressInfo;
use abi::conntrack::{ConnInfo, flag};
use abi::endpoint;
use abi::identity;
use abi::mark;
use abi::policy::{Direction, VerdictInfo, action};
use abi::protocol::{ICMP, ICMP6, TCP};

/// Leave to deliver one packet; only this module grants it.
///
/// It holds nothing: which way the packet takes is in the trace. A permit with contents would lie undefined beside
/// every refusal, and what the compiler does with an undefined value the verifier refuses.
#[must_use]
pub(crate) struct Permit(());

/// What the policy of a workload, or of the node itself, is asked about.
pub(crate) struct Subject<'a> {
    /// The address at the other end.
    pub(crate) peer: &'a AddressInfo,
    /// The packet's way through the door of whoever is asked.
    pub(crate) direction: Direction,
    /// Whether another door has sent the packet to the proxy.
    pub(crate) proxied: bool,
}

/// Checks one packet, of a known flow or a new one, and remembers what it did.
#[inline(always)]
pub(crate) fn check(
    packet: &impl Packet,
    maps: &impl Maps,
    subject: &Subject<'_>,
    trace: &mut Trace,
) -> Result<Permit, DropReason> {
    let now = conntrack::seconds(maps.now());
    let from_proxy = packet.mark() & mark::MASK == mark::FROM_PROXY;
    if related::is_error(&trace.flow)
        && let Some(key) = related::key(packet, &trace.flow, subject.direction)?
        && let Some(row) = maps.connection(&key)
        && conntrack::is_live(&row, now)
        && is_current(&row, trace)
    {
        return permit(&row, from_proxy, trace);
    }
    let key = conntrack::key(&trace.flow, subject.direction);
    let found = is_tracked(&trace.flow)
        .then(|| maps.connection(&key))
        .flatten()
        .filter(|row| conntrack::continues(row, &trace.flow, subject.direction, now));
    let asked = match &found {
        Some(row) if is_current(row, trace) => None,
        Some(row) => Some(conntrack::opener(row)),
        None if is_midstream(trace) => return Err(DropReason::NotEstablished),
        None => Some(subject.direction),
    };
    if let Some(direction) = asked {
        rule(maps, subject, direction, trace)?;
    }
    let trace = converge(trace);
    let seen = Seen { from_proxy, length: packet.length(), now };
    match found {
        Some(mut row) => pass(&mut row, subject, seen, trace),
        None => {
            let mut row = conntrack::begin(subject.direction);
            trace.turn = Turn::Notable;
            let permit = pass(&mut row, subject, seen, trace)?;
            if is_tracked(&trace.flow) && !maps.remember(&key, &row) {
                return Err(DropReason::ConntrackFull);
            }
            Ok(permit)
        }
    }
}

/// What matters of a packet beside its flow.
#[derive(Clone, Copy)]
struct Seen {
    from_proxy: bool,
    length: u32,
    now: u32,
}

/// Lets a packet through on a row, which takes down policy's ruling and what the packet did.
#[inline(always)]
fn pass(
    row: &mut ConnInfo,
    subject: &Subject<'_>,
    seen: Seen,
    trace: &mut Trace,
) -> Result<Permit, DropReason> {
    let direction = subject.direction;
    if let Some(ruling) = trace.ruling {
        row.policy = trace.endpoint.policy;
        row.epoch = trace.config.epoch;
        row.rule = ruling.rule;
        row.peer_identity = subject.peer.identity;
        // A flow that went through the proxy goes on through it, also when policy asks nothing of its requests any more.
        row.l7 = 0;
        if ruling.action == action::REDIRECT {
            row.flags |= flag::PROXIED;
            row.l7 = ruling.l7;
        }
    }
    if subject.proxied || (seen.from_proxy && conntrack::opener(row) == Direction::Ingress) {
        // The proxy speaks to the workload, or to the node, in the opener's name: the answers are the proxy's.
        row.flags |= flag::PROXIED;
    }
    if trace.is_translated() && row.flags & flag::TRANSLATED == 0 {
        row.flags |= flag::TRANSLATED;
        row.service = trace.service;
        row.service_port = trace.service_port;
    }
    let way = Way { direction, leg: conntrack::leg(row, direction, seen.from_proxy), length: seen.length };
    if conntrack::note(row, &trace.flow, way, seen.now) == Turn::Notable {
        trace.turn = Turn::Notable;
    }
    trace.is_reply = conntrack::opener(row) != direction;
    permit(row, seen.from_proxy, trace)
}

/// The permit that a row stands for.
#[inline(always)]
fn permit(row: &ConnInfo, from_proxy: bool, trace: &mut Trace) -> Result<Permit, DropReason> {
    trace.rule = row.rule;
    trace.l7 = row.l7;
    if row.flags & flag::TRANSLATED != 0 {
        trace.service = row.service;
        trace.service_port = row.service_port;
    }
    // What the proxy sends has had its verdict.
    if row.flags & flag::PROXIED != 0 && !from_proxy {
        if trace.config.proxy_interface == 0 {
            return Err(DropReason::ProxyUnavailable);
        }
        trace.proxy = trace.config.proxy_interface;
    }
    Ok(Permit(()))
}

/// Policy's ruling on a flow that is opened in `direction`; in audit mode a refusal is noted and overruled.
#[inline(always)]
fn rule(
    maps: &impl Maps,
    subject: &Subject<'_>,
    direction: Direction,
    trace: &mut Trace,
) -> Result<(), DropReason> {
    let flow = &trace.flow;
    let port = match flow.protocol {
        _ if direction == subject.direction => flow.destination_port,
        // An answer: what it answers was sent to its source, or was an echo request.
        ICMP => [8, 0],
        ICMP6 => [128, 0],
        _ => flow.source_port,
    };
    let question = Question { direction, protocol: flow.protocol, port };
    let verdict = policy::ask(maps, &trace.endpoint, subject.peer, question);
    trace.rule = verdict.rule;
    trace.ruling = Some(verdict);
    let refusal = match verdict.action {
        action::ALLOW => return Ok(()),
        action::REDIRECT if has_proxy(trace) => return Ok(()),
        action::REDIRECT => DropReason::ProxyUnavailable,
        _ if verdict.rule == 0 => DropReason::PolicyDefaultDeny,
        _ => DropReason::PolicyDeny,
    };
    if trace.endpoint.flags & endpoint::flag::AUDIT == 0 {
        return Err(refusal);
    }
    trace.audit = Some(refusal);
    trace.ruling = Some(VerdictInfo { action: action::ALLOW, l7: 0, ..verdict });
    Ok(())
}

/// Whether the proxy speaks for the packet's flow: it speaks TCP, and not in the node's own name.
#[inline(always)]
fn has_proxy(trace: &Trace) -> bool {
    trace.flow.protocol == TCP && trace.endpoint.identity != identity::HOST
}

/// Whether the row was allowed under what holds now.
#[inline(always)]
fn is_current(row: &ConnInfo, trace: &Trace) -> bool {
    row.policy == trace.endpoint.policy && row.epoch == trace.config.epoch
}

/// Whether a row is kept: not for single ICMP messages.
#[inline(always)]
fn is_tracked(flow: &Flow) -> bool {
    !flow.is_icmp() || flow.is_echo()
}

/// Whether a segment belongs to a TCP connection that should be known but is not.
///
/// Taking it for a new one would let whoever speaks first after the row is gone choose whose policy is asked. Where
/// nothing is enforced, or refusals are only reported, there is nothing to get round, and older connections live on.
#[inline(always)]
fn is_midstream(trace: &Trace) -> bool {
    use endpoint::flag::{AUDIT, ENFORCE};
    let flags = trace.endpoint.flags;
    trace.flow.protocol == TCP && !trace.flow.opens() && flags & ENFORCE != 0 && flags & AUDIT == 0
}
