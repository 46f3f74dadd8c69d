//! An index of rules that may cover another rule: both must share the rarest requirement of the covering rule.

use super::cover::RuleView;
use crate::rule::{Cidr, CidrGroupRef, Family, Peer, Port, ServiceRef, Traffic, TrafficMatch};
use std::collections::HashMap;

/// The rules, by a requirement that every rule they cover shares.
#[derive(Debug)]
pub(super) struct RuleIndex<'a> {
    by_key: HashMap<IndexKey<'a>, Vec<usize>>,
    without_key: Vec<usize>,
}

/// A requirement of a rule. Every rule that it covers has the requirement too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum IndexKey<'a> {
    /// A label of the subject.
    Subject(&'a str, &'a str),
    /// A label of a peer.
    Peer(&'a str, &'a str),
    /// The block of a peer.
    Block(Cidr),
    /// The CIDR group of a peer.
    Group(&'a CidrGroupRef),
    /// The service of a peer.
    Service(&'a ServiceRef),
    /// The port of a part of the traffic.
    Port(u16),
    /// The port name of a part of the traffic.
    PortName(&'a str),
    /// The ICMP type of a part of the traffic.
    Icmp(Family, u8),
}

impl<'a> RuleIndex<'a> {
    /// Indexes each rule by its rarest requirements: one label of its subject, or one key of each peer, or one of each
    /// part of its traffic.
    pub(super) fn of(entries: &[RuleView<'a>]) -> Self {
        let mut counts = HashMap::<IndexKey<'a>, usize>::new();
        for entry in entries {
            let marks = demanded(entry).into_iter().flatten().flatten().flatten();
            marks.for_each(|mark| *counts.entry(mark).or_default() += 1);
        }
        let mut index = Self { by_key: HashMap::new(), without_key: Vec::new() };
        for (number, entry) in entries.iter().enumerate() {
            match rarest(entry, &counts) {
                None => index.without_key.push(number),
                Some(marks) => {
                    marks.into_iter().for_each(|mark| index.by_key.entry(mark).or_default().push(number));
                }
            }
        }
        index
    }

    /// The rules that may cover this one, or one of its peers with a part of its traffic. Some are returned more than
    /// once.
    pub(super) fn candidates(&self, entry: &RuleView<'a>) -> impl Iterator<Item = usize> {
        let marks =
            subject_marks(entry).chain(possible_peer_marks(entry)).chain(traffic_marks(entry).flatten());
        let marked = marks.filter_map(|mark| self.by_key.get(&mark)).flatten();
        self.without_key.iter().chain(marked).copied()
    }
}

/// For the subject, the peers and the traffic: for each part the keys that every covered rule shares; none without
/// parts.
fn demanded<'a>(entry: &RuleView<'a>) -> [Option<Vec<Vec<IndexKey<'a>>>>; 3] {
    let traffic: Vec<Vec<IndexKey<'a>>> =
        traffic_marks(entry).map(|mark| mark.into_iter().collect()).collect();
    let traffic = Some(traffic).filter(|parts| !parts.is_empty());
    [Some(vec![subject_marks(entry).collect()]), peer_marks(entry), traffic]
}

/// The rarest keys: of the subject, the peers and the traffic the one whose rarest keys, one of each part, occur least
/// in total. None if each of the three has a part without key.
fn rarest<'a>(entry: &RuleView<'a>, counts: &HashMap<IndexKey<'a>, usize>) -> Option<Vec<IndexKey<'a>>> {
    let count = |mark: &IndexKey<'a>| counts.get(mark).copied().unwrap_or(0);
    let choices = demanded(entry).into_iter().flatten();
    let marks = choices.filter_map(|parts| {
        let parts = parts.into_iter().map(|marks| marks.into_iter().min_by_key(count));
        parts.collect::<Option<Vec<IndexKey<'a>>>>()
    });
    marks.min_by_key(|marks| marks.iter().map(count).sum::<usize>())
}

/// The keys of all rules that may cover one of the peers.
fn possible_peer_marks<'a>(entry: &RuleView<'a>) -> impl Iterator<Item = IndexKey<'a>> {
    entry.peers.iter().flatten().flat_map(|who| {
        let labels = who.constraints.iter().flat_map(|constraints| constraints.pairs());
        labels.map(|(name, value)| IndexKey::Peer(name, value)).chain(others(who.peer))
    })
}

/// The key of each part of the traffic; none for a range of ports.
fn traffic_marks<'a>(entry: &RuleView<'a>) -> impl Iterator<Item = Option<IndexKey<'a>>> {
    let matches = match &entry.rule.traffic {
        Traffic::Any => &[][..],
        Traffic::Of(matches) => matches,
    };
    matches.iter().map(|one| match one {
        TrafficMatch::Port { port: Port::Range(first, last), .. } if first == last => {
            Some(IndexKey::Port(*first))
        }
        TrafficMatch::Port { port: Port::Named(name), .. } => Some(IndexKey::PortName(name)),
        TrafficMatch::Port { .. } => None,
        TrafficMatch::Icmp { family, kind } => Some(IndexKey::Icmp(*family, *kind)),
    })
}

fn subject_marks<'a>(entry: &RuleView<'a>) -> impl Iterator<Item = IndexKey<'a>> {
    entry.subject.pairs().map(|(name, value)| IndexKey::Subject(name, value))
}

/// For each peer the keys that every covered peer shares; none if the rule matches every peer.
fn peer_marks<'a>(entry: &RuleView<'a>) -> Option<Vec<Vec<IndexKey<'a>>>> {
    let peers = entry.peers.as_ref()?.iter();
    let marks = peers.map(|who| match who.peer {
        Peer::Labels(_) | Peer::Nodes(_) => {
            let pairs = who.constraints.iter().flat_map(|constraints| constraints.pairs());
            pairs.map(|(name, value)| IndexKey::Peer(name, value)).collect()
        }
        // An entity may cover all addresses of a family.
        Peer::Cidr { block, .. } if block.length() > 0 => vec![IndexKey::Block(*block)],
        Peer::CidrGroup { groups, .. } => vec![IndexKey::Group(groups)],
        Peer::Service(service) => vec![IndexKey::Service(service)],
        Peer::Cidr { .. } | Peer::Entity(_) | Peer::Domain(_) => Vec::new(),
    });
    Some(marks.collect())
}

/// The keys of rules that cover a peer without selector: its own, and each block around it.
fn others(peer: &Peer) -> Vec<IndexKey<'_>> {
    match peer {
        Peer::Cidr { block, .. } => {
            let around = (1..=block.length()).filter_map(|length| Cidr::new(block.address(), length));
            around.map(IndexKey::Block).collect()
        }
        Peer::CidrGroup { groups, .. } => vec![IndexKey::Group(groups)],
        Peer::Service(service) => vec![IndexKey::Service(service)],
        _ => Vec::new(),
    }
}
