//! Collects changed verdicts, merges equal ones, and prints them.

use super::naming::{LOCAL, Naming};
use super::traffic::{PortNames, TrafficRange, words};
use l7::HttpRule;
use serde::Serialize;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

/// The verdict on a connection, with its reason.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) struct ConnectionVerdict {
    /// `allow`, `deny` or `drop`.
    pub(super) verdict: String,
    /// The allowed requests; none if all are allowed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) requests: Option<Vec<String>>,
    /// The allowed requests as rules: for each side that restricts requests, the rules of which one must match.
    #[serde(skip)]
    pub(super) limits: RequestLimits,
    /// The rules that decide, or the default.
    pub(super) by: String,
}

/// For each side that restricts requests, the rules of which one must match.
pub(super) type RequestLimits = Vec<BTreeSet<HttpRule>>;

/// A cache of which limits allow the same requests.
#[derive(Debug, Default)]
pub(super) struct RequestEquivalence(RefCell<BTreeMap<[RequestLimits; 2], bool>>);

/// The verdicts before and after.
pub(super) type VerdictChange = [ConnectionVerdict; 2];

/// A change, and its connections: from each of `from` to each of `to`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Difference {
    from: Vec<String>,
    to: Vec<String>,
    /// The traffic: `80/TCP`, `every UDP port`, `anything`.
    traffic: Vec<String>,
    old: ConnectionVerdict,
    new: ConnectionVerdict,
    /// The number of recorded flows with this change, if flows were compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    flows: Option<usize>,
}

/// The changes, by ends.
#[derive(Debug, Default)]
pub(super) struct Changes {
    found: BTreeMap<Ends, BTreeMap<VerdictChange, Families>>,
    /// Ends whose connections to themselves were not compared.
    alone: BTreeSet<String>,
}

/// Sources and destinations.
type Ends = (Vec<String>, Vec<String>);
/// The traffic over IPv4 and over IPv6; none for a family that the ends do not share.
type Families = [Option<BTreeSet<TrafficRange>>; 2];

impl ConnectionVerdict {
    fn words(&self) -> String {
        match &self.requests {
            Some(requests) if self.verdict == "allow" && requests.is_empty() => "allow no request".to_owned(),
            Some(requests) if self.verdict == "allow" => format!("allow only {}", requests.join(" or ")),
            _ => self.verdict.clone(),
        }
    }
}

impl RequestEquivalence {
    /// Whether both allow the same traffic, whichever rules decide.
    pub(super) fn are(&self, old: &ConnectionVerdict, new: &ConnectionVerdict) -> bool {
        let same_limits = || {
            let limits = [old.limits.clone(), new.limits.clone()];
            let compare = |[old, new]: &[RequestLimits; 2]| l7::equivalence::is_same(old, new);
            *self.0.borrow_mut().entry(limits).or_insert_with_key(compare)
        };
        old.verdict == new.verdict
            && old.requests.is_some() == new.requests.is_some()
            && (old.limits == new.limits || same_limits())
    }
}

impl Changes {
    /// Adds the traffic from the first to the second whose verdict changes.
    pub(super) fn add(&mut self, ends: (&[String], &[String]), change: VerdictChange, families: Families) {
        let ends = (ends.0.to_vec(), ends.1.to_vec());
        self.found.entry(ends).or_default().insert(change, families);
    }

    /// Records that the connections of an end to itself were not compared.
    pub(super) fn leave_alone(&mut self, names: &[String]) {
        self.alone.extend(names.iter().cloned());
    }

    /// Merges the changes into as few differences as possible: first by equal destinations, then by equal sources.
    pub(super) fn differences(mut self, naming: &Naming) -> Vec<Difference> {
        self.forget_local_twins();
        let mut by_receiver = Senders::new();
        for ((from, to), changes) in self.found {
            for (change, families) in changes {
                let kind = (change, traffic(&families, &naming.ports));
                by_receiver.entry((to.clone(), kind)).or_default().extend(from.clone());
            }
        }
        let mut by_sender = BTreeMap::<(BTreeSet<String>, Kind), BTreeSet<String>>::new();
        for ((to, kind), from) in put_alike(by_receiver, &self.alone) {
            by_sender.entry((from, kind)).or_default().extend(to);
        }
        let differences = by_sender.into_iter().map(|((mut from, ([old, new], traffic)), to)| {
            // A single destination is no source of its own traffic.
            from.retain(|name| to.len() > 1 || !to.contains(name) || !self.alone.contains(name));
            Difference { from: naming.names(&from), to: naming.names(&to), traffic, old, new, flows: None }
        });
        differences.collect()
    }

