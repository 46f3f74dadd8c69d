//! Flows that are no connections yet: new ones, and those that one end alone has sent packets of.
//!
//! They have a map of their own, and move among the connections with the first packet of the other end. So what is refused
//! behind this endpoint, at the receiver's or outside, takes no room from connections: a flood pushes out other flows that
//! nothing has answered.

use crate::conntrack::{self, Origin, Transition};
use crate::maps::Maps;
use crate::scratch::Scratch;
use crate::verifier::Fresh;
use abi::DropReason;
use abi::conntrack::{ConnKey, flag};
use abi::map;
use abi::policy::Direction;
use abi::protocol::TCP;

/// Copies the entry of the packet's flow, or makes one; returns whether the policy in force allowed the flow.
#[inline(never)]
pub(crate) fn find(maps: &impl Maps, direction: Direction, scratch: &mut Scratch) -> bool {
    let scratch = &mut Fresh::new(scratch);
    scratch.origin = Origin::New;
    (scratch.is_successor, scratch.is_midstream) = (false, false);
    if conntrack::is_tracked(&scratch.found.flow) {
        copy(maps, direction, scratch);
    }
    if scratch.origin == Origin::New {
        begin(maps, direction, scratch);
    }
    scratch.flags = scratch.entry.flags;
    scratch.origin != Origin::New && conntrack::is_current(&scratch.entry, &scratch.found)
}

/// Copies the entry, if there is one: of the connection with this key, or of an opening, which comes first for its answer.
#[inline(always)]
fn copy(maps: &impl Maps, direction: Direction, scratch: &mut Fresh<'_, Scratch>) {
    if scratch.answers_syn {
        copy_opening(maps, direction, scratch);
    }
    if scratch.origin == Origin::New && scratch.may_have_connection {
        copy_connection(maps, direction, scratch);
    }
    if scratch.origin == Origin::New && !scratch.answers_syn {
        copy_opening(maps, direction, scratch);
    }
}

#[inline(always)]
fn copy_connection(maps: &impl Maps, direction: Direction, scratch: &mut Fresh<'_, Scratch>) {
    let Some(row) = maps.connection(&scratch.key) else { return };
    if conntrack::continues(&row, scratch.opens, direction, scratch.found.seconds) {
        scratch.entry = *row;
        scratch.origin = Origin::Connections;
    } else {
        scratch.is_successor = true;
    }
}

#[inline(always)]
fn copy_opening(maps: &impl Maps, direction: Direction, scratch: &mut Fresh<'_, Scratch>) {
    if let Some(row) = maps.opening(&scratch.key)
        && conntrack::continues(&row, scratch.opens, direction, scratch.found.seconds)
    {
        scratch.entry = *row;
        scratch.origin = Origin::Openings;
    }
}

/// Makes the entry of the flow that a segment opens, before the flow is looked up ([`find_repeated`]).
#[inline(always)]
pub(crate) fn begin_first(direction: Direction, scratch: &mut Fresh<'_, Scratch>) {
    scratch.origin = Origin::New;
    (scratch.is_successor, scratch.is_midstream) = (false, false);
    scratch.decision.transition = Transition::Opened;
    scratch.entry = conntrack::new_entry(direction);
    scratch.flags = scratch.entry.flags;
}

/// Makes the entry of a new flow, or of a connection whose entry is lost.
#[inline(always)]
fn begin(maps: &impl Maps, direction: Direction, scratch: &mut Fresh<'_, Scratch>) {
    scratch.decision.transition = Transition::Opened;
    scratch.entry = conntrack::new_entry(direction);
    if scratch.found.flow.protocol == TCP && !scratch.opens {
        scratch.is_midstream = true;
        let flags = scratch.entry.flags;
        scratch.entry.flags = flags_midstream(maps, &scratch.key, scratch.found.seconds, flags);
    }
}

