//! What changes for whom: equal changes put together, and written down.

use super::naming::{LOCAL, Naming};
use super::traffic::{PortNames, TrafficRange, words};
use l7::HttpRule;
use serde::Serialize;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

/// What becomes of a connection.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) struct ConnectionVerdict {
    /// `allow`, `deny` or `drop`.
    pub(super) verdict: String,
    /// The requests that may pass on it; none: any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) requests: Option<Vec<String>>,
    /// The same as rules: of each side that limits them, those of which one must match.
    #[serde(skip)]
    pub(super) limits: Limits,
    /// The rules that decide, or what does.
    pub(super) by: String,
}

/// Of each side that limits requests, the rules of which one must match.
pub(super) type Limits = Vec<BTreeSet<HttpRule>>;

/// Which limits let the same requests pass: what was found once is not looked for again.
#[derive(Debug, Default)]
pub(super) struct RequestEquivalence(RefCell<BTreeMap<[Limits; 2], bool>>);

/// Before and after.
pub(super) type Change = [ConnectionVerdict; 2];

/// A change, and all connections that it is about: from each of `from` to each of `to`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Difference {
    from: Vec<String>,
    to: Vec<String>,
    /// What is sent: `80/TCP`, `every UDP port`, `anything`.
    traffic: Vec<String>,
    old: ConnectionVerdict,
    new: ConnectionVerdict,
    /// How many recorded flows are of this, where flows were query about.
    #[serde(skip_serializing_if = "Option::is_none")]
    flows: Option<usize>,
}

/// The changes that were found, by ends.
#[derive(Debug, Default)]
pub(super) struct Changes {
    found: BTreeMap<Ends, BTreeMap<Change, Families>>,
    /// Those who were not query about themselves.
    alone: BTreeSet<String>,
}

/// Senders and receivers.
type Ends = (Vec<String>, Vec<String>);
/// What is sent by IPv4, and what by IPv6; nothing of a family that the ends do not share.
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
    /// Whether both let the same through, whoever decides and however rules are written.
    pub(super) fn are(&self, old: &ConnectionVerdict, new: &ConnectionVerdict) -> bool {
        let same_limits = || {
            let limits = [old.limits.clone(), new.limits.clone()];
            let compare = |[old, new]: &[Limits; 2]| l7::equivalence::is_same(old, new);
            *self.0.borrow_mut().entry(limits).or_insert_with_key(compare)
        };
        old.verdict == new.verdict
            && old.requests.is_some() == new.requests.is_some()
            && (old.limits == new.limits || same_limits())
    }
}

impl Changes {
    /// Notes the ranges of traffic that change between the first and the second.
    pub(super) fn add(&mut self, ends: (&[String], &[String]), change: Change, families: Families) {
        let ends = (ends.0.to_vec(), ends.1.to_vec());
        self.found.entry(ends).or_default().insert(change, families);
    }

    /// Notes that somebody was not query about itself.
    pub(super) fn leave_alone(&mut self, names: &[String]) {
        self.alone.extend(names.iter().cloned());
    }

    /// The differences, as few as tell everything: first those with the same receivers, then those with the same senders
    /// are put together.
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
            // Who is the only receiver says nothing to itself.
            from.retain(|name| to.len() > 1 || !to.contains(name) || !self.alone.contains(name));
            Difference { from: naming.names(&from), to: naming.names(&to), traffic, old, new, flows: None }
        });
        differences.collect()
    }

    /// Forgets what a node sees as its own workloads do where it is the same as everybody sees.
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

/// A change and what is sent.
type Kind = (Change, Vec<String>);
/// Who sends, by receivers.
type Senders = BTreeMap<(Vec<String>, Kind), BTreeSet<String>>;

/// Adds a receiver to those who send to it where others have all of them for senders: between several, nobody takes it to
/// be about what each says to itself, and they can be told together.
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
    /// The difference of recorded flows.
    pub(super) fn of_flows(ends: [String; 2], traffic: String, [old, new]: Change, flows: usize) -> Self {
        let [from, to] = ends.map(|end| vec![end]);
        Self { from, to, traffic: vec![traffic], old, new, flows: Some(flows) }
    }

    /// Of how many recorded flows it is.
    pub(super) fn flows(&self) -> usize {
        self.flows.unwrap_or(0)
    }

    /// Whether more is let through than before.
    pub(super) fn opens(&self) -> bool {
        self.new.verdict == "allow" && (self.old.verdict != "allow" || self.new.requests.is_none())
    }

    /// Who, to whom, what, and what becomes of it.
    pub(super) fn headline(&self) -> String {
        let flows = match self.flows {
            None => String::new(),
            Some(1) => " (1 flow)".to_owned(),
            Some(flows) => format!(" ({flows} flows)"),
        };
        let (from, to, traffic) = (some(&self.from), some(&self.to), self.traffic.join(", "));
        format!("{from} -> {to}: {traffic}: {} -> {}{flows}", self.old.words(), self.new.words())
    }

    /// What decides before and after.
    pub(super) fn grounds(&self) -> [String; 2] {
        [format!("    old: {}", self.old.by), format!("    new: {}", self.new.by)]
    }
}

/// The traffic of both families; where they differ, each by itself.
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

/// The first names, and how many more there are.
fn some(names: &[String]) -> String {
    match names.len() {
        0..=SHOWN => names.join(", "),
        many => format!("{} and {} more", names[..SHOWN].join(", "), many - SHOWN),
    }
}

/// So many names are written out.
const SHOWN: usize = 3;
