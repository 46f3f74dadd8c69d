//! Counts of a comparison: of each verdict, of the kinds and constructs that decided, and of intended differences.

use super::opinions::IncumbentVerdict;
use crate::constructs;
use manifest::test::Expect;
use policy::rule::Policy;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use testbed::EngineAnswer;

/// Counts by name.
pub(super) type Counts<K> = BTreeMap<K, usize>;

/// All counts.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) worlds: usize,
    pub(super) probes: usize,
    verdicts: Counts<(Expect, IncumbentVerdict)>,
    kinds: Counts<String>,
    constructs: Counts<&'static str>,
    on_purpose: Counts<String>,
    refused: Counts<String>,
}

/// The constructs of a world's rules, by the rules' names.
pub(super) type Constructs = BTreeMap<String, BTreeSet<&'static str>>;

/// The constructs of these policies.
pub(super) fn constructs(policies: &[Policy]) -> Constructs {
    constructs::by_rule(policies)
}

impl Tally {
    /// Counts a probe, whatever the verdicts are.
    pub(super) fn note(&mut self, ours: &EngineAnswer, theirs: IncumbentVerdict, constructs: &Constructs) {
        self.probes += 1;
        *self.verdicts.entry((ours.verdict, theirs)).or_default() += 1;
        let Some(rule) = &ours.rule else { return };
        let kind = rule.split_once('/').map_or(rule.as_str(), |(kind, _)| kind);
        *self.kinds.entry(kind.to_owned()).or_default() += 1;
        for construct in constructs.get(rule).into_iter().flatten() {
            *self.constructs.entry(construct).or_default() += 1;
        }
    }

    /// Counts an intended difference, by the readings that explain it.
    pub(super) fn note_difference(&mut self, readings: &[&str]) {
        *self.on_purpose.entry(readings.join(" and ")).or_default() += 1;
    }

    /// Counts a document that one side does not read.
    pub(super) fn note_refusal(&mut self, who: &str, kind: &str, why: &str) {
        *self.refused.entry(format!("{who}, {kind}: {}", gist(why))).or_default() += 1;
    }

    /// Panics where the worlds had too little variety.
    pub(super) fn check(&self) {
        if self.probes < 10_000 {
            return;
        }
        for (name, seen) in [
            ("allow", self.share(|ours, _| ours == Expect::Allow)),
            ("drop", self.share(|ours, _| ours == Expect::Drop)),
            ("deny", self.share(|ours, _| ours == Expect::Deny)),
        ] {
            assert!(seen * 200 > self.probes, "too one-sided: {seen} of {} are {name}", self.probes);
        }
        for kind in [
            "NetworkPolicy",
            "CiliumNetworkPolicy",
            "CiliumClusterwideNetworkPolicy",
            "ClusterNetworkPolicy",
            "AdminNetworkPolicy",
            "BaselineAdminNetworkPolicy",
        ] {
            assert!(self.kinds.contains_key(kind), "{kind} never decides");
        }
        assert!(self.constructs.len() >= 24, "some constructs never decide: {:?}", self.constructs);
    }

    fn share(&self, is_meant: impl Fn(Expect, IncumbentVerdict) -> bool) -> usize {
        self.verdicts
            .iter()
            .filter(|((ours, theirs), _)| is_meant(*ours, *theirs))
            .map(|(_, count)| count)
            .sum()
    }
}

/// A message without its quotations, so that messages of one kind are counted together.
fn gist(message: &str) -> String {
    let mut quoted = false;
    let mut gist = String::new();
    for one in message.lines().next().unwrap_or_default().chars() {
        match one {
            '"' | '`' => {
                quoted = !quoted;
                gist.push(one);
            }
            _ if quoted || one.is_ascii_digit() => {}
            other => gist.push(other),
        }
    }
    gist.chars().take(110).collect()
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} probes in {} worlds", self.probes, self.worlds)?;
        writeln!(f, "  verdicts, ours and the incumbent's:")?;
        for ((ours, theirs), count) in &self.verdicts {
            writeln!(
                f,
                "    {count:>8}  {} {}",
                testbed::Judged(*ours),
                format!("{theirs:?}").to_lowercase()
            )?;
        }
        let section = |f: &mut fmt::Formatter<'_>, title: &str, counts: Vec<(String, usize)>| {
            writeln!(f, "  {title}:")?;
            counts.into_iter().try_for_each(|(name, count)| writeln!(f, "    {count:>8}  {name}"))
        };
        let of =
            |counts: &Counts<String>| counts.iter().map(|(name, count)| (name.clone(), *count)).collect();
        section(f, "a rule of this kind decided", of(&self.kinds))?;
        let constructs = self.constructs.iter().map(|(name, count)| ((*name).to_owned(), *count));
        section(f, "this construct decided", constructs.collect())?;
        section(f, "documents that one side refuses, left out", of(&self.refused))?;
        section(f, "different on purpose, by the names of docs/differences.md", of(&self.on_purpose))
    }
}
