//! The maps as the stages see them: which of [`abi::map`] a stage can read, and which the packet path writes.
//!
//! What a stage may do with a map follows from the map's line in the list: [`Find`] for those that only user space writes,
//! [`Keep`] for those that packets write. A new map needs nothing here.

use crate::policy::PolicyRows;
use abi::Address;
use abi::address::{AddressInfo, AddressKey};
use abi::config::Config;
use abi::conntrack::{ConnKey, FragmentInfo, FragmentKey};
use abi::endpoint::{EndpointInfo, EndpointKey};
use abi::event::FlowEvent;
use abi::map::{self, Map};
use abi::service::{BackendInfo, BackendKey, ServiceInfo, ServiceKey};
use abi::with_maps;
use core::ops::DerefMut;

/// What a packet finds out about an address and the packets after it need not look up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AddressFact {
    /// The address is not the node's own.
    Foreign,
    /// Workloads send packets to the address under their own addresses.
    Unmasqueraded,
}

/// A map that packets do not write.
pub trait Find<M: Map> {
    /// The entry of a key; of a trie the one with the longest prefix.
    fn find(&self, key: &M::Key) -> Option<&M::Value>;
}

/// A map that packets write.
pub trait Keep<M: Map> {
    /// An entry, changed in place.
    type Entry<'a>: DerefMut<Target = M::Value>
    where
        Self: 'a;

    /// The entry of a key.
    fn find_mut(&self, key: &M::Key) -> Option<Self::Entry<'_>>;

    /// Inserts an entry, or replaces the one with its key; false where that failed.
    fn insert(&self, key: &M::Key, value: &M::Value) -> bool;

    /// Inserts an entry whose key has none; false where it has one, and where that failed.
    fn insert_new(&self, key: &M::Key, value: &M::Value) -> bool;

    /// Removes the entry of a key, if there is one.
    fn remove(&self, key: &M::Key);
}

/// Access to the maps and to the clock.
pub trait Maps: PolicyRows + Entries {
    /// Nanoseconds of the monotonic clock, and the same in seconds; may lag by a few milliseconds.
    fn clock(&self) -> (u64, u32);

    /// Adds one packet of `bytes` to the counter at `index`.
    fn count(&self, index: u32, bytes: u32);

    /// Reports an event; an event that finds no room is counted.
    fn report(&self, event: &FlowEvent);

    /// Whether the fact is known of an address, under this epoch; what is known may be forgotten at any time.
    fn knows(&self, fact: AddressFact, address: &Address, epoch: u32) -> bool;

    /// Remembers a fact of an address under this epoch, which was read before the address was looked up.
    fn remember(&self, fact: AddressFact, address: &Address, epoch: u32);

    /// The entry of a key; of a trie the one with the longest prefix.
    #[inline(always)]
    fn lookup<M: Map>(&self, _map: M, key: &M::Key) -> Option<&M::Value>
    where
        Self: Find<M>,
    {
        Find::<M>::find(self, key)
    }

    /// The entry of a key in a map that packets write, to be changed in place.
    #[inline(always)]
    fn lookup_mut<M: Map>(&self, _map: M, key: &M::Key) -> Option<<Self as Keep<M>>::Entry<'_>>
    where
        Self: Keep<M>,
    {
        Keep::<M>::find_mut(self, key)
    }

    /// Inserts an entry, or replaces the one with its key; false where that failed.
    #[inline(always)]
    fn update<M: Map>(&self, _map: M, key: &M::Key, value: &M::Value) -> bool
    where
        Self: Keep<M>,
    {
        Keep::<M>::insert(self, key, value)
    }

    /// Inserts an entry whose key has none; false where it has one, and where that failed.
    #[inline(always)]
    fn claim<M: Map>(&self, _map: M, key: &M::Key, value: &M::Value) -> bool
    where
        Self: Keep<M>,
    {
        Keep::<M>::insert_new(self, key, value)
    }

