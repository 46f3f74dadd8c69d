//! Which crate may know which: the table of the layout, and the arrows that break it.

use super::finding::{Finding, at};
use crate::tree::{Crate, short_name};

/// Each crate with the crates of the repository that it may be built from.
const ARROWS: &[(&str, Knows)] = &[
    // Ring 1: vocabulary.
    ("abi", Knows::Only(&[])),
    ("api", Knows::Only(&[])),
    ("datapath", Knows::Only(&["abi"])),
    ("l7", Knows::Only(&["abi"])),
    ("identity", Knows::Only(&["abi"])),
    ("policy", Knows::Only(&["abi", "identity", "l7"])),
    ("manifest", Knows::Only(&["identity", "policy", "service"])),
    ("service", Knows::Only(&["abi"])),
    ("flow", Knows::Only(&["abi"])),
    // Ring 2: pure logic.
    ("control", Knows::Only(&["abi", "identity", "policy", "service"])),
    // Ring 3: adapters, which never know one another; two of them speak route netlink by the same small crate below.
    ("netlink", Knows::Only(&[])),
    ("loader", Knows::Only(&["abi", "netlink"])),
    ("proxy", Knows::Only(&["abi", "l7"])),
    ("workload", Knows::Only(&["abi", "netlink"])),
    // Ring 4: roots, which put everything together, and what stands outside.
    ("agent", Knows::Everybody),
    ("nexin", Knows::Everybody),
    ("testbed", Knows::Everybody),
    ("programs", Knows::Only(&["abi", "datapath"])),
    ("xtask", Knows::Only(&[])),
];

/// The crates that a crate may be built from.
enum Knows {
    Only(&'static [&'static str]),
    Everybody,
}

/// The crates of the repository, by short name.
pub(super) fn is_ours(name: &str) -> bool {
    ARROWS.iter().any(|(ours, _)| *ours == name)
}

/// Arrows that the table does not have, and crates that it does not know.
pub(super) fn outward(crates: &[Crate]) -> Vec<Finding> {
    crates.iter().flat_map(of_crate).collect()
}

fn of_crate(of: &Crate) -> Vec<Finding> {
    let Some((_, knows)) = ARROWS.iter().find(|(name, _)| *name == of.name) else {
        return vec![at(
            &of.manifest,
            1,
            format!("crate `{}` has no row in the table of arrows (xtask)", of.name),
        )];
    };
    let Knows::Only(allowed) = knows else { return Vec::new() };
    let ours = of.dependencies.iter().map(|name| short_name(name)).filter(|name| is_ours(name));
    ours.filter(|name| !allowed.contains(name))
        .map(|name| {
            at(&of.manifest, 1, format!("`{}` must not know `{name}`; it may know {allowed:?}", of.name))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn knowing(name: &str, dependencies: &[&str]) -> Crate {
        let dependencies = dependencies.iter().map(|name| (*name).to_owned()).collect();
        Crate { name: name.into(), dependencies, ..Crate::default() }
    }

    #[test]
    fn an_arrow_outward_is_found() {
        let findings = outward(&[knowing("policy", &["nexin-abi", "nexin-control", "serde"])]);
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert!(findings[0].message.contains("`policy` must not know `control`"));
    }

    #[test]
    fn adapters_do_not_know_one_another() {
        assert_eq!(outward(&[knowing("proxy", &["nexin-loader"])]).len(), 1);
    }

    #[test]
    fn a_crate_without_a_row_is_found() {
        assert!(outward(&[knowing("gossip", &[])])[0].message.contains("no row"));
    }

    #[test]
    fn roots_know_everybody() {
        assert_eq!(outward(&[knowing("agent", &["nexin-loader", "nexin-proxy", "nexin-control"])]), []);
    }

    #[test]
    fn the_table_has_no_cycle_and_no_unknown_name() {
        for (index, (name, knows)) in ARROWS.iter().enumerate() {
            let Knows::Only(allowed) = knows else { continue };
            for known in *allowed {
                assert!(is_ours(known), "{name} knows {known}, which has no row");
                let Knows::Only(back) = &ARROWS.iter().find(|(other, _)| other == known).unwrap().1 else {
                    panic!("row {index}: {name} knows the root {known}");
                };
                assert!(!back.contains(name), "{name} and {known} know each other");
            }
        }
    }
}
