//! Circles between the files of a crate: files that can be understood only together.
//!
//! File A *needs* file B where the code of A names an item (a type, trait, function, constant or macro) that B
//! declares. A path is followed through re-exports to the file that declares the item. Three things make no arrow:
//! `mod b;`, a re-export (`pub use b::B;`) whose name the code of the file does not use, and what is compiled for
//! tests only. So a parent that declares and re-exports its children, and a child that uses a type of its parent, are
//! no circle. A parent whose code calls a child, and a child that uses a type of the parent, are a circle: to understand
//! either file, a reader must read the other and come back. Calls of methods make no arrow: the type of the receiver is
//! not known without a compiler.
//!
//! A circle is broken by moving the name that ties it to a file that both may know.

mod graph;
mod modules;
mod tokens;

use crate::tree::File;
use graph::Graph;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Files of one crate each of which needs every other, directly or through others.
#[derive(Debug)]
pub(crate) struct Circle {
    /// For each file of the circle, the files of the circle that it needs, with the names.
    arrows: Graph,
    /// The names whose move to another file would leave the fewest files in circles: the name, the file that declares
    /// the name, and the number of files that would be left.
    ties: Vec<(String, String, usize)>,
}

/// How many ties are shown.
const TIES: usize = 3;

/// Finds the circles of all crates, ordered by path.
pub(crate) fn find(files: &[File]) -> Vec<Circle> {
    let sources: BTreeSet<&str> = files.iter().filter_map(|file| source(&file.path)).collect();
    sources.into_iter().flat_map(|source| circles(&graph::graph(files, source))).collect()
}

/// The directory of a crate's sources that a file lies in.
fn source(path: &str) -> Option<&str> {
    let end = path.find("/src/")? + "/src".len();
    path.ends_with(".rs").then(|| &path[..end])
}

/// The circles of a crate.
fn circles(graph: &Graph) -> Vec<Circle> {
    let circle = |files: BTreeSet<&str>| {
        let mut arrows = graph.clone();
        arrows.retain(|file, needs| {
            needs.retain(|needed, _| files.contains(needed.as_str()));
            files.contains(file.as_str())
        });
        Circle { ties: ties(&arrows), arrows }
    };
    components(graph).into_iter().map(circle).collect()
}

/// The strongly connected components of more than one file.
fn components(graph: &Graph) -> Vec<BTreeSet<&str>> {
    let reached: BTreeMap<&str, BTreeSet<&str>> =
        graph.keys().map(|file| (file.as_str(), reached(graph, file))).collect();
    let component = |file: &str| -> BTreeSet<&str> {
        let there = reached[file].iter().copied();
        there.filter(|other| reached.get(other).is_some_and(|back| back.contains(file))).collect()
    };
    let components: BTreeSet<_> = graph.keys().map(|file| component(file)).collect();
    components.into_iter().filter(|files| files.len() > 1).collect()
}

/// The files that a file reaches by one arrow or more.
fn reached<'a>(graph: &'a Graph, from: &str) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut open: Vec<&str> = graph[from].keys().map(String::as_str).collect();
    while let Some(file) = open.pop() {
        if reached.insert(file) {
            open.extend(graph.get(file).into_iter().flat_map(BTreeMap::keys).map(String::as_str));
        }
    }
    reached
}

/// The names whose move would break the circle best.
fn ties(arrows: &Graph) -> Vec<(String, String, usize)> {
    let named = arrows.values().flatten();
    let names: BTreeSet<(&String, &String)> =
        named.flat_map(|(file, names)| names.iter().map(move |name| (name, file))).collect();
    let mut ties: Vec<_> = names
        .into_iter()
        .map(|(name, file)| (name.clone(), file.clone(), left_without(arrows, name, file)))
        .filter(|(_, _, left)| *left < arrows.len())
        .collect();
    ties.sort_by_key(|(_, _, left)| *left);
    ties.truncate(TIES);
    ties
}

/// How many files would be in circles if the file did not declare the name.
fn left_without(arrows: &Graph, name: &str, file: &str) -> usize {
    let mut arrows = arrows.clone();
    for needs in arrows.values_mut() {
        needs.get_mut(file).map(|names| names.remove(name));
        needs.retain(|_, names| !names.is_empty());
    }
    components(&arrows).iter().map(BTreeSet::len).sum()
}

impl Circle {
    /// The number of files in the circle.
    pub(crate) fn files(&self) -> usize {
        self.arrows.len()
    }

    /// The first file of the circle, by path.
    pub(crate) fn first_file(&self) -> &str {
        self.arrows.keys().next().map_or("", String::as_str)
    }
}

impl fmt::Display for Circle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let source = source(self.first_file()).unwrap_or_default();
        let short = |path: &str| path[source.len() + 1..].to_owned();
        writeln!(f, "{source}: a circle of {} files", self.arrows.len())?;
        for (file, needs) in &self.arrows {
            for (needed, names) in needs {
                let names: Vec<_> = names.iter().map(String::as_str).collect();
                writeln!(f, "    {} needs {} of {}", short(file), names.join(", "), short(needed))?;
            }
        }
        for (name, file, left) in &self.ties {
            writeln!(f, "    if {name} were not in {}, {left} files would be in circles", short(file))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> File {
        File { path: format!("crates/x/src/{path}"), text: text.into() }
    }

    #[test]
    fn a_circle_is_shown_with_the_names_that_tie_it() {
        let files = [
            file("lib.rs", "mod a; mod b; mod c; pub use a::run;"),
            file("a.rs", "use crate::b::B; pub struct A; pub fn run(_: B) {}"),
            file("b.rs", "use crate::c::C; pub struct B(C);"),
            file("c.rs", "use crate::a::A; pub struct C(A);"),
        ];
        let circles = find(&files);
        assert_eq!(circles.len(), 1);
        let shown = circles[0].to_string();
        assert!(
            shown.starts_with("crates/x/src: a circle of 3 files\n    a.rs needs B of b.rs\n"),
            "{shown}"
        );
        assert!(shown.contains("if A were not in a.rs, 0 files would be in circles"), "{shown}");
    }

    #[test]
    fn arrows_one_way_are_no_circle() {
        let files = [
            file("lib.rs", "mod a; mod b; pub use a::A;"),
            file("a.rs", "use crate::b::B; pub struct A(B);"),
            file("b.rs", "pub struct B; #[cfg(test)] mod tests { use crate::a::A; }"),
        ];
        assert!(find(&files).is_empty());
    }

    #[test]
    fn two_crates_are_looked_at_apart() {
        let other = |path: &str, text: &str| File { path: path.into(), text: text.into() };
        let files = [
            other("crates/x/src/lib.rs", "mod a; struct B(a::A);"),
            other("crates/x/src/a.rs", "pub struct A;"),
            other("programs/src/main.rs", "mod a;"),
            other("programs/src/a.rs", "use crate::B;"),
        ];
        assert!(find(&files).is_empty());
    }
}