    /// Removes the entry of a key from a map that packets write, if there is one.
    #[inline(always)]
    fn delete<M: Map>(&self, _map: M, key: &M::Key)
    where
        Self: Keep<M>,
    {
        Keep::<M>::remove(self, key);
    }

    /// The node's configuration.
    #[inline(always)]
    fn config(&self) -> Option<&Config> {
        self.lookup(map::Config, &0)
    }

    /// The workload behind an interface.
    #[inline(always)]
    fn endpoint(&self, key: &EndpointKey) -> Option<&EndpointInfo> {
        self.lookup(map::Endpoints, key)
    }

    /// What is known of an address, by its longest prefix.
    #[inline(always)]
    fn address(&self, key: &AddressKey) -> Option<&AddressInfo> {
        self.lookup(map::Addresses, key)
    }

    /// The backends behind a service address.
    #[inline(always)]
    fn service(&self, key: &ServiceKey) -> Option<&ServiceInfo> {
        self.lookup(map::Services, key)
    }

    /// One backend.
    #[inline(always)]
    fn backend(&self, key: &BackendKey) -> Option<&BackendInfo> {
        self.lookup(map::Backends, key)
    }

    /// A remembered connection, whether or not it has expired.
    #[inline(always)]
    fn connection(&self, key: &ConnKey) -> Option<<Self as Keep<map::Conntrack>>::Entry<'_>> {
        self.lookup_mut(map::Conntrack, key)
    }

    /// The entry of a flow that nothing has answered, whether or not it has expired.
    #[inline(always)]
    fn opening(&self, key: &ConnKey) -> Option<<Self as Keep<map::Openings>>::Entry<'_>> {
        self.lookup_mut(map::Openings, key)
    }

    /// What the first fragment of a packet said.
    #[inline(always)]
    fn fragment(&self, key: &FragmentKey) -> Option<FragmentInfo> {
        self.lookup_mut(map::Fragments, key).map(|ports| *ports)
    }

    /// Remembers what a first fragment said; false where that failed.
    #[inline(always)]
    fn remember_fragment(&self, key: &FragmentKey, ports: &FragmentInfo) -> bool {
        self.update(map::Fragments, key, ports)
    }
}

/// Collects the bounds of [`Entries`] line by line, by the kinds of maps.
macro_rules! entries {
    (@map $bounds:tt $(#[$doc:meta])* $map:ident = $name:ident: Hash $($rest:tt)*) => {
        entries!(@rest $bounds [[Find<map::$map>]] $($rest)*);
    };
    (@map $bounds:tt $(#[$doc:meta])* $map:ident = $name:ident: LpmTrie $($rest:tt)*) => {
        entries!(@rest $bounds [[Find<map::$map>]] $($rest)*);
    };
    (@map $bounds:tt $(#[$doc:meta])* $map:ident = $name:ident: Array $($rest:tt)*) => {
        entries!(@rest $bounds [[Find<map::$map>]] $($rest)*);
    };
    (@map $bounds:tt $(#[$doc:meta])* $map:ident = $name:ident: LruHash $($rest:tt)*) => {
        entries!(@rest $bounds [[Keep<map::$map>]] $($rest)*);
    };
    // Counters, events and sockets have functions of their own.
    (@map $bounds:tt $(#[$doc:meta])* $map:ident = $name:ident: $kind:ident $($rest:tt)*) => {
        entries!(@rest $bounds [] $($rest)*);
    };
    (@rest [$($bounds:tt)*] [$($bound:tt)*] <$key:ty, $value:ty>, capacity $capacity:expr, in tests $small:expr,
     written by $writer:ident $(, row $row:ident)? $(, value $single:ident)?; $($rest:tt)*) => {
        entries!(@map [$($bounds)* $($bound)*] $($rest)*);
    };
    (@map [$([$($bound:tt)*])*]) => {
        /// Access to the entries of every map of the list.
        pub trait Entries: $($($bound)* +)* {}

        impl<T: $($($bound)* +)*> Entries for T {}
    };
    ($($list:tt)*) => {
        entries!(@map [] $($list)*);
    };
}

with_maps!(entries);
