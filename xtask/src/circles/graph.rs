//! The files of a crate, and the names that each takes from another.

use super::modules::{Module, Path, modules};
use crate::tree::File;
use std::collections::{BTreeMap, BTreeSet};

/// For each file, the files whose items it names, with the names.
pub(super) type Graph = BTreeMap<String, BTreeMap<String, BTreeSet<String>>>;

/// The most re-exports that a path is followed through; a path that leads to itself ends here.
const LONGEST_WAY: usize = 16;

/// Reads the graph of the crate whose sources lie in `source`.
pub(super) fn graph(files: &[File], source: &str) -> Graph {
    let names = Names { modules: modules(files, source) };
    let mut graph = Graph::new();
    for (path, module) in &names.modules {
        let needs = graph.entry(module.file.clone()).or_default();
        for wanted in paths_that_count(module) {
            if let Some(found) = names.resolve(path, wanted, 0).filter(|found| found.file != module.file) {
                needs.entry(found.file).or_default().insert(found.name);
            }
        }
    }
    graph
}

/// A private import counts, and so does each path in the code; a re-export counts only where the code mentions it.
fn paths_that_count(module: &Module) -> impl Iterator<Item = &Path> {
    let imported = module.uses.values().filter(|used| !used.is_public).map(|used| &used.path);
    imported.chain(&module.mentions)
}

struct Names {
    modules: BTreeMap<Path, Module>,
}

/// The item that a path leads to.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    file: String,
    name: String,
}

impl Names {
    /// Finds the item that a path in the module `from` names; none where it is a module, or not of this crate.
    fn resolve(&self, from: &[String], path: &[String], way: usize) -> Option<Found> {
        let (first, rest) = path.split_first()?;
        match first.as_str() {
            "crate" => self.walk(Vec::new(), rest, way),
            "self" => self.walk(from.to_vec(), rest, way),
            "super" => self.walk(from.split_last()?.1.to_vec(), rest, way),
            _ => self.walk_known(from, path, way),
        }
    }

    /// Follows a path from a module of this crate. A name that the text of the module does not declare comes from a
    /// macro, and counts as declared in the module.
    fn walk(&self, mut module: Path, path: &[String], way: usize) -> Option<Found> {
        let (first, rest) = path.split_first()?;
        if first == "super" {
            module.pop();
            return self.walk(module, rest, way);
        }
        let declared_here = || {
            let file = self.modules.get(&module)?.file.clone();
            Some(Found { file, name: first.clone() })
        };
        if self.knows(&module, first, way) { self.walk_known(&module, path, way) } else { declared_here() }
    }

    /// Follows a path whose first name the module declares, imports or re-exports.
    fn walk_known(&self, from: &[String], path: &[String], way: usize) -> Option<Found> {
        let (first, rest) = path.split_first()?;
        let module = self.modules.get(from)?;
        if module.items.contains(first) {
            return Some(Found { file: module.file.clone(), name: first.clone() });
        }
        let child = [from, std::slice::from_ref(first)].concat();
        if self.modules.contains_key(&child) {
            return self.walk(child, rest, way);
        }
        if way > LONGEST_WAY {
            return None;
        }
        if let Some(used) = module.uses.get(first) {
            // A name that leads to itself: `use x::x;` of another crate.
            let whole = [&used.path, rest].concat();
            return (whole != path).then(|| self.resolve(from, &whole, way + 1)).flatten();
        }
        let globs = module.globs.iter().filter_map(|glob| self.module_of(from, glob, way));
        let mut known = globs.filter(|glob| self.knows(glob, first, way + 1));
        known.next().and_then(|glob| self.walk_known(&glob, path, way + 1))
    }

    /// Whether a name is declared, imported or re-exported by a module, or is a module in it.
    fn knows(&self, from: &[String], name: &str, way: usize) -> bool {
        let Some(module) = self.modules.get(from) else { return false };
        let child: Path = from.iter().cloned().chain([name.to_owned()]).collect();
        let is_by_glob = |glob: &Path| {
            way <= LONGEST_WAY
                && self.module_of(from, glob, way).is_some_and(|glob| self.knows(&glob, name, way + 1))
        };
        module.items.contains(name)
            || module.uses.contains_key(name)
            || self.modules.contains_key(&child)
            || module.globs.iter().any(is_by_glob)
    }

