//! The address pools of workloads and services.

use crate::config::AgentConfig;
use crate::pool::{Pool, PoolError};
use crate::state::State;
use policy::rule::Cidr;
use service::Service;
use std::net::IpAddr;
use std::time::Duration;

/// How long a cluster's nodes get to see that the endpoint of an address is gone, before another one has the address.
const QUARANTINE: Duration = Duration::from_secs(30);

/// The pools of a node: at most one of each family for workloads, and one for services.
#[derive(Clone, Debug)]
pub(crate) struct Addresses {
    workloads: Vec<Pool>,
    /// Further blocks from which a workload may request an address; none is assigned from them.
    requestable: Vec<Cidr>,
    services: Vec<Pool>,
    /// How long a released address of a workload is kept back.
    quarantine: Duration,
    /// The latest addresses that workloads got, of earlier agents too.
    latest: Vec<IpAddr>,
}

impl Addresses {
    /// Creates the pools, with the addresses that the state records as taken. Also returns the node's own
    /// addresses: the first of each block of workloads.
    pub(crate) fn new(config: &AgentConfig, state: &State) -> Result<(Self, Vec<IpAddr>), PoolError> {
        let mut addresses = Self {
            workloads: Vec::new(),
            requestable: config.given_addresses.clone(),
            services: config.service_addresses.iter().copied().map(Pool::new).collect(),
            quarantine: if config.kubernetes.is_some() { QUARANTINE } else { Duration::ZERO },
            latest: state.latest_addresses.clone(),
        };
        let mut own = Vec::new();
        for block in &config.workload_addresses {
            let (pool, address) = addresses.pool(*block)?;
            addresses.workloads.push(pool);
            own.push(address);
        }
        reserve(
            &mut addresses.workloads,
            state.workloads.values().flat_map(|known| &known.wanted.addresses),
        )?;
        reserve(&mut addresses.services, state.services.values().flatten())?;
        Ok((addresses, own))
    }

    /// Replaces the blocks of workloads, in which these addresses are taken. Returns the node's own addresses of blocks that
    /// are new. Addresses of workloads outside the blocks stay valid.
    pub(crate) fn replace_workload_blocks<'a>(
        &mut self,
        blocks: &[Cidr],
        taken: impl IntoIterator<Item = &'a IpAddr>,
    ) -> Result<Vec<IpAddr>, PoolError> {
        let (mut pools, mut own) = (Vec::new(), Vec::new());
        let mut added = Vec::new();
        for block in blocks {
            match self.workloads.iter().find(|pool| pool.block() == *block) {
                Some(known) => pools.push(known.clone()),
                None => {
                    let (pool, address) = self.pool(*block)?;
                    own.push(address);
                    added.push(pool);
                }
            }
        }
        reserve(&mut added, taken)?;
        pools.extend(added);
        pools.sort_by_key(|pool| pool.block().address().is_ipv6());
        self.workloads = pools;
        Ok(own)
    }

    /// A pool of workloads' addresses, and the node's own address of its block.
    fn pool(&self, block: Cidr) -> Result<(Pool, IpAddr), PoolError> {
        let mut pool = Pool::new(block).with_quarantine(self.quarantine);
        let own = pool.take()?;
        self.latest.iter().for_each(|latest| pool.continue_after(*latest));
        Ok((pool, own))
    }

    /// Assigns no IPv6 addresses any more; assigned ones stay valid.
    pub(crate) fn leave_out_ipv6(&mut self) {
        for pools in [&mut self.workloads, &mut self.services] {
            pools.retain(|pool| pool.block().address().is_ipv4());
        }
    }

    /// Whether workloads get addresses from these blocks and no others.
    pub(crate) fn are_blocks(&self, blocks: &[Cidr]) -> bool {
        blocks.len() == self.workloads.len()
            && blocks.iter().all(|block| self.workloads.iter().any(|pool| pool.block() == *block))
    }

    /// Whether there is no pool for workloads.
    pub(crate) fn are_none(&self) -> bool {
        self.workloads.is_empty()
    }

    /// Checks whether a workload may have this address; the error names the valid blocks.
    pub(crate) fn check(&self, wanted: IpAddr) -> Result<(), String> {
        if let IpAddr::V6(mapped) = wanted
            && let Some(address) = mapped.to_ipv4_mapped()
        {
            return Err(format!("{wanted} is an IPv4 address in the form of an IPv6 one; give {address}"));
        }
        let blocks: Vec<Cidr> = self.workloads.iter().map(Pool::block).collect();
        let valid: Vec<String> = blocks.iter().chain(&self.requestable).map(ToString::to_string).collect();
        let invalid = |what: String| Err(format!("{wanted} is {what}; give one of {}", valid.join(" or ")));
        if let Some(pool) = self.services.iter().find(|pool| pool.block().contains(wanted)) {
            return invalid(format!("of the services' block {}", pool.block()));
        }
        if !is_of_one_host(wanted) {
            return invalid("no address that a single host can have".into());
        }
        match blocks.iter().find(|block| block.contains(wanted)) {
            Some(block) => edge(*block, wanted).map_or(Ok(()), |edge| invalid(format!("{edge} of {block}"))),
            None if self.requestable.iter().any(|block| block.contains(wanted)) => Ok(()),
            None => invalid("no address of this node's workloads".into()),
        }
    }

    /// One address of each family: the requested one, else an assigned one.
    pub(crate) fn for_workload(&mut self, wanted: &[IpAddr]) -> Result<Vec<IpAddr>, PoolError> {
        let addresses = complete(&mut self.workloads, wanted)?;
        self.latest.clone_from(&addresses);
        Ok(addresses)
    }

    /// The latest addresses that workloads got, after which the next agent continues.
    pub(crate) fn latest(&self) -> &[IpAddr] {
        &self.latest
    }

    /// Reserves addresses that another plugin assigned, in the blocks or outside them.
    pub(crate) fn reserve_workload(&mut self, addresses: &[IpAddr]) -> Result<(), PoolError> {
        let before = self.workloads.clone();
        let reserved = reserve(&mut self.workloads, addresses);
        if reserved.is_err() {
            self.workloads = before;
        }
        reserved
    }

    /// Releases a workload's addresses.
    pub(crate) fn release_workload(&mut self, addresses: &[IpAddr]) {
        release(&mut self.workloads, addresses);
    }

    /// Assigns a service its earlier addresses, else new ones; a headless service gets none.
    ///
    /// Without pools of services the API server of the cluster assigns them.
    pub(crate) fn assign(&mut self, service: &mut Service, state: &mut State) -> Result<(), PoolError> {
        if self.services.is_empty() {
            return Ok(());
        }
        if service.headless {
            self.release_service(&service.namespace, &service.name, state);
            return Ok(());
        }
        let name = format!("{}/{}", service.namespace, service.name);
        if let Some(known) = state.services.get(&name) {
            if service.addresses.iter().all(|address| known.contains(address)) {
                service.addresses.clone_from(known);
                return Ok(());
            }
            release(&mut self.services, known);
        }
        service.addresses = complete(&mut self.services, &service.addresses)?;
        state.services.insert(name, service.addresses.clone());
        Ok(())
    }

    /// Releases a service's addresses.
    pub(crate) fn release_service(&mut self, namespace: &str, name: &str, state: &mut State) {
        if let Some(addresses) = state.services.remove(&format!("{namespace}/{name}")) {
            release(&mut self.services, &addresses);
        }
    }
}

