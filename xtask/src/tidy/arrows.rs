//! Arrows between crates: a crate's dependencies must be the crates that its Cargo.toml permits.
//!
//! A crate of a ring knows crates of inner rings; within the first ring crates may know one another. The crates outside
//! the rings (the test engines, the programs of the kernel, the chores) are known only by a crate that may know all.

use super::finding::{Finding, at};
use crate::tree::{Crate, Knows};

/// Dependencies without a permission or outward, permissions without a dependency, and crates without permissions.
pub(super) fn outward(crates: &[Crate]) -> Vec<Finding> {
    crates.iter().flat_map(|one| of_crate(one, crates)).collect()
}

fn of_crate(of: &Crate, crates: &[Crate]) -> Vec<Finding> {
    let finding = |message: String| at(&of.manifest, 1, message);
    let allowed = match &of.knows {
        None => {
            return vec![finding(
                "no `knows` in [package.metadata.nexin]: the crates that it may know".into(),
            )];
        }
        Some(Knows::All) => return Vec::new(),
        Some(Knows::Only(allowed)) => allowed,
    };
    let known: Vec<&str> = of.known(crates).map(|known| known.name.as_str()).collect();
    let forbidden = known.iter().filter(|known| !allowed.iter().any(|name| name == *known));
    let forbidden = forbidden
        .map(|known| finding(format!("`{}` must not know `{known}`; it may know {allowed:?}", of.name)));
    let unused = allowed.iter().filter(|name| !known.contains(&name.as_str()));
    let unused =
        unused.map(|name| finding(format!("`{}` may know `{name}`, and does not: remove it", of.name)));
    let outer = of.known(crates).filter(|known| !is_inner(known, of));
    let outer = outer.map(|known| {
        finding(format!("`{}` must not know `{}`: only crates of inner rings", of.name, known.name))
    });
    forbidden.chain(unused).chain(outer).collect()
}

/// Whether a crate lies in an inner ring of another's, or both lie in the first ring.
fn is_inner(known: &Crate, of: &Crate) -> bool {
    match (known.ring, of.ring) {
        (Some(known), Some(of)) => known < of || known == 1 && of == 1,
        (Some(_), None) => true,
        (None, _) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str, ring: Option<u64>) -> Crate {
        Crate { name: name.into(), ring, knows: Some(Knows::Only(vec![])), ..Crate::default() }
    }

    fn knowing(name: &str, ring: Option<u64>, dependencies: &[&str], knows: &[&str]) -> Crate {
        Crate {
            dependencies: dependencies.iter().map(|name| format!("nexin-{name}")).collect(),
            knows: Some(Knows::Only(knows.iter().map(|name| (*name).to_owned()).collect())),
            ..named(name, ring)
        }
    }

    fn messages(one: Crate) -> Vec<String> {
        let others = [("abi", Some(1)), ("control", Some(2)), ("loader", Some(3)), ("testbed", None)];
        let mut crates = vec![one];
        crates.extend(others.map(|(name, ring)| named(name, ring)));
        outward(&crates).into_iter().map(|finding| finding.message).collect()
    }

    #[test]
    fn an_arrow_without_a_permission_is_found() {
        let found = messages(knowing("policy", Some(1), &["abi", "serde"], &[]));
        assert_eq!(found, ["`policy` must not know `abi`; it may know []"]);
        assert_eq!(messages(knowing("policy", Some(1), &["abi", "serde"], &["abi"])), [""; 0]);
    }

    #[test]
    fn an_arrow_outward_is_found_though_it_is_permitted() {
        let found = messages(knowing("policy", Some(1), &["control"], &["control"]));
        assert_eq!(found, ["`policy` must not know `control`: only crates of inner rings"]);
    }

    #[test]
    fn adapters_do_not_know_one_another_and_no_crate_of_a_ring_knows_the_tests() {
        assert_eq!(messages(knowing("proxy", Some(3), &["loader"], &["loader"])).len(), 1);
        assert_eq!(messages(knowing("proxy", Some(3), &["testbed"], &["testbed"])).len(), 1);
    }

    #[test]
    fn a_permission_that_is_not_used_is_found() {
        assert_eq!(
            messages(knowing("flow", Some(1), &[], &["abi"])),
            ["`flow` may know `abi`, and does not: remove it"]
        );
    }

    #[test]
    fn a_crate_that_says_nothing_is_found() {
        let found = messages(Crate { knows: None, ..named("gossip", Some(1)) });
        assert!(found[0].starts_with("no `knows`"), "{found:?}");
    }

    #[test]
    fn roots_know_all_crates() {
        let root = Crate {
            knows: Some(Knows::All),
            ..knowing("agent", Some(4), &["loader", "control", "testbed"], &[])
        };
        assert_eq!(messages(root), [""; 0]);
    }
}
