//! The domain names that addresses were resolved from.

use crate::domain::canonical_name;
use crate::endpoint_view::NO_NAMES;
use identity::SharedMap;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

/// Addresses with their domain names; clones share them. An address without names has no entry.
///
/// An address with an entry has a CIDR class of its own ([`crate::cidr::Blocks::insert_address`]). Compiled policies
/// that match domain names have a column row for it ([`crate::compile::CompiledPolicy::set_names`]).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DomainNames(SharedMap<IpAddr, Arc<BTreeSet<String>>>);

impl DomainNames {
    /// No address has a name.
    pub fn new() -> Self {
        Self::default()
    }

    /// Replaces the names of an address, and returns the names it had.
    pub fn put<'a>(&mut self, address: IpAddr, names: impl IntoIterator<Item = &'a str>) -> BTreeSet<String> {
        let names: BTreeSet<String> = names.into_iter().map(canonical_name).collect();
        let before =
            if names.is_empty() { self.0.remove(&address) } else { self.0.insert(address, Arc::new(names)) };
        before.map(Arc::unwrap_or_clone).unwrap_or_default()
    }

    /// The names of an address.
    pub fn of(&self, address: IpAddr) -> &BTreeSet<String> {
        self.0.get(&address).map_or(NO_NAMES, |names| names)
    }

    /// All addresses with names.
    pub fn iter(&self) -> impl Iterator<Item = (IpAddr, &BTreeSet<String>)> {
        self.0.iter().map(|(address, names)| (*address, &**names))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_replaced_and_written_one_way() {
        let mut names = DomainNames::new();
        let address = "198.51.100.7".parse().unwrap();
        assert_eq!(names.put(address, ["WWW.example.com."]), BTreeSet::new());
        assert_eq!(names.of(address), &BTreeSet::from(["www.example.com".to_owned()]));
        assert_eq!(names.put(address, []).len(), 1);
        assert_eq!((names.of(address).len(), names.iter().count()), (0, 0));
    }
}
