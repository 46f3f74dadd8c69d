//! An index of rules that may cover another rule: both must share the rarest requirement of the covering rule.

use super::cover::RuleView;
use super::request_keys::{PathKey, RequestKeys};
use super::requests::ExpressionCache;
use crate::rule::{Cidr, CidrGroupRef, Family, Peer, Port, ServiceRef, Tier, Traffic, TrafficMatch};
use std::collections::{BTreeMap, HashMap};

/// With more places in the order of evaluation, HTTP rules are not looked up by their paths.
const MAX_PLACES: usize = 16;

/// The rules, by a requirement that every rule they cover shares.
#[derive(Debug)]
pub(super) struct RuleIndex<'a> {
    groups: BTreeMap<Group, IndexedGroup<'a>>,
    /// The keys of the rules that allow requests only, by number.
    requests: Vec<Option<RequestKeys>>,
}

/// The place of rules that allow requests only. If two of them have the same place, the one only matters for the other
/// where it covers the requests, too. None for all other rules.
type Group = Option<(Tier, u32)>;

#[derive(Debug)]
struct IndexedGroup<'a> {
    /// For rules that may be covered where their connections are.
    by_connection: KeyedRules<'a>,
    /// For rules of the same group.
    by_request: KeyedRules<'a>,
}

/// The rules of a group.
#[derive(Debug)]
struct KeyedRules<'a> {
    by_key: HashMap<IndexKey<'a>, Vec<usize>>,
    without_key: Vec<usize>,
}

/// For each part of a rule the keys that every covered rule shares.
type PartKeys<'a> = Vec<Vec<IndexKey<'a>>>;

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
    /// The beginning of the path of an HTTP rule.
    Path(PathKey),
}

impl<'a> RuleIndex<'a> {
    /// Indexes each rule by its rarest requirements: one label of its subject, or one key of each peer, or one of each
    /// part of its traffic, or one of each HTTP rule.
    pub(super) fn of(entries: &[RuleView<'a>], expressions: &mut ExpressionCache) -> Self {
        let mut requests: Vec<Option<RequestKeys>> =
            entries.iter().map(|entry| RequestKeys::of(entry, expressions)).collect();
        let mut groups = grouped(&requests);
        if groups.len() > MAX_PLACES {
            requests = entries.iter().map(|_| None).collect();
            groups = grouped(&requests);
        }
        let groups = groups.into_iter().map(|(group, numbers)| {
            let by_connection = KeyedRules::of(&numbers, |number| demanded(&entries[number]));
            let by_request = KeyedRules::of(&numbers, |number| {
                let own = requests[number].iter().map(|keys| path_keys(&keys.own));
                demanded(&entries[number]).into_iter().chain(own).collect()
            });
            (group, IndexedGroup { by_connection, by_request })
        });
        Self { groups: groups.collect(), requests }
    }

    /// The rules that may cover the rule of this number, or one of its peers with a part of its traffic. Some are returned
    /// more than once.
    pub(super) fn candidates(&self, number: usize, entry: &RuleView<'a>) -> impl Iterator<Item = usize> {
        let marks: Vec<IndexKey<'a>> = subject_marks(entry)
            .chain(possible_peer_marks(entry))
            .chain(traffic_marks(entry).flatten())
            .collect();
        let keys = self.requests[number].as_ref();
        let sought = keys.and_then(|keys| Some((Some(keys.place), keys.sought.as_ref()?)));
        self.groups.iter().flat_map(move |(group, rules)| match sought {
            Some((place, paths)) if place == *group => {
                let paths = paths.iter().copied().map(IndexKey::Path);
                rules.by_request.with_keys(marks.iter().copied().chain(paths))
            }
            _ => rules.by_connection.with_keys(marks.iter().copied()),
        })
    }
}

impl<'a> KeyedRules<'a> {
    /// Indexes rules by number; `demanded` returns the choices of requirements.
    fn of(numbers: &[usize], demanded: impl Fn(usize) -> Vec<PartKeys<'a>>) -> Self {
        let mut counts = HashMap::<IndexKey<'a>, usize>::new();
        for number in numbers {
            let keys = demanded(*number).into_iter().flatten().flatten();
            keys.for_each(|key| *counts.entry(key).or_default() += 1);
        }
        let mut rules = Self { by_key: HashMap::new(), without_key: Vec::new() };
        for number in numbers {
            match rarest(demanded(*number), &counts) {
                None => rules.without_key.push(*number),
                Some(keys) => {
                    keys.into_iter().for_each(|key| rules.by_key.entry(key).or_default().push(*number));
                }
            }
        }
        rules
    }

    /// The rules with one of these keys, and those without key.
    fn with_keys(&self, keys: impl Iterator<Item = IndexKey<'a>>) -> Vec<usize> {
        let keyed = keys.filter_map(|key| self.by_key.get(&key)).flatten();
        self.without_key.iter().chain(keyed).copied().collect()
    }
}

/// The numbers of the rules of each group.
fn grouped(requests: &[Option<RequestKeys>]) -> BTreeMap<Group, Vec<usize>> {
    let mut groups = BTreeMap::<Group, Vec<usize>>::new();
    for (number, keys) in requests.iter().enumerate() {
        groups.entry(keys.as_ref().map(|keys| keys.place)).or_default().push(number);
    }
    groups
}

fn path_keys<'a>(own: &[Option<PathKey>]) -> PartKeys<'a> {
    own.iter().map(|key| key.iter().copied().map(IndexKey::Path).collect()).collect()
}

/// The keys of the subject, of the peers and of the traffic, if there are any.
fn demanded<'a>(entry: &RuleView<'a>) -> Vec<PartKeys<'a>> {
    let traffic: PartKeys<'a> = traffic_marks(entry).map(|mark| mark.into_iter().collect()).collect();
    let traffic = Some(traffic).filter(|parts| !parts.is_empty());
    [Some(vec![subject_marks(entry).collect()]), peer_marks(entry), traffic].into_iter().flatten().collect()
}

/// The rarest keys: of the choices the one whose rarest keys, one of each part, occur least in total. None if each choice has
/// a part without key.
fn rarest<'a>(
    choices: Vec<PartKeys<'a>>,
    counts: &HashMap<IndexKey<'a>, usize>,
) -> Option<Vec<IndexKey<'a>>> {
    let count = |key: &IndexKey<'a>| counts.get(key).copied().unwrap_or(0);
    let keys = choices.into_iter().filter_map(|parts| {
        let parts = parts.into_iter().map(|keys| keys.into_iter().min_by_key(count));
        parts.collect::<Option<Vec<IndexKey<'a>>>>()
    });
    keys.min_by_key(|keys| keys.iter().map(count).sum::<usize>())
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
fn peer_marks<'a>(entry: &RuleView<'a>) -> Option<PartKeys<'a>> {
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
