//! The submitted policies together with the owners of the numbers in them.

use crate::book::RuleBook;
use crate::catalog::Catalog;
use crate::compiled_rule::Numbers;
use crate::directory::Directory;
use crate::rule::{Policy, PolicyId};
use crate::set::{Changed, PolicySet};
use std::sync::Arc;

/// The submitted policies, the peers that their rules match, and the numbers that stand for rules and verdicts in rows.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    /// The policies, and which of their specs apply to a subject.
    pub policies: PolicySet,
    /// The peers, and the facets by which rules distinguish them.
    pub directory: Directory,
    /// Rules, sets of HTTP rules, columns and classes by number.
    pub book: RuleBook,
}

impl Registry {
    /// No policy is submitted, and only the reserved peers are known.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts a policy into force, in place of the one with its name; the replaced policy is returned, with its references
    /// resolved.
    pub fn put(&mut self, policy: Policy) -> Option<Arc<Policy>> {
        let Self { policies, directory, book } = self;
        policies.apply(policy, &mut Numbers { directory, book })
    }

    /// Takes a policy out of force, and returns it with its references resolved. Its facets are held until
    /// [`Self::release_removed`].
    pub fn remove(&mut self, id: &PolicyId) -> Option<Arc<Policy>> {
        let removed = self.policies.remove(id)?;
        self.book.forget(id);
        Some(removed)
    }

    /// Changes the objects that policies refer to; the policies whose references have another meaning now are returned.
    pub fn refer(&mut self, change: impl FnOnce(&mut Catalog)) -> Vec<Changed> {
        let Self { policies, directory, book } = self;
        policies.refer(change, &mut Numbers { directory, book })
    }

    /// Releases the facets of policies that are out of force, once no compiled policy uses them.
    pub fn release_removed(&mut self) {
        self.policies.release_removed(&mut self.directory);
    }
}
