//! The names of ends and ports in differences.

use super::traffic::PortNames;
use policy::rule::Cidr;
use std::collections::BTreeSet;

/// What is needed to print the names of a comparison.
#[derive(Debug, Default)]
pub(super) struct Naming {
    /// The compared blocks: each represents its addresses that are in no other block within it.
    pub(super) blocks: BTreeSet<Cidr>,
    /// The named ports with generated numbers.
    pub(super) ports: PortNames,
}

/// Suffix of a node's name for the node as its own workloads see it.
pub(super) const LOCAL: &str = " (local)";

impl Naming {
    /// The printed names: a block with the blocks within it that are excluded.
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
    fn a_block_is_printed_with_the_excluded_blocks_within_it() {
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