/// Describes the network address or broadcast address of a block; none for any other address.
fn edge(block: Cidr, address: IpAddr) -> Option<&'static str> {
    let width = if address.is_ipv4() { 32 } else { 128 };
    let bits = |address: IpAddr| match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    };
    let hosts = 1u128.checked_shl(width - u32::from(block.length())).map_or(u128::MAX, |size| size - 1);
    match bits(address) & hosts {
        0 => Some("the network's own address"),
        offset if offset == hosts && address.is_ipv4() => Some("the broadcast address"),
        _ => None,
    }
}

/// Whether an address is a unicast address that an interface can have and other hosts can send to.
fn is_of_one_host(address: IpAddr) -> bool {
    let special = address.is_unspecified() || address.is_multicast() || address.is_loopback();
    !special
        && match address {
            // 240.0.0.0/4 is reserved; it contains the broadcast address.
            IpAddr::V4(v4) => !v4.is_link_local() && (1..240).contains(&v4.octets()[0]),
            IpAddr::V6(v6) => !v6.is_unicast_link_local(),
        }
}

fn complete(pools: &mut [Pool], wanted: &[IpAddr]) -> Result<Vec<IpAddr>, PoolError> {
    let mut addresses: Vec<IpAddr> = Vec::new();
    let mut taken = || -> Result<(), PoolError> {
        for address in wanted {
            reserve(pools, [address])?;
            addresses.push(*address);
        }
        for pool in pools.iter_mut() {
            let v4 = pool.block().address().is_ipv4();
            if addresses.iter().all(|address| address.is_ipv4() != v4) {
                addresses.push(pool.take()?);
            }
        }
        Ok(())
    };
    match taken() {
        Ok(()) => {
            addresses.sort_by_key(IpAddr::is_ipv6);
            Ok(addresses)
        }
        Err(error) => {
            release(pools, &addresses);
            Err(error)
        }
    }
}

fn reserve<'a>(pools: &mut [Pool], addresses: impl IntoIterator<Item = &'a IpAddr>) -> Result<(), PoolError> {
    for address in addresses {
        pools.iter_mut().try_for_each(|pool| pool.reserve(*address))?;
    }
    Ok(())
}

