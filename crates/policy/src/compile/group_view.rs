//! A group of peers as rules see it, and the class of its cell in each column.

use super::part::Difference;
use super::rules::RulesByDirection;
use super::table::{self, Around};
use crate::book::RuleBook;
use crate::class::ClassId;
use crate::directory::FacetId;
use crate::grouping::{Profile, merged};

/// A group and the attributes of its peers that rules can match.
#[derive(Clone, Copy, Debug)]
pub(super) struct GroupView<'a> {
    pub(super) group: u32,
    pub(super) profile: &'a Profile,
    /// All facets of its peers, in order.
    pub(super) facets: &'a [FacetId],
}

impl GroupView<'_> {
    /// The class of the group in one part, with a reference added: for the root part the class of all verdicts, for any
    /// other part the class of the verdicts that differ from those of the part around it. None without such verdicts.
    pub(super) fn class(
        &self,
        difference: &Difference,
        (rules, around): (&RulesByDirection<'_>, &mut Around),
        book: &mut RuleBook,
    ) -> Option<ClassId> {
        let ports = &self.profile.ports;
        around.enter(merged(self.facets, &difference.around), ports, rules);
        let answers = if difference.is_root() {
            rules.each(|rules, direction| table::answers(rules, direction, around))
        } else {
            let after = merged(self.facets, &difference.within);
            rules.each(|rules, direction| table::changes((rules, direction), around, &after, ports))
        };
        let has_answers = answers.iter().any(|(_, answers)| !answers.is_empty());
        has_answers.then(|| table::class(answers, book))
    }
}