    /// Removes the changes of a node as its own workloads see it, if they equal those that all others see.
    fn forget_local_twins(&mut self) {
        let common = |names: &[String]| -> Option<Vec<String>> {
            names.iter().map(|name| name.strip_suffix(LOCAL).map(str::to_owned)).collect()
        };
        let all = self.found.clone();
        for ((from, to), changes) in &mut self.found {
            let twins = [(common(from), Some(to.clone())), (Some(from.clone()), common(to))];
            for (from, to) in twins {
                let Some(twin) = from.zip(to).and_then(|ends| all.get(&ends)) else { continue };
                changes.retain(|change, families| twin.get(change) != Some(families));
            }
        }
    }
}

/// A change and its traffic.
type Kind = (VerdictChange, Vec<String>);
/// Sources, by destinations and change.
type Senders = BTreeMap<(Vec<String>, Kind), BTreeSet<String>>;

/// Adds a destination to its own sources if other destinations have the same sources: the differences can be merged
/// then, and a list of several destinations does not suggest connections of an end to itself.
fn put_alike(by_receiver: Senders, alone: &BTreeSet<String>) -> Senders {
    let with_itself = |to: &[String], from: &BTreeSet<String>| -> BTreeSet<String> {
        let itself = to.iter().filter(|name| to.len() == 1 && alone.contains(*name));
        from.iter().chain(itself).cloned().collect()
    };
    let mut counts = BTreeMap::<(BTreeSet<String>, Kind), usize>::new();
    for ((to, kind), from) in &by_receiver {
        let keys = BTreeSet::from([from.clone(), with_itself(to, from)]);
        keys.into_iter().for_each(|from| *counts.entry((from, kind.clone())).or_default() += 1);
    }
    let chosen = by_receiver.into_iter().map(|((to, kind), from)| {
        let count = |from: &BTreeSet<String>| counts.get(&(from.clone(), kind.clone())).copied().unwrap_or(0);
        let more = with_itself(&to, &from);
        let from = if count(&more) > count(&from) { more } else { from };
        ((to, kind), from)
    });
    chosen.collect()
}

impl Difference {
    /// A difference of recorded flows.
    pub(super) fn of_flows(
        ends: [String; 2],
        traffic: String,
        [old, new]: VerdictChange,
        flows: usize,
    ) -> Self {
        let [from, to] = ends.map(|end| vec![end]);
        Self { from, to, traffic: vec![traffic], old, new, flows: Some(flows) }
    }

    /// The number of recorded flows.
    pub(super) fn flows(&self) -> usize {
        self.flows.unwrap_or(0)
    }

    /// Whether more traffic is allowed than before.
    pub(super) fn opens(&self) -> bool {
        self.new.verdict == "allow" && (self.old.verdict != "allow" || self.new.requests.is_none())
    }

    /// The line with source, destination, traffic and verdicts.
    pub(super) fn headline(&self) -> String {
        let flows = match self.flows {
            None => String::new(),
            Some(1) => " (1 flow)".to_owned(),
            Some(flows) => format!(" ({flows} flows)"),
        };
        let (from, to, traffic) = (some(&self.from), some(&self.to), self.traffic.join(", "));
        format!("{from} -> {to}: {traffic}: {} -> {}{flows}", self.old.words(), self.new.words())
    }

    /// The lines with the deciding rules before and after.
    pub(super) fn grounds(&self) -> [String; 2] {
        [format!("    old: {}", self.old.by), format!("    new: {}", self.new.by)]
    }
}

/// The traffic of both families together, or of each family if they differ.
fn traffic(families: &Families, names: &PortNames) -> Vec<String> {
    let words = |ranges: &BTreeSet<TrafficRange>| words(ranges, names);
    let (v4, v6) = match families {
        [Some(v4), Some(v6)] => (v4, v6),
        [one, other] => return one.iter().chain(other).flat_map(words).collect(),
    };
    let ported = |ranges: &BTreeSet<TrafficRange>| -> BTreeSet<TrafficRange> {
        ranges.iter().filter(|range| !matches!(range.protocol, 1 | 58)).copied().collect()
    };
    if ported(v4) == ported(v6) {
        return words(&(v4 | v6));
    }
    let by = |ranges: &BTreeSet<TrafficRange>, family| -> Vec<String> {
        if ranges.is_empty() { Vec::new() } else { vec![format!("{} by {family}", words(ranges).join(", "))] }
    };
    [by(v4, "IPv4"), by(v6, "IPv6")].concat()
}

/// The first names, and the number of the others.
fn some(names: &[String]) -> String {
    match names.len() {
        0..=SHOWN => names.join(", "),
        many => format!("{} and {} more", names[..SHOWN].join(", "), many - SHOWN),
    }
}

/// Maximum number of names that are printed.
const SHOWN: usize = 3;
