//! Flows that are no connections yet: new ones, and those that one end alone has sent packets of.
//!
//! They have a map of their own, and move among the connections with the first packet of the other end. So what is refused
//! behind this endpoint, at the receiver's or outside, takes no room from connections: a flood pushes out other flows that
//! nothing has answered.

use crate::check;
use crate::conntrack::{self, Transition};
use crate::maps::Maps;
use crate::scratch::Scratch;
use crate::verifier::Fresh;
use abi::DropReason;
use abi::conntrack::{ConnKey, flag};
use abi::map;
use abi::policy::Direction;
use abi::protocol::TCP;

/// Finds the entry of a flow that nothing has answered, or makes one; returns whether policy in force allowed the flow.
#[inline(never)]
pub(crate) fn find(maps: &impl Maps, direction: Direction, scratch: &mut Scratch) -> bool {
    let scratch = &mut Fresh::new(scratch);
    scratch.is_opening = false;
    if check::is_tracked(&scratch.found.flow)
        && let Some(row) = maps.opening(&scratch.key)
        && conntrack::continues(&row, scratch.opens, direction, scratch.found.seconds)
    {
        scratch.entry = *row;
        scratch.flags = row.flags;
        scratch.is_opening = true;
        return check::is_current(&scratch.entry, &scratch.found);
    }
    scratch.decision.transition = Transition::Notable;
    scratch.entry = conntrack::new_entry(direction);
    if scratch.found.flow.protocol == TCP && !scratch.opens {
        scratch.is_midstream = true;
        let flags = scratch.entry.flags;
        scratch.entry.flags = flags_midstream(maps, &scratch.key, scratch.found.seconds, flags);
    }
    scratch.flags = scratch.entry.flags;
    false
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

/// Keeps the entry of a flow that passed: an answered flow becomes a connection.
#[inline(never)]
pub(crate) fn keep(maps: &impl Maps, scratch: &mut Scratch) -> Result<(), DropReason> {
    let Scratch { key, entry, is_opening, is_successor, .. } = scratch;
    if *is_successor {
        maps.delete(map::Conntrack, key);
    }
    let is_kept = if entry.flags & flag::ANSWERED != 0 && !conntrack::is_over(entry.flags) {
        if *is_opening {
            maps.delete(map::Openings, key);
        }
        maps.update(map::Conntrack, key, entry)
    } else if *is_opening && let Some(mut row) = maps.opening(key) {
        *row = *entry;
        true
    } else {
        maps.update(map::Openings, key, entry)
    };
    if is_kept { Ok(()) } else { Err(DropReason::ConntrackFull) }
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
