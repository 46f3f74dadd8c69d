//! Addresses from one block, each the next free one after the last address that was taken.

use policy::rule::Cidr;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

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
}

/// The reason why an address cannot be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PoolError {
    /// Every address is taken.
    #[error("all addresses of {0} are taken; free one by removing a workload, or configure a larger block")]
    Exhausted(Cidr),
    /// The address is in use.
    #[error("address {0} is taken already")]
    Taken(IpAddr),
}

impl Pool {
    /// A pool with all addresses free.
    pub fn new(block: Cidr) -> Self {
        Self { block, taken: BTreeSet::new(), last: 0 }
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
        // One step more than there are taken addresses reaches a free one, if there is one.
        let steps = usable.min(self.taken.len() as u128 + 1);
        for step in 0..steps {
            let offset = 1 + (self.last + step) % usable;
            if self.taken.insert(offset) {
                self.last = offset;
                return Ok(self.address(offset));
            }
        }
        Err(PoolError::Exhausted(self.block))
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
        if let Some(offset) = self.offset(address) {
            self.taken.remove(&offset);
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
    fn a_reserved_address_is_skipped_and_refused_to_others() {
        let mut pool = pool("fd00::", 64);
        let wanted = "fd00::1".parse().unwrap();
        pool.reserve(wanted).unwrap();
        assert_eq!(pool.reserve(wanted), Err(PoolError::Taken(wanted)));
        assert_eq!(pool.take().unwrap().to_string(), "fd00::2");
        assert_eq!(pool.reserve("192.0.2.1".parse().unwrap()), Ok(()));
    }
}
