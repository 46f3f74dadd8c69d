//! Fragments: only the first one carries ports, so they are remembered for the others.

use crate::maps::Maps;
use crate::parse::PacketFlow;
use abi::DropReason;
use abi::conntrack::{FragmentInfo, FragmentKey};

/// Stores the ports of a first fragment; reads them for a later one.
///
/// Must come after the check of the source address: otherwise a workload could set the ports of another one's fragments.
#[inline(always)]
pub(crate) fn resolve_ports(maps: &impl Maps, flow: &mut PacketFlow) -> Result<(), DropReason> {
    if !flow.is_fragment() {
        return Ok(());
    }
    let key = FragmentKey {
        source: flow.source,
        destination: flow.destination,
        identification: flow.identification,
        protocol: flow.protocol,
        padding: [0; 3],
    };
    if flow.fragment == 0 {
        let ports = FragmentInfo { source_port: flow.source_port, destination_port: flow.destination_port };
        return if maps.remember_fragment(&key, &ports) { Ok(()) } else { Err(DropReason::ConntrackFull) };
    }
    let ports = maps.fragment(&key).ok_or(DropReason::UnknownFragment)?;
    flow.source_port = ports.source_port;
    flow.destination_port = ports.destination_port;
    Ok(())
}
