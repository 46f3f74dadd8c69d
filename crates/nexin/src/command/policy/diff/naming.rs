//! What groups and ports are called in differences, where their own names would say too much.

use super::traffic::PortNames;
use policy::rule::Cidr;
use std::collections::BTreeSet;

/// What is behind the names of a comparison.
#[derive(Debug, Default)]
pub(super) struct Naming {
    /// The blocks that were query about: each stands for its addresses that are in none of the others within it.
    pub(super) blocks: BTreeSet<Cidr>,
    /// The ports whose numbers were made up.
    pub(super) ports: PortNames,
}

/// Behind the name of a node: as its own workloads see it.
pub(super) const LOCAL: &str = " (local)";

impl Naming {
    /// The names as they are told: a block with what lies in it and is not meant.
    pub(super) fn names(&self, names: &BTreeSet<String>) -> Vec<String> {
        names.iter().map(|name| self.block(name, names)).collect()
    }

    fn block(&self, name: &str, names: &BTreeSet<String>) -> String {
        let Some(block) = self.blocks.iter().find(|block| block.to_string() == name) else {
            return name.to_owned();
        };
        let inner = self.blocks.iter().filter(|one| *one != block && block.encloses(one));
        let others: Vec<&Cidr> = inner.filter(|one| !names.contains(&one.to_string())).collect();
        let is_within = |one: &&Cidr| others.iter().any(|other| other != one && other.encloses(one));
        let outermost = others.iter().filter(|one| !is_within(one)).map(ToString::to_string);
        match outermost.collect::<Vec<_>>() {
            none if none.is_empty() => name.to_owned(),
            except => format!("{name} except {}", except.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_told_without_what_lies_in_it_and_does_not_change() {
        let cidr = |text: &str| {
            let (address, length) = text.split_once('/').unwrap();
            Cidr::new(address.parse().unwrap(), length.parse().unwrap()).unwrap()
        };
        let blocks = ["10.0.0.0/8", "10.96.0.0/12", "10.96.0.0/13", "10.97.0.0/16"].map(cidr).into();
        let naming = Naming { blocks, ports: PortNames::new() };
        let check = |names: &[&str], expected: &[&str]| {
            let names = names.iter().map(|name| (*name).to_owned()).collect();
            assert_eq!(naming.names(&names), expected);
        };
        check(&["10.96.0.0/12"], &["10.96.0.0/12 except 10.96.0.0/13"]);
        check(
            &["10.0.0.0/8", "10.96.0.0/12"],
            &["10.0.0.0/8 except 10.96.0.0/13", "10.96.0.0/12 except 10.96.0.0/13"],
        );
        check(&["10.96.0.0/13", "10.97.0.0/16", "world"], &["10.96.0.0/13", "10.97.0.0/16", "world"]);
    }
}
