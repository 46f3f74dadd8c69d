//! The addresses that workloads and services get.

use crate::state::State;
use control::{Pool, PoolError};
use policy::rule::Cidr;
use service::Service;
use std::net::IpAddr;

/// The pools of a node, at most one of each family for workloads and for services.
#[derive(Debug)]
pub(crate) struct Addresses {
    workloads: Vec<Pool>,
    services: Vec<Pool>,
}

impl Addresses {
    /// Pools of which nothing is taken but what the state remembers; returns the node's own addresses as well, the
    /// first of each block of workloads.
    pub(crate) fn new(
        workloads: &[Cidr],
        services: &[Cidr],
        state: &State,
    ) -> Result<(Self, Vec<IpAddr>), PoolError> {
        let pools = |blocks: &[Cidr]| blocks.iter().copied().map(Pool::new).collect::<Vec<_>>();
        let mut addresses = Self { workloads: pools(workloads), services: pools(services) };
        let own = addresses.workloads.iter_mut().map(Pool::take).collect::<Result<_, _>>()?;
        reserve(&mut addresses.workloads, state.workloads.iter().flat_map(|known| &known.wanted.addresses))?;
        reserve(&mut addresses.services, state.services.values().flatten())?;
        Ok((addresses, own))
    }

    /// Gives out no IPv6 addresses any more; what has one keeps it.
    pub(crate) fn leave_out_ipv6(&mut self) {
        for pools in [&mut self.workloads, &mut self.services] {
            pools.retain(|pool| pool.block().address().is_ipv4());
        }
    }

    /// Whether there is nothing to give to workloads.
    pub(crate) fn are_none(&self) -> bool {
        self.workloads.is_empty()
    }

    /// One address of each family: those that are wanted, and an assigned one where none is.
    pub(crate) fn for_workload(&mut self, wanted: &[IpAddr]) -> Result<Vec<IpAddr>, PoolError> {
        complete(&mut self.workloads, wanted)
    }

    /// Gives a workload's addresses back.
    pub(crate) fn release_workload(&mut self, addresses: &[IpAddr]) {
        release(&mut self.workloads, addresses);
    }

    /// Gives a service the addresses it has had before, or new ones; a headless one gets none.
    pub(crate) fn assign(&mut self, service: &mut Service, state: &mut State) -> Result<(), PoolError> {
        if service.headless {
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

    /// Gives a service's addresses back.
    pub(crate) fn release_service(&mut self, namespace: &str, name: &str, state: &mut State) {
        if let Some(addresses) = state.services.remove(&format!("{namespace}/{name}")) {
            release(&mut self.services, &addresses);
        }
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
