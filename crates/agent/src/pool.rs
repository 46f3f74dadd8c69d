//! Addresses from one block, each the next free one after the last address that was taken.
//!
//! Other nodes map an address to its endpoint until they see that the endpoint is gone. An address that was given at once to another
//! endpoint would have the first one's permissions there. So a pool may keep released addresses back for a time.

use policy::rule::Cidr;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

/// A block of addresses and which of them are taken.
///
/// The block's first address (the network) and, for IPv4, its last (broadcast) are never taken. An address that was
/// released is taken again only after the rest of the block, so that entries which
/// others hold for the address can expire first.
#[derive(Clone, Debug)]
pub struct Pool {
    block: Cidr,
    taken: BTreeSet<u128>,
    last: u128,
    /// How long a released address is kept back, and when each was released.
    quarantine: Duration,
    released: BTreeMap<u128, Instant>,
}

/// The reason why an address cannot be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PoolError {
    /// Every address is taken.
    #[error("all addresses of {0} are taken; free one by removing a workload, or configure a larger block")]
    Exhausted(Cidr),
    /// Every address is taken, or was released a short time ago.
    #[error(
        "no address of {0} is free until those that were released a moment ago may be given again; try again later"
    )]
    KeptBack(Cidr),
    /// The address is in use.
    #[error("address {0} is taken already")]
    Taken(IpAddr),
}

impl Pool {
    /// A pool with all addresses free.
    pub fn new(block: Cidr) -> Self {
        Self { block, taken: BTreeSet::new(), last: 0, quarantine: Duration::ZERO, released: BTreeMap::new() }
    }

    /// The same pool, which keeps each released address back for this time.
    #[must_use]
    pub(crate) fn with_quarantine(self, quarantine: Duration) -> Self {
        Self { quarantine, ..self }
    }

    /// Goes on after an address that an earlier agent took, if the block has it: addresses that were released since come last.
    pub(crate) fn continue_after(&mut self, address: IpAddr) {
        self.last = self.offset(address).unwrap_or(self.last);
    }

    /// The block.
    pub fn block(&self) -> Cidr {
        self.block
    }

    /// Takes the next free address.
    pub fn take(&mut self) -> Result<IpAddr, PoolError> {
        let size = self.size();
        let usable =
            if self.block.address().is_ipv4() { size.saturating_sub(2) } else { size.saturating_sub(1) };
        self.released.retain(|_, released| released.elapsed() < self.quarantine);
        // One step more than there are other addresses reaches a free one, if there is one.
        let others = self.taken.len() + self.released.len();
        let steps = usable.min(others as u128 + 1);
        for step in 0..steps {
            let offset = 1 + (self.last + step) % usable;
            if !self.released.contains_key(&offset) && self.taken.insert(offset) {
                self.last = offset;
                return Ok(self.address(offset));
            }
        }
        if self.released.is_empty() {
            return Err(PoolError::Exhausted(self.block));
        }
        Err(PoolError::KeptBack(self.block))
    }

    /// Takes a given address; an address outside the block is accepted and not recorded.
    pub fn reserve(&mut self, address: IpAddr) -> Result<(), PoolError> {
        match self.offset(address) {
            Some(offset) if !self.taken.insert(offset) => Err(PoolError::Taken(address)),
            _ => Ok(()),
        }
    }

    /// Gives an address back.
    pub fn release(&mut self, address: IpAddr) {
        if let Some(offset) = self.offset(address)
            && self.taken.remove(&offset)
        {
            self.released.insert(offset, Instant::now());
        }
    }

    fn size(&self) -> u128 {
        let width = if self.block.address().is_ipv4() { 32 } else { 128 };
        1u128.checked_shl(width - u32::from(self.block.length())).unwrap_or(u128::MAX)
    }

    fn address(&self, offset: u128) -> IpAddr {
        match self.block.address() {
            IpAddr::V4(base) => {
                let offset = u32::try_from(offset).expect("an offset in an IPv4 block fits 32 bits");
                IpAddr::V4(Ipv4Addr::from_bits(base.to_bits() + offset))
            }
            IpAddr::V6(base) => IpAddr::V6(Ipv6Addr::from_bits(base.to_bits() + offset)),
        }
    }

    fn offset(&self, address: IpAddr) -> Option<u128> {
        if !self.block.contains(address) {
            return None;
        }
        Some(match (address, self.block.address()) {
            (IpAddr::V4(address), IpAddr::V4(base)) => u128::from(address.to_bits() - base.to_bits()),
            (IpAddr::V6(address), IpAddr::V6(base)) => address.to_bits() - base.to_bits(),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(block: &str, length: u8) -> Pool {
        Pool::new(Cidr::new(block.parse().unwrap(), length).unwrap())
    }

    #[test]
    fn addresses_come_in_order_and_come_back_last() {
        let mut pool = pool("10.0.0.0", 29);
        let taken: Vec<_> = (0..6).map(|_| pool.take().unwrap().to_string()).collect();
        assert_eq!(taken, ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6"]);
        assert_eq!(pool.take(), Err(PoolError::Exhausted(pool.block())));
        pool.release("10.0.0.2".parse().unwrap());
        assert_eq!(pool.take().unwrap().to_string(), "10.0.0.2");
    }

    #[test]
    fn a_freed_address_is_not_handed_out_at_once() {
        let mut pool = pool("10.0.0.0", 24);
        let first = pool.take().unwrap();
        pool.release(first);
        assert_eq!(pool.take().unwrap().to_string(), "10.0.0.2");
    }

    #[test]
    fn a_released_address_is_kept_back_for_its_quarantine() {
        let mut pool = pool("10.0.0.0", 30).with_quarantine(Duration::from_secs(3_600));
        let [first, second] = [pool.take().unwrap(), pool.take().unwrap()];
        assert_eq!(pool.take(), Err(PoolError::Exhausted(pool.block())));
        pool.release(first);
        assert_eq!(pool.take(), Err(PoolError::KeptBack(pool.block())));
        let mut pool = pool.with_quarantine(Duration::ZERO);
        pool.release(second);
        assert_eq!(pool.take(), Ok(first));
    }

    #[test]
    fn a_pool_continues_where_an_earlier_one_was() {
        let mut pool = pool("10.0.0.0", 24);
        pool.continue_after("10.0.0.9".parse().unwrap());
        assert_eq!(pool.take().unwrap().to_string(), "10.0.0.10");
        pool.continue_after("10.0.1.9".parse().unwrap());
        assert_eq!(pool.take().unwrap().to_string(), "10.0.0.11");
    }

    #[test]
    fn a_reserved_address_is_skipped_and_refused_to_others() {
        let mut pool = pool("fd00::", 64);
        let wanted = "fd00::1".parse().unwrap();
        pool.reserve(wanted).unwrap();
        assert_eq!(pool.reserve(wanted), Err(PoolError::Taken(wanted)));
        assert_eq!(pool.take().unwrap().to_string(), "fd00::2");
        assert_eq!(pool.reserve("192.0.2.1".parse().unwrap()), Ok(()));
    }
}
