//! HTTP rules without effect: for which ports and peers another rule allows the whole connection.

use super::cover::{PeerView, RuleView};
use super::flaw::Flaw;
use super::unmatched;
use crate::rule::{Action, Direction, Port, Protocol, Traffic, TrafficMatch};
use std::collections::HashMap;
use std::fmt::Display;

/// The most rules that a rule is compared with. Beyond, some flaws are missed, but none is invented.
const MAX_COMPARED: usize = 1000;
/// The most findings for one rule; further ones add nothing.
const MAX_REPORTED: usize = 8;
/// The most ports or peers that one finding lists.
const MAX_NAMED: usize = 3;

/// A required label.
type Label<'a> = (&'a str, &'a str);

/// The rules that allow whole connections, indexed by labels that the affected HTTP rules share.
///
/// The affected part may be narrower than the HTTP rule, so either of the two rules may require more of a peer.
#[derive(Debug, Default)]
pub(super) struct ConnectionAllows<'a> {
    /// By the rarest label of the subject, which the affected rule's subject requires too.
    by_subject: RulesByLabel<'a>,
    /// By the rarest label of each peer, which a narrower peer requires too.
    by_peer: RulesByLabel<'a>,
    /// By every label of each peer; one of them is the rarest of a wider peer.
    by_any: RulesByLabel<'a>,
}

/// Rules by label, and rules without a required label.
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

    /// The flaws of a rule, one for each rule that causes one. `is_in_time` selects the rules that are evaluated early
    /// enough.
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

    /// The rules that may share a peer with this one; none if every rule may.
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

/// The flaw that the other rule, if it is evaluated early enough, causes in this one.
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

/// Whether the rule allows whole connections that can carry HTTP.
fn allows_connections(entry: &RuleView<'_>) -> bool {
    let is_open = entry.rule.traffic == Traffic::Any || matches(entry).iter().any(|one| whole(one).is_some());
    entry.rule.action == Action::Allow && is_open
}

/// The ports for which this rule limits requests and the other rule does not.
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

/// The peers of this rule that the other rule certainly matches too.
fn common_peers(other: &RuleView<'_>, rule: &RuleView<'_>) -> Vec<String> {
    let some = |who: &&PeerView<'_>| unmatched::peer(who).is_none();
    let others = || other.peers.iter().flatten().filter(some);
    let mut found: Vec<String> = Vec::new();
    match &rule.peers {
        None if other.has_every_peer() => found.push("any peer".to_owned()),
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

/// The ports that both certainly match.
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

/// Whether it limits HTTP requests, which only TCP carries.
fn has_http_rules(one: &TrafficMatch) -> bool {
    matches!(one, TrafficMatch::Port { protocol: Protocol::Tcp | Protocol::Any, http: Some(_), .. })
}

/// The ports for which it allows whole TCP connections.
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
    let listed: Vec<String> = items.iter().take(MAX_NAMED).map(ToString::to_string).collect();
    let more = items.len().saturating_sub(MAX_NAMED);
    let more = if more > 0 { format!("{separator}{more} more") } else { String::new() };
    format!("{}{more}", listed.join(separator))
}
