//! The rows of addresses, endpoints and blocks, as they follow from the world.

use crate::change::{Endpoint, LAST_ENDPOINT, NODE, Wire};
use crate::ledger::{Entry, RowSubject};
use crate::peers::Residents;
use crate::world::{Owner, World};
use abi::Address;
use abi::address::AddressInfo;
use abi::endpoint::{EndpointInfo, EndpointKey, flag};
use abi::identity::{HOST, KUBE_APISERVER, REMOTE_NODE, WORLD};
use enforcement::Assignment;
use policy::cidr::AddressSide;
use policy::rule::Cidr;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The first address of each family.
const FAMILIES: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)];

impl World {
    /// Every subject that may have a row; some of them several times.
    pub(crate) fn row_subjects(&self) -> impl Iterator<Item = RowSubject> {
        let endpoints = self.endpoints.keys().chain([&NODE]).map(|id| RowSubject::Endpoint(*id));
        let owned = self.owners.iter().map(|(address, _)| RowSubject::Address(Cidr::host(*address)));
        let families =
            FAMILIES.into_iter().filter_map(|family| Some(RowSubject::Address(Cidr::new(family, 0)?)));
        let blocks = self.enforcement.blocks().classes().flat_map(|class| {
            [RowSubject::Address(class.block), RowSubject::Nesting(class.block, class.side)]
        });
        let pods = self.pod_blocks.iter().map(|block| RowSubject::Address(*block));
        let unmasqueraded = self.node.masquerade.iter().flat_map(|masquerade| &masquerade.except);
        let unmasqueraded = unmasqueraded.map(|block| RowSubject::Unmasqueraded(*block));
        endpoints.chain(owned).chain(families).chain(blocks).chain(pods).chain(unmasqueraded)
    }

    /// The row of a subject as the world is now.
    pub(crate) fn entry_of(&self, subject: RowSubject) -> Entry {
        match subject {
            RowSubject::Endpoint(NODE) => {
                Entry::Endpoint(NODE, self.node_row().map(|info| (EndpointKey::NODE, info)))
            }
            RowSubject::Endpoint(id) => {
                let row = self.endpoint_of(id).and_then(|endpoint| {
                    Some((EndpointKey { interface: endpoint.wire.interface }, self.endpoint_row(endpoint)?))
                });
                Entry::Endpoint(id, row)
            }
            RowSubject::Address(block) => Entry::Address(block, self.address_info(&block)),
            RowSubject::Unmasqueraded(block) => {
                let is_there = self.node.masquerade.as_ref().is_some_and(|it| it.except.contains(&block));
                Entry::Unmasqueraded(block, is_there.then_some(1))
            }
            RowSubject::Nesting(block, side) => {
                let class = self.enforcement.blocks().class(&block, side).filter(|class| class.parent != 0);
                Entry::Nesting((block, side), class.map(|class| (class.number, class.parent)))
            }
        }
    }

    /// The value of the row of a block. A single address with an owner has the owner's peer. Others are outside the cluster,
    /// or of pods that are not known yet. Only the blocks of pods, those that policies name and those of all addresses have
    /// rows.
    fn address_info(&self, block: &Cidr) -> Option<AddressInfo> {
        let address = block.address();
        if block.is_host() && self.owners_of(address).next().is_some() {
            return self.owned(address);
        }
        let class = self.enforcement.blocks().number(block, AddressSide::World);
        // A block of pods is not the world's, and CIDR rules do not judge it: no class, and the identity that is unknown.
        if self.pod_blocks.enclose(block) {
            return (class.is_some() || self.pod_blocks.contains(block)).then(AddressInfo::default);
        }
        // IPv4 has a row of its own, so an IPv6 block that contains the mapped addresses does not apply to them.
        let class = class.or((block.length() == 0).then_some(0))?;
        let is_api_server = block.is_host() && self.api_servers.contains(&address);
        let identity = if is_api_server { KUBE_APISERVER } else { WORLD };
        Some(AddressInfo { identity, peer: identity, cidr: class, ..AddressInfo::default() })
    }

    /// The value of the row of an address with owners. Workloads of this node come before workloads of other nodes, and those
    /// before nodes. Of several owners of one kind the last one counts.
    fn owned(&self, address: IpAddr) -> Option<AddressInfo> {
        let (mut workload, mut node) = (None, None);
        for owner in self.owners_of(address) {
            match owner {
                // The numbers of remote workloads are higher.
                Owner::Workload(id) if *id > LAST_ENDPOINT && workload.is_some() => {}
                Owner::Workload(id) => workload = self.workload_address(*id, address).or(workload),
                Owner::Node => node = Some((HOST, HOST)),
                Owner::RemoteNode(name) => {
                    let number = self.remote_nodes.get(&**name)?.number(self.api_servers.contains(&address));
                    node = Some((REMOTE_NODE, number));
                }
            }
        }
        workload.or_else(|| node.map(|(identity, peer)| self.inside(address, identity, peer)))
    }

    /// The value of the row of a workload's address; none for a workload of this node to which no policy is assigned yet.
    fn workload_address(&self, id: u32, address: IpAddr) -> Option<AddressInfo> {
        let (peer, residents) = self.peers.of(id)?;
        let Wire { interface, mac, .. } = match self.endpoint_of(id) {
            Some(endpoint) => self.enforcement.assignment(peer).map(|_| endpoint.wire)?,
            None => Wire::default(),
        };
        let namespace = self.registry().directory.namespace_of(peer).unwrap_or(0);
        Some(AddressInfo { interface, mac, namespace, ..self.inside(address, residents.identity, peer) })
    }

    fn inside(&self, address: IpAddr, identity: u32, peer: u32) -> AddressInfo {
        let cidr = self.enforcement.blocks().class_of(address, AddressSide::Inside);
        AddressInfo { identity, peer, cidr, ..AddressInfo::default() }
    }

    /// The endpoint row of a workload; none while no policy is assigned to the workload.
    pub fn endpoint_row(&self, endpoint: &Endpoint) -> Option<EndpointInfo> {
        let (peer, Residents { identity, .. }) = self.peers.of(endpoint.id)?;
        let Assignment { policy, grouping, flags } = self.enforcement.assignment(peer)?;
        let of_family = |v4: bool| endpoint.workload.addresses.iter().find(|address| address.is_ipv4() == v4);
        let audit = if endpoint.audit || self.node.audit { flag::AUDIT } else { 0 };
        Some(EndpointInfo {
            id: endpoint.id,
            identity: *identity,
            policy,
            flags: flags | audit,
            grouping,
            v4: of_family(true).map_or_else(Address::default, |address| (*address).into()),
            v6: of_family(false).map_or_else(Address::default, |address| (*address).into()),
            mac: endpoint.wire.mac,
            host_mac: endpoint.wire.host_mac,
            padding: [0; 4],
        })
    }

    /// The endpoint row of the node's own processes; none if no policy selects the node.
    pub fn node_row(&self) -> Option<EndpointInfo> {
        let Assignment { policy, grouping, flags } = self.enforcement.assignment(HOST)?;
        let audit = if self.node.audit { flag::AUDIT } else { 0 };
        Some(EndpointInfo {
            identity: HOST,
            policy,
            grouping,
            flags: flags | audit,
            ..EndpointInfo::default()
        })
    }
}