/// The flags of the entry for a connection whose entry is lost: which end opened the connection, by the entry of the endpoint
/// at the other end. A flow between two endpoints of this node has an entry for each of them.
///
/// A segment does not show which end opened its connection. If one of the ends could choose, it would choose the direction
/// whose rules allow the connection. So an entry that was made for such a segment alone knows nothing, and without one that
/// knows, the rules of both directions must allow the connection, now and after each change of policy
/// ([`flag::TAKEN_UP`]).
#[inline(always)]
fn flags_midstream(maps: &impl Maps, key: &ConnKey, now: u32, flags: u32) -> u32 {
    let other = ConnKey {
        local: key.remote,
        remote: key.local,
        local_port: key.remote_port,
        remote_port: key.local_port,
        ..*key
    };
    let unknown = flags | flag::TAKEN_UP;
    let Some(row) = maps.connection(&other) else { return unknown };
    if row.flags & flag::TAKEN_UP != 0 || conntrack::is_over(row.flags) || !conntrack::is_live(&row, now) {
        return unknown;
    }
    // The one end is the other one's remote end.
    !row.flags & flag::LOCAL_OPENED
}

/// Keeps the entry of a flow that passed: an answered flow becomes a connection. An entry that a map holds is replaced in
/// place, for an update takes the room of another one first.
#[inline(always)]
pub(crate) fn keep(maps: &impl Maps, scratch: &mut Scratch) -> Result<(), DropReason> {
    let scratch = &mut Fresh::new(scratch);
    if scratch.is_judged_first {
        find_repeated(maps, scratch);
    }
    if scratch.is_successor {
        maps.delete(map::Conntrack, &scratch.key);
    }
    let is_answered = scratch.entry.flags & flag::ANSWERED != 0 && !conntrack::is_over(scratch.entry.flags);
    let is_kept = if scratch.origin == Origin::Connections || is_answered {
        keep_connection(maps, scratch)
    } else {
        keep_opening(maps, scratch)
    };
    if is_kept { Ok(()) } else { Err(DropReason::ConntrackFull) }
}

/// Looks up the opening that a segment repeats which policy has judged first.
///
/// Connections are not looked up. The entry of one with this key serves the old connection's packets until the new one is
/// accepted, and is then replaced; most segments that open a connection have none, and to find none in that large map misses
/// the cache.
#[inline(always)]
fn find_repeated(maps: &impl Maps, scratch: &mut Fresh<'_, Scratch>) {
    if let Some(row) = maps.opening(&scratch.key)
        && conntrack::continues(&row, true, scratch.found.direction, scratch.found.seconds)
    {
        scratch.decision.transition = Transition::None;
        scratch.origin = Origin::Openings;
        conntrack::add_counts(&mut scratch.entry, &row);
    }
}

#[inline(always)]
fn keep_connection(maps: &impl Maps, scratch: &Scratch) -> bool {
    let Scratch { key, entry, origin, .. } = scratch;
    if *origin == Origin::Openings {
        maps.delete(map::Openings, key);
    }
    if *origin == Origin::Connections
        && let Some(mut row) = maps.connection(key)
    {
        *row = *entry;
        return true;
    }
    maps.update(map::Conntrack, key, entry)
}

#[inline(always)]
fn keep_opening(maps: &impl Maps, scratch: &Scratch) -> bool {
    let Scratch { key, entry, origin, .. } = scratch;
    if *origin == Origin::Openings
        && let Some(mut row) = maps.opening(key)
    {
        *row = *entry;
        return true;
    }
    maps.update(map::Openings, key, entry)
}

/// Copies the entry of the flow that an ICMP error belongs to; false where there is none.
#[inline(never)]
pub(crate) fn find_related(maps: &impl Maps, scratch: &mut Scratch) -> bool {
    let Scratch { related, entry, .. } = scratch;
    if let Some(row) = maps.connection(&related.key) {
        *entry = *row;
        return true;
    }
    let Some(row) = maps.opening(&related.key) else { return false };
    *entry = *row;
    true
}