    /// The module of this crate that a path names.
    fn module_of(&self, from: &[String], path: &[String], way: usize) -> Option<Path> {
        let (first, rest) = path.split_first()?;
        let (mut module, rest) = match first.as_str() {
            "crate" => (Vec::new(), rest),
            "self" => (from.to_vec(), rest),
            _ => (from.to_vec(), path),
        };
        for name in rest {
            if name == "super" {
                module.pop();
                continue;
            }
            let used = self.modules.get(&module).and_then(|known| known.uses.get(name));
            let child: Path = module.iter().chain([name]).cloned().collect();
            module = match used {
                _ if self.modules.contains_key(&child) => child,
                Some(used) if way <= LONGEST_WAY => self.module_of(&module, &used.path, way + 1)?,
                _ => return None,
            };
        }
        Some(module)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The arrows of a crate with these files.
    fn arrows(files: &[(&str, &str)]) -> Vec<String> {
        let file = |(path, text): &(&str, &str)| File { path: format!("x/src/{path}"), text: (*text).into() };
        let files: Vec<File> = files.iter().map(file).collect();
        let mut arrows = Vec::new();
        for (from, needs) in graph(&files, "x/src") {
            for (to, names) in needs {
                let short = |path: &str| path.trim_start_matches("x/src/").trim_end_matches(".rs").to_owned();
                let names: Vec<_> = names.into_iter().collect();
                arrows.push(format!("{}->{}:{}", short(&from), short(&to), names.join(",")));
            }
        }
        arrows
    }

    #[test]
    fn a_re_export_leads_to_the_file_that_declares() {
        let files = [
            ("lib.rs", "mod a; mod b; pub use a::A;"),
            ("a.rs", "pub struct A;"),
            ("b.rs", "use crate::A; fn c() { crate::a::D::new() }"),
        ];
        assert_eq!(arrows(&files), ["b->a:A,D"]);
    }

    #[test]
    fn a_parent_that_declares_and_re_exports_needs_nothing() {
        let files =
            [("lib.rs", "mod a; pub use a::A; pub struct B;"), ("a.rs", "use super::B; pub struct A(B);")];
        assert_eq!(arrows(&files), ["a->lib:B"]);
        let files =
            [("lib.rs", "mod a; pub use a::A; struct B(A);"), ("a.rs", "use super::B; pub struct A(B);")];
        assert_eq!(arrows(&files), ["a->lib:B", "lib->a:A"]);
    }

    #[test]
    fn a_module_that_is_imported_counts_by_what_is_named_of_it() {
        let files = [
            ("lib.rs", "mod a; mod b;"),
            ("a.rs", "use crate::b::{self, B as Other}; fn c() { b::made(); }"),
            ("b.rs", "pub struct B; pub fn made() {} pub fn other() {}"),
        ];
        assert_eq!(arrows(&files), ["a->b:B,made"]);
    }

    #[test]
    fn inner_modules_are_of_their_file_and_globs_are_followed() {
        let files = [
            ("lib.rs", "mod a; mod b;"),
            (
                "a.rs",
                "use super::b::*; mod inner { use crate::b::flag::X; fn y() { super::super::b::z() } } fn v(_: B) {}",
            ),
            ("b.rs", "pub struct B; pub mod flag { pub const X: u8 = 1; } pub fn z() {}"),
        ];
        assert_eq!(arrows(&files), ["a->b:B,X,z"]);
    }

    #[test]
    fn names_of_other_crates_and_of_locals_are_no_arrows() {
        let files = [
            ("lib.rs", "mod a; mod flow; use std::fmt; pub use flow::report;"),
            ("a.rs", "use flow::Event; use serde::*; fn x(flow: u8, report: u8) -> u8 { flow + report }"),
            ("flow.rs", "pub fn report() {}"),
        ];
        assert_eq!(arrows(&files), [""; 0]);
    }
}
