//! The rows that the stages read, and the few that they write.

use crate::policy::PolicyRows;
use abi::address::{AddressInfo, AddressKey};
use abi::config::Config;
use abi::conntrack::{ConnInfo, ConnKey, FragmentInfo, FragmentKey};
use abi::endpoint::{EndpointInfo, EndpointKey};
use abi::event::FlowEvent;
use abi::service::{BackendInfo, BackendKey, ServiceInfo, ServiceKey};
use core::ops::DerefMut;

/// Access to the maps of [`abi::map`] and to the clock.
pub trait Maps: PolicyRows {
    /// A connection's row, changed in place.
    type Connection<'a>: DerefMut<Target = ConnInfo>
    where
        Self: 'a;

    /// Nanoseconds of the monotonic clock; may lag by a few milliseconds.
    fn now(&self) -> u64;
    /// The node's configuration.
    fn config(&self) -> Option<&Config>;
    /// The workload behind an interface.
    fn endpoint(&self, key: &EndpointKey) -> Option<&EndpointInfo>;
    /// What is known of an address, by its longest prefix.
    fn address(&self, key: &AddressKey) -> Option<&AddressInfo>;
    /// The backends behind a service address.
    fn service(&self, key: &ServiceKey) -> Option<&ServiceInfo>;
    /// One backend.
    fn backend(&self, key: &BackendKey) -> Option<&BackendInfo>;
    /// A remembered connection, whether or not it has expired.
    fn connection(&self, key: &ConnKey) -> Option<Self::Connection<'_>>;
    /// Remembers a connection, in place of any that has its key; false where that failed.
    fn remember(&self, key: &ConnKey, row: &ConnInfo) -> bool;
    /// What the first fragment of a packet said.
    fn fragment(&self, key: &FragmentKey) -> Option<FragmentInfo>;
    /// Remembers what a first fragment said; false where that failed.
    fn remember_fragment(&self, key: &FragmentKey, ports: &FragmentInfo) -> bool;
    /// Adds one packet of `bytes` to row `index` of the counters.
    fn count(&self, index: u32, bytes: u32);
    /// Reports an event; an event that finds no room is lost.
    fn report(&self, event: FlowEvent);
}