fn release(pools: &mut [Pool], addresses: &[IpAddr]) {
    for pool in pools {
        addresses.iter().for_each(|address| pool.release(*address));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_of_workloads_can_be_replaced_and_taken_addresses_stay_taken() {
        let block = |address: &str, length| Cidr::new(address.parse().unwrap(), length).unwrap();
        let config = AgentConfig { workload_addresses: Vec::new(), ..AgentConfig::default() };
        let (mut addresses, own) = Addresses::new(&config, &State::default()).unwrap();
        assert!(own.is_empty() && addresses.are_none());
        let (v4, v6) = (block("10.1.0.0", 24), block("fd00:1::", 64));
        let taken = ["10.1.0.2".parse().unwrap(), "10.9.0.9".parse().unwrap()];
        let own = addresses.replace_workload_blocks(&[v6, v4], &taken).unwrap();
        assert_eq!(own, ["fd00:1::1", "10.1.0.1"].map(|address| address.parse::<IpAddr>().unwrap()));
        let first = addresses.for_workload(&[]).unwrap();
        assert_eq!(first, ["10.1.0.3", "fd00:1::2"].map(|address| address.parse::<IpAddr>().unwrap()));
        assert!(addresses.are_blocks(&[v4, v6]) && !addresses.are_blocks(&[v4]));
        // The same blocks again: nothing is new, and nothing that is taken is given again.
        assert_eq!(addresses.replace_workload_blocks(&[v4], &first), Ok(Vec::new()));
        let second = addresses.for_workload(&[]).unwrap();
        assert_eq!(second, ["10.1.0.4".parse::<IpAddr>().unwrap()]);
    }

    #[test]
    fn an_agent_continues_after_the_addresses_of_the_one_before() {
        let block = Cidr::new("10.1.0.0".parse().unwrap(), 24).unwrap();
        let config = AgentConfig { workload_addresses: vec![block], ..AgentConfig::default() };
        let (mut addresses, _) = Addresses::new(&config, &State::default()).unwrap();
        // The address of a workload that ended comes again only after all others.
        let first = addresses.for_workload(&[]).unwrap();
        let second = addresses.for_workload(&[]).unwrap();
        addresses.release_workload(&second);
        let state = State { latest_addresses: addresses.latest().to_vec(), ..State::default() };
        let (mut addresses, own) = Addresses::new(&config, &state).unwrap();
        let third = addresses.for_workload(&[]).unwrap();
        assert!(
            third != first && third != second && third != own,
            "{third:?} after {first:?} and {second:?}"
        );
    }

    #[test]
    fn a_workload_gets_only_addresses_of_the_nodes_blocks_for_workloads() {
        let block = |address: &str, length| Cidr::new(address.parse().unwrap(), length).unwrap();
        let check = |blocks: &[Cidr], address: &str, expected: &str| {
            let config = AgentConfig { workload_addresses: blocks.to_vec(), ..AgentConfig::default() };
            let (addresses, _) = Addresses::new(&config, &State::default()).unwrap();
            let said = addresses.check(address.parse().unwrap()).err().unwrap_or_default();
            assert!(said.contains(expected) && said.is_empty() == expected.is_empty(), "{address}: {said}");
        };
        let both = [block("10.244.0.0", 16), block("fd00:10:244::", 64)];
        for right in [
            "10.244.0.7",
            "10.244.1.0",
            "10.244.1.255",
            "fd00:10:244::7",
            "fd00:10:244:0:ffff:ffff:ffff:ffff",
        ] {
            check(&both, right, "");
        }
        for wrong in ["8.8.8.8", "10.245.0.1", "192.168.0.1", "2001:db8::1", "fd00:10:244:1::1"] {
            let right =
                "is no address of this node's workloads; give one of 10.244.0.0/16 or fd00:10:244::/64";
            check(&both, wrong, right);
        }
        for wrong in [
            "0.0.0.0",
            "0.1.2.3",
            "127.0.0.1",
            "169.254.1.1",
            "224.0.0.1",
            "239.1.1.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fe80::1",
            "ff02::1",
        ] {
            check(&both, wrong, "is no address that a single host can have; give one of 10.244.0.0/16 or");
        }
        check(&both, "10.96.0.9", "of the services' block 10.96.0.0/16");
        check(&both, "fd00:10:96::9", "of the services' block");
        check(&both, "::ffff:1.2.3.4", "give 1.2.3.4");
        check(&both, "::ffff:10.244.0.7", "give 10.244.0.7");
        check(&both, "10.244.0.0", "the network's own address of 10.244.0.0/16");
        check(&both, "10.244.255.255", "the broadcast address of 10.244.0.0/16");
        check(&both, "fd00:10:244::", "the network's own address");
        check(&both[1..], "10.244.0.7", "give one of fd00:10:244::/64");
    }
}
