//! How many entries each map has room for.

use crate::map::{Map, MapId};

/// The number of entries that each map has room for; of a ring buffer, bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacities([u32; MapId::COUNT]);

impl Capacities {
    /// The default of each map.
    pub const DEFAULT: Self = {
        let mut capacities = [0; MapId::COUNT];
        let mut index = 0;
        while index < MapId::COUNT {
            capacities[index] = MapId::ALL[index].default_capacity();
            index += 1;
        }
        Self(capacities)
    };

    /// Enough for a test or a benchmark, and quick to make.
    pub const SMALL: Self = {
        let mut capacities = [0; MapId::COUNT];
        let mut index = 0;
        while index < MapId::COUNT {
            capacities[index] = MapId::ALL[index].small_capacity();
            index += 1;
        }
        Self(capacities)
    };

    /// These capacities, but another for one map.
    ///
    /// # Panics
    ///
    /// Where the map has one entry for each index, whose number is no matter of choice.
    #[must_use]
    pub const fn with<M: Map>(mut self, _map: M, entries: u32) -> Self {
        assert!(M::ID.kind().has_capacity(), "the map has one entry for each index");
        self.0[M::ID as usize] = entries;
        self
    }

    /// The capacity of a map.
    pub const fn of(&self, map: MapId) -> u32 {
        self.0[map as usize]
    }
}

impl Default for Capacities {
    fn default() -> Self {
        Self::DEFAULT
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::map;

    #[test]
    fn a_capacity_is_chosen_for_one_map_and_the_others_stay() {
        let capacities = Capacities::SMALL.with(map::Classes, 8);
        assert_eq!(capacities.of(MapId::Classes), 8);
        assert_eq!(capacities.of(MapId::Groups), MapId::Groups.small_capacity());
        assert_eq!(Capacities::default().of(MapId::Config), 1);
    }
}
