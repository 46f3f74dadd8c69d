//! The positions of policies and their rules in files, for later findings.

use crate::item::Item;
use policy::rule::{Policy, PolicyId};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// The positions of policies, and of their specs and rules by path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyPositions(BTreeMap<(PolicyId, Arc<str>), Position>);

/// A position in a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The file, as the caller named it.
    pub file: Arc<str>,
    /// Line, counted from 1.
    pub line: u32,
    /// Column, counted from 1.
    pub column: u32,
}

impl PolicyPositions {
    /// The position of a policy's field: of a [`Rule::place`](policy::rule::Rule::place), `spec`, `specs[0]`, or an
    /// empty path for the policy itself. A deeper path has the position of the spec or rule around it.
    pub fn position_of(&self, policy: &PolicyId, path: &str) -> Option<&Position> {
        let ends = path.rmatch_indices(['.', '[']).map(|(end, _)| end);
        let paths = [path.len()].into_iter().chain(ends).map(|end| &path[..end]).chain([""]);
        paths.into_iter().find_map(|path| self.0.get(&(policy.clone(), path.into())))
    }

    /// Adds the positions of another file. If both contain a policy, the other file's positions win.
    pub fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// Records the positions of a policy that was read from this document.
    pub(crate) fn note(&mut self, policy: &Policy, document: &Item<'_>, file: &Arc<str>) {
        let rules = policy.specs.iter().flat_map(|spec| &spec.rules).map(|rule| rule.place.clone());
        let specs = (0..policy.specs.len()).map(|index| format!("specs[{index}]").into());
        for path in rules.chain(specs).chain(["spec".into(), "".into()]) {
            let Some((line, column)) = document.place_of(&path) else { continue };
            let position = Position { file: file.clone(), line, column };
            self.0.insert((policy.id.clone(), path), position);
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}
