//! For which ports and peers the HTTP rules of a rule ask nothing, because the whole connection is allowed.

use super::cover::{PeerView, RuleView};
use super::{Flaw, unmatched};
use crate::rule::{Action, Direction, Port, Protocol, Traffic, TrafficMatch};
use std::collections::HashMap;
use std::fmt::Display;

/// Most rules that one is compared with; where more share subjects and peers, some voids are not told, but none is made up.
const MAX_COMPARED: usize = 1000;
/// Most findings about one rule; the rest says nothing new.
const MAX_REPORTED: usize = 8;
/// Most ports or peers that one finding names.
const MAX_NAMED: usize = 3;

/// A label that is demanded.
type Label<'a> = (&'a str, &'a str);

/// The rules that allow whole connections, by what of a rule they may void must have in common with them.
///
/// A void may be narrower than the rule it is found in, so each of the two may be the one that constraints more of peers.
#[derive(Debug, Default)]
pub(super) struct ConnectionAllows<'a> {
    /// By the rarest label of the subject, which that of the voided rule has too.
    by_subject: RulesByLabel<'a>,
    /// By the rarest label of each peer, which a narrower peer has too.
    by_peer: RulesByLabel<'a>,
    /// By every label of each peer, one of which is the rarest of a wider peer.
    by_any: RulesByLabel<'a>,
}

/// Rules by labels, and those that have none to go by.
#[derive(Debug, Default)]
struct RulesByLabel<'a> {
    by_label: HashMap<Label<'a>, Vec<usize>>,
    unlabelled: Vec<usize>,
}

