//! Ports of the node that lead to one of its workloads (hostPort): packets from outside get the workload's address, and their
//! answers the node's.
//!
//! Such a port is the frontend of a service with one backend, at an address of the node. So packets in need no entry of their flow. Packets
//! out do: a workload may also be connected to directly. Each packet in makes sure that the entry is there.

use crate::found::Masquerading;
use crate::maps::Maps;
use crate::scratch::Scratch;
use abi::address::AddressKey;
use abi::conntrack::ConnKey;
use abi::masquerade::MasqueradeInfo;
use abi::service::{BackendInfo, BackendKey, ForwardInfo, ServiceKey};
use abi::{Address, config, identity, map};

/// Finds the workload that the port leads to that a packet from outside is for, and keeps the port for the answers. A function of
/// its own in the kernel, as is [`outward`].
#[inline(never)]
pub(crate) fn inward(maps: &impl Maps, scratch: &mut Scratch) -> bool {
    let Scratch { key, masquerading: Masquerading { inward, info, .. }, .. } = scratch;
    let Some(workload) = workload(maps, &key.local, key.local_port, key.protocol) else { return false };
    *info = MasqueradeInfo { address: workload.address, port: workload.port, ..MasqueradeInfo::default() };
    *inward = ConnKey { local: workload.address, local_port: workload.port, ..*key };
    let forward = ForwardInfo { address: key.local, port: key.local_port, padding: [0; 2] };
    let is_known = maps.lookup_mut(map::Forwards, inward).is_some_and(|known| *known == forward);
    is_known || maps.update(map::Forwards, inward, &forward)
}

/// Finds the port of the node that the flow of a workload's packet was opened to, if it leads to the workload still.
#[inline(never)]
pub(crate) fn outward(maps: &impl Maps, scratch: &mut Scratch) -> bool {
    let Scratch { key, masquerading: Masquerading { info, .. }, .. } = scratch;
    {
        let Some(forward) = maps.lookup_mut(map::Forwards, key) else { return false };
        let ForwardInfo { address, port, .. } = *forward;
        *info = MasqueradeInfo { address, port, ..MasqueradeInfo::default() };
    }
    workload(maps, &info.address, info.port, key.protocol)
        .is_some_and(|workload| workload.address == key.local && workload.port == key.local_port)
}

/// The workload of this node that a port leads to at one of the node's addresses or, for the node itself, at a loopback address.
#[inline(always)]
pub(crate) fn of_node<'a>(
    maps: &'a impl Maps,
    address: &Address,
    port: [u8; 2],
    protocol: u8,
) -> Option<&'a BackendInfo> {
    if maps.config()?.flags & config::flag::HOST_PORTS == 0 {
        return None;
    }
    if address.is_loopback() {
        return backend(maps, address, port, protocol);
    }
    workload(maps, address, port, protocol)
}

/// The workload of this node that a port of the node leads to.
#[inline(always)]
fn workload<'a>(
    maps: &'a impl Maps,
    address: &Address,
    port: [u8; 2],
    protocol: u8,
) -> Option<&'a BackendInfo> {
    // Services with other addresses are kube-proxy's outside workloads.
    let row = maps.address(&AddressKey::host(*address))?;
    if row.identity == identity::HOST { backend(maps, address, port, protocol) } else { None }
}

/// The one backend of a service, if it is a workload of this node: those of several backends are kube-proxy's.
#[inline(always)]
fn backend<'a>(
    maps: &'a impl Maps,
    address: &Address,
    port: [u8; 2],
    protocol: u8,
) -> Option<&'a BackendInfo> {
    let service = maps.service(&ServiceKey { address: *address, port, protocol, padding: 0 })?;
    if service.count != 1 {
        return None;
    }
    let backend = maps.backend(&BackendKey { backends: service.backends, index: 0 })?;
    let row = maps.address(&AddressKey::host(backend.address))?;
    (row.interface != 0).then_some(backend)
}
