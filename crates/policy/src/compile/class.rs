//! The classes of one policy: peers for whom it has the same answers share one, and its rows are written once.

use super::block::TrafficBlock;
use super::table::{Answer, Answers};
use crate::book::{L7SetId, RuleBook};
use crate::rule::{Action, Direction};
use abi::policy::{VerdictInfo, action};
use abi::row::Row;
use foldhash::HashMap;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Classes by number and by their verdicts in both directions.
#[derive(Clone, Debug, Default)]
pub(super) struct Classes {
    tables: Vec<Arc<Table>>,
    numbers: HashMap<Arc<Table>, u32>,
    sets: BTreeSet<L7SetId>,
}

/// The verdicts of a class in both directions.
type Table = [(Direction, TrafficBlock, VerdictInfo)];

impl Classes {
    /// The class of these answers, a new one where no other has the same.
    pub(super) fn with(
        &mut self,
        answers: impl IntoIterator<Item = (Direction, Answers)>,
        book: &mut RuleBook,
    ) -> u32 {
        let mut table = Vec::new();
        for (direction, answers) in answers {
            for (block, answer) in answers {
                table.push((direction, block, self.verdict(answer, book)));
            }
        }
        if let Some(number) = self.numbers.get(&*table) {
            return *number;
        }
        let table: Arc<Table> = table.into();
        let number = self.tables.len() as u32;
        self.tables.push(table.clone());
        self.numbers.insert(table, number);
        number
    }

    /// How many there are; the next new one has this number.
    pub(super) fn count(&self) -> usize {
        self.tables.len()
    }

    /// The rows of all classes from this one on.
    pub(super) fn rows(&self, policy: u32, first: usize) -> impl Iterator<Item = Row> {
        let classes = (0..).zip(&self.tables).skip(first);
        classes.flat_map(move |(class, table)| {
            table.iter().map(move |(direction, block, verdict)| {
                Row::Verdict(block.key(policy, class, *direction as u8), *verdict)
            })
        })
    }

    /// The sets of HTTP rules that rows name.
    pub(super) fn sets(&self) -> impl Iterator<Item = L7SetId> {
        self.sets.iter().copied()
    }

    /// Gives up the sets of HTTP rules.
    pub(super) fn release(self, book: &mut RuleBook) {
        self.sets.into_iter().for_each(|set| book.release_set(set));
    }

    fn verdict(&mut self, answer: Answer, book: &mut RuleBook) -> VerdictInfo {
        let rule = answer.rule.0;
        match (answer.action, answer.http) {
            (Action::Allow, Some(http)) => {
                let set = book.acquire_set(http);
                // Each set is held once, however many rows name it.
                if !self.sets.insert(set) {
                    book.release_set(set);
                }
                VerdictInfo { action: action::REDIRECT, rule, l7: set.0 }
            }
            (Action::Allow, None) => VerdictInfo { action: action::ALLOW, rule, l7: 0 },
            (Action::Deny | Action::Pass, _) => VerdictInfo { action: action::DENY, rule, l7: 0 },
        }
    }
}
