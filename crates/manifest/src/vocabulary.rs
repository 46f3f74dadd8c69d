//! The words that fields of the Cilium kinds accept, for a description of these kinds.

use crate::{cilium, icmp, selector};

/// The entities that a rule may list as peers.
pub fn entities() -> impl Iterator<Item = &'static str> {
    cilium::ENTITIES.iter().map(|(name, _)| *name)
}

/// The protocols of ports.
pub fn protocols() -> impl Iterator<Item = &'static str> {
    cilium::PROTOCOLS.iter().map(|(name, _)| *name)
}

/// The operators of selectors.
pub fn operators() -> impl Iterator<Item = &'static str> {
    selector::OPERATORS.iter().map(|(name, _)| *name)
}

/// The names of ICMP types, of both families.
pub fn icmp_types() -> impl Iterator<Item = &'static str> {
    let of_v4 = icmp::V4.iter().map(|(name, _)| *name);
    let only_v6 = icmp::V6.iter().map(|(name, _)| *name);
    of_v4.chain(only_v6.filter(|name| !icmp::V4.iter().any(|(known, _)| known == name)))
}