impl<'a> ConnectionAllows<'a> {
    pub(super) fn of(entries: &[RuleView<'a>]) -> Self {
        let opening = || entries.iter().enumerate().filter(|(_, entry)| allows_connections(entry));
        let mut subjects = HashMap::<Label<'a>, usize>::new();
        let mut allows = Self::default();
        for (number, entry) in opening() {
            entry.subject.pairs().for_each(|label| *subjects.entry(label).or_default() += 1);
            for label in entry.peers.iter().flatten().flat_map(PeerView::labels) {
                allows.by_any.by_label.entry(label).or_default().push(number);
            }
        }
        for (number, entry) in opening() {
            allows.by_subject.insert(number, entry.subject.pairs().min_by_key(|label| subjects[label]));
            let rarest =
                |who: &PeerView<'a>| who.labels().min_by_key(|label| allows.by_any.by_label[label].len());
            match &entry.peers {
                None => allows.by_peer.insert(number, None),
                Some(peers) => {
                    peers.iter().map(rarest).for_each(|label| allows.by_peer.insert(number, label));
                }
            }
        }
        allows
    }

    /// What is void of a rule, once for each rule that makes it so; `is_in_time` says which are asked in time.
    pub(super) fn flaws(
        &self,
        rule: &RuleView<'a>,
        entries: &[RuleView<'a>],
        is_in_time: impl Fn(&RuleView<'a>) -> bool,
    ) -> Vec<Flaw> {
        if rule.rule.action != Action::Allow || !matches(rule).iter().any(has_http_rules) {
            return Vec::new();
        }
        let by_subject = self.by_subject.of_labels(rule.subject.pairs());
        let by_peers = self.of_peers(rule).filter(|found| found.len() < by_subject.len());
        let mut numbers = by_peers.unwrap_or(by_subject);
        numbers.sort_unstable();
        numbers.dedup();
        let others = numbers.into_iter().take(MAX_COMPARED).map(|number| &entries[number]);
        others
            .filter(|other| is_in_time(other))
            .filter_map(|other| flaw(other, rule))
            .take(MAX_REPORTED)
            .collect()
    }

    /// The rules that may have a peer in common with this one; nothing where that may be any.
    fn of_peers(&self, rule: &RuleView<'a>) -> Option<Vec<usize>> {
        let mut found = Vec::new();
        for who in rule.peers.as_ref()? {
            let filed = |label: &Label<'a>| self.by_any.by_label.get(label).map_or(&[][..], Vec::as_slice);
            found.extend(filed(&who.labels().min_by_key(|label| filed(label).len())?));
            found.extend(self.by_peer.of_labels(who.labels()));
        }
        Some(found)
    }
}

impl<'a> RulesByLabel<'a> {
    fn insert(&mut self, number: usize, label: Option<Label<'a>>) {
        match label {
            Some(label) => self.by_label.entry(label).or_default().push(number),
            None => self.unlabelled.push(number),
        }
    }

    fn of_labels(&self, labels: impl Iterator<Item = Label<'a>>) -> Vec<usize> {
        let labelled = labels.filter_map(|label| self.by_label.get(&label)).flatten();
        labelled.chain(&self.unlabelled).copied().collect()
    }
}

impl<'a> PeerView<'a> {
    fn labels(&self) -> impl Iterator<Item = Label<'a>> {
        self.constraints.iter().flat_map(|constraints| constraints.pairs())
    }
}

/// What the other rule, if it is asked in time, makes void of this one.
pub(super) fn flaw(other: &RuleView<'_>, rule: &RuleView<'_>) -> Option<Flaw> {
    let both_allow = [other, rule].iter().all(|entry| entry.rule.action == Action::Allow);
    if !both_allow || !other.has_subjects_of(rule) {
        return None;
    }
    let ports = common_ports(other, rule);
    let peers = common_peers(other, rule);
    if ports.is_empty() || peers.is_empty() {
        return None;
    }
    let way = if rule.rule.direction == Direction::Ingress { "from" } else { "to" };
    let extent = format!("{} {way} {}", named(&ports, " and "), named(&peers, " or "));
    Some(Flaw::HttpWithoutEffect(other.origin(), extent))
}

/// Whether the rule allows any whole connection that could carry HTTP.
fn allows_connections(entry: &RuleView<'_>) -> bool {
    let is_open = entry.rule.traffic == Traffic::Any || matches(entry).iter().any(|one| whole(one).is_some());
    entry.rule.action == Action::Allow && is_open
}

/// The ports of which this rule asks for requests, and the other for nothing.
fn common_ports(other: &RuleView<'_>, rule: &RuleView<'_>) -> Vec<String> {
    let mut found = Vec::new();
    for one in matches(rule).iter().filter(|one| has_http_rules(one)) {
        let TrafficMatch::Port { port, .. } = one else { continue };
        match &other.rule.traffic {
            Traffic::Any => found.push(port.clone()),
            Traffic::Of(others) => {
                let common = others.iter().filter_map(whole).filter_map(|open| overlap(port, open));
                let common: Vec<Port> = common.collect();
                match common.contains(port) {
                    true => found.push(port.clone()),
                    false => found.extend(common),
                }
            }
        }
    }
    found.sort();
    found.dedup();
    found.iter().map(|port| format!("{port}/TCP")).collect()
}

/// The peers of this rule that are certainly peers of the other.
fn common_peers(other: &RuleView<'_>, rule: &RuleView<'_>) -> Vec<String> {
    let some = |who: &&PeerView<'_>| unmatched::peer(who).is_none();
    let others = || other.peers.iter().flatten().filter(some);
    let mut found: Vec<String> = Vec::new();
    match &rule.peers {
        None if other.has_every_peer() => found.push("anyone".to_owned()),
        None => found.extend(others().map(|who| who.peer.to_string())),
        Some(peers) => {
            for who in peers.iter().filter(some) {
                match other.has_peer(who) {
                    true => found.push(who.peer.to_string()),
                    false => found.extend(
                        others().filter(|narrow| who.covers(narrow)).map(|narrow| narrow.peer.to_string()),
                    ),
                }
            }
        }
    }
    found.dedup();
    found
}

/// The ports that are certainly ports of both.
fn overlap(one: &Port, other: &Port) -> Option<Port> {
    match (one, other) {
        (Port::Any, narrow) | (narrow, Port::Any) => Some(narrow.clone()),
        (Port::Range(from, to), Port::Range(first, last)) => {
            let (start, end) = (*from.max(first), *to.min(last));
            (start <= end).then_some(Port::Range(start, end))
        }
        (name, Port::Range(0, u16::MAX)) | (Port::Range(0, u16::MAX), name) => Some(name.clone()),
        (one, other) => (one == other).then(|| one.clone()),
    }
}

/// Whether it asks for HTTP requests, which only TCP carries.
fn has_http_rules(one: &TrafficMatch) -> bool {
    matches!(one, TrafficMatch::Port { protocol: Protocol::Tcp | Protocol::Any, http: Some(_), .. })
}

/// The ports of which it allows whole TCP connections.
fn whole(one: &TrafficMatch) -> Option<&Port> {
    match one {
        TrafficMatch::Port { protocol: Protocol::Tcp | Protocol::Any, port, http: None } => Some(port),
        _ => None,
    }
}

fn matches<'a>(entry: &RuleView<'a>) -> &'a [TrafficMatch] {
    match &entry.rule.traffic {
        Traffic::Any => &[],
        Traffic::Of(matches) => matches,
    }
}

fn named(items: &[impl Display], separator: &str) -> String {
    let told: Vec<String> = items.iter().take(MAX_NAMED).map(ToString::to_string).collect();
    let more = items.len().saturating_sub(MAX_NAMED);
    let more = if more > 0 { format!("{separator}{more} more") } else { String::new() };
    format!("{}{more}", told.join(separator))
}
