//! Compiled policies and the packet path's lookup over their rows, written plainly.

use super::domains;
use crate::book::{L7SetId, RuleBook, RuleId};
use crate::catalog::Catalog;
use crate::cidr::{AddressSide, Blocks};
use crate::compile::CompiledPolicy;
use crate::compiled_rule::Numbers;
use crate::directory::{Directory, FacetId};
use crate::endpoint_view::{EndpointView, NO_NAMES, NamedPorts};
use crate::generate::{GeneratedEnd, GeneratedProbe, GeneratedWorld};
use crate::grouping::Grouping;
use crate::model::{self, Basis, Context, Query, Verdict};
use crate::names::DomainNames;
use crate::rule::{Cidr, Direction, EnforcementMode};
use crate::set::{PolicyKey, PolicySet};
use abi::identity::{FIRST_NAMESPACE, HOST, is_remote_node, is_workload, is_world};
use abi::policy::{
    ClassKey, ColumnKey, GROUP_OF_OTHERS, GROUP_OF_WORKLOADS, GroupKey, VerdictInfo, VerdictKey,
    WHOLE_INSIDE, WHOLE_WORLD, action,
};
use abi::row::{MapOp, Row, RowKey};
use identity::{Labels, key};
use l7::Matcher;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

/// When peers and policies come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// Every peer is known before the first policy is compiled.
    PeersFirst,
    /// Every workload is learnt afterwards.
    PeersLast,
}

impl Arrival {
    pub(super) fn of(seed: u64) -> Self {
        if seed.is_multiple_of(2) { Self::PeersFirst } else { Self::PeersLast }
    }
}

/// What both sides must agree on.
#[derive(Debug, PartialEq)]
pub(super) struct Outcome {
    pub(super) verdict: Verdict,
    pub(super) rule: RuleId,
}

/// All rows of a node with the lookup of [`abi::policy`].
#[derive(Default)]
struct Rows {
    columns: BTreeMap<ColumnKey, u32>,
    parents: BTreeMap<u32, u32>,
    groups: BTreeMap<GroupKey, u32>,
    /// The namespace of each workload.
    namespaces: BTreeMap<u32, u32>,
    classes: BTreeMap<ClassKey, u32>,
    verdicts: BTreeMap<VerdictKey, VerdictInfo>,
}

/// A node that has compiled the policies for every workload of the world.
pub(super) struct Node {
    rows: Rows,
    blocks: Blocks,
    names: DomainNames,
    book: RuleBook,
    /// The policy of each workload, by number, and the policies with the groupings of the same numbers.
    policies: Vec<u32>,
    compiled: BTreeMap<u32, (Grouping, CompiledPolicy)>,
    matchers: HashMap<L7SetId, Matcher>,
}

/// The namespaces of workloads, each a peer without labels of its own.
pub(super) struct Namespaces {
    labels: BTreeMap<u32, Labels>,
    /// The namespace of each workload.
    numbers: BTreeMap<u32, u32>,
}

impl Namespaces {
    pub(super) fn of(workloads: &[EndpointView<'_>]) -> Self {
        let mut known: BTreeMap<Labels, u32> = BTreeMap::new();
        let mut numbers = BTreeMap::new();
        for workload in workloads {
            let is_around = |name: &str| name == key::NAMESPACE || name.starts_with(key::NAMESPACE_LABELS);
            let around = workload.labels.iter().filter(|(key, _)| is_around(&key.name));
            let around: Labels = around.map(|(key, value)| (key.clone(), value)).collect();
            let next = FIRST_NAMESPACE + known.len() as u32;
            numbers.insert(workload.number, *known.entry(around).or_insert(next));
        }
        Self { labels: known.into_iter().map(|(labels, number)| (number, labels)).collect(), numbers }
    }

    /// The namespaces, and then the workloads.
    pub(super) fn peers<'a>(
        &'a self,
        workloads: &'a [EndpointView<'a>],
    ) -> impl Iterator<Item = EndpointView<'a>> {
        let namespaces = self.labels.iter().map(|(number, labels)| EndpointView::new(*number, labels));
        namespaces.chain(workloads.iter().copied())
    }

    /// Adds a peer; the facets that it has are returned.
    pub(super) fn insert(&self, peer: &EndpointView<'_>, directory: &mut Directory) -> Vec<FacetId> {
        let facets = directory.insert(peer.number, peer.labels.clone(), peer.ports.clone());
        if let Some(namespace) = self.numbers.get(&peer.number) {
            directory.join(peer.number, *namespace);
        }
        facets
    }
}

impl Node {
    pub(super) fn new(world: &GeneratedWorld, arrival: Arrival, names: DomainNames) -> Self {
        let (mut set, mut blocks, mut book) = (PolicySet::new(), Blocks::new(), RuleBook::new());
        let mut directory = Directory::new();
        for policy in &world.policies {
            blocks.insert(policy);
            set.apply(policy.clone(), &mut Numbers { directory: &mut directory, book: &mut book });
        }
        domains::class(&names, &mut blocks);
        let workloads: Vec<EndpointView<'_>> =
            (0..world.workloads.len()).map(|index| world.view(GeneratedEnd::Workload(index), 0)).collect();
        let nodes = (0..world.others.len()).map(|index| world.view(GeneratedEnd::Other(index), 0));
        for node in nodes.filter(|node| node.number == HOST || is_remote_node(node.number)) {
            directory.insert(node.number, node.labels.clone(), NamedPorts::default());
        }
        let namespaces = Namespaces::of(&workloads);
        if arrival == Arrival::PeersFirst {
            namespaces.peers(&workloads).for_each(|peer| _ = namespaces.insert(&peer, &mut directory));
        }
        let mut numbers = HashMap::<PolicyKey, u32>::new();
        let mut compiled = BTreeMap::new();
        let mut rows = Rows { namespaces: namespaces.numbers.clone(), ..Rows::default() };
        let mut policies = Vec::new();
        for subject in &workloads {
            let selection = set.selection(subject);
            let next = 1 + numbers.len() as u32;
            let number = *numbers.entry(selection.key()).or_insert_with(|| {
                let demand = selection.demand(&directory);
                let grouping = Grouping::new(&demand, &mut directory);
                let (policy, classes) =
                    CompiledPolicy::new((selection, &demand), (&grouping, &directory), None, &mut book);
                rows.put(grouping.rows(next).chain(classes));
                compiled.insert(next, (grouping, policy));
                next
            });
            policies.push(number);
        }
        if arrival == Arrival::PeersLast {
            for peer in namespaces.peers(&workloads) {
                let facets = namespaces.insert(&peer, &mut directory);
                rows.arrive((peer.number, &facets), &mut compiled, &directory, &mut book);
            }
        }
        for (number, (_, policy)) in &compiled {
            rows.put(policy.column_rows(*number, &blocks));
        }
        for (number, policy) in &mut compiled {
            rows.name(policy, *number, &names, (&blocks, &mut book));
        }
        rows.put(book.class_rows());
        rows.put(blocks.parent_rows());
        let matchers = book.sets().map(|(id, rules)| {
            let rules: Vec<_> = rules.iter().cloned().collect();
            (id, Matcher::new(&rules).expect("the generator's expressions compile"))
        });
        Self { matchers: matchers.collect(), rows, blocks, names, book, policies, compiled }
    }

    /// What the model says and what the rows say.
    pub(super) fn ask(
        &self,
        world: &GeneratedWorld,
        probe: &GeneratedProbe,
        subject: Direction,
    ) -> (Outcome, Outcome) {
        let (GeneratedEnd::Workload(index), subject, peer, direction) = (match subject {
            Direction::Egress => (probe.from, probe.from, probe.to, subject),
            Direction::Ingress => (probe.to, probe.to, probe.from, subject),
        }) else {
            unreachable!("only workloads are subjects")
        };
        let fields = probe.request.as_ref().map(|request| request.fields()).unwrap_or_default();
        let query = Query {
            direction,
            subject: world.view(subject, probe.family),
            peer: self.named(world.view(peer, probe.family)),
            protocol: probe.protocol,
            port: probe.port,
            request: probe.request.as_ref().map(|request| request.view(&fields)),
        };
        let policy = self.policies[index];
        let catalog = Catalog::new();
        let context = Context { catalog: &catalog, mode: EnforcementMode::Default };
        let enforced = self.compiled[&policy].1.enforces(direction);
        let decision = model::verdict(&world.policies, &context, &query);
        let rule = match decision.basis {
            // Where nothing is enforced the packet path asks nobody.
            _ if !enforced => RuleId::DEFAULT,
            Basis::LocalHost => RuleId::LOCAL_HOST,
            Basis::Rule(rule) => {
                self.book.numbered(rule.policy, &rule.rule.place).expect("the rule is in force")
            }
            _ => RuleId::DEFAULT,
        };
        let wanted = Outcome { verdict: decision.verdict, rule };
        let got = if enforced {
            self.walk(policy, &query)
        } else {
            Outcome { verdict: Verdict::Allow, rule: RuleId::DEFAULT }
        };
        (wanted, got)
    }

    fn named<'a>(&'a self, party: EndpointView<'a>) -> EndpointView<'a> {
        EndpointView { names: party.address.map_or(NO_NAMES, |address| self.names.of(address)), ..party }
    }

    /// The lookup of [`abi::policy`], then the request by the matcher of its set.
    fn walk(&self, policy: u32, query: &Query<'_>) -> Outcome {
        let address: IpAddr = query.peer.address.expect("parties of a generated world have addresses");
        let cidr = self.blocks.class_of(address, AddressSide::of(query.peer.number));
        let found = self.rows.find(policy, cidr, query).unwrap_or_default();
        let verdict = match (found.action, &query.request) {
            (action::ALLOW, _) | (action::REDIRECT, None) => Verdict::Allow,
            (action::REDIRECT, Some(request)) => match self.matchers[&L7SetId(found.l7)].matches(request) {
                Some(_) => Verdict::Allow,
                None => Verdict::DenyRequest,
            },
            _ => Verdict::Drop,
        };
        Outcome { verdict, rule: RuleId(found.rule) }
    }
}

impl Rows {
    /// Takes a workload that came last, with its facets, into the groups of all policies.
    fn arrive(
        &mut self,
        (peer, facets): (u32, &[FacetId]),
        compiled: &mut BTreeMap<u32, (Grouping, CompiledPolicy)>,
        directory: &Directory,
        book: &mut RuleBook,
    ) {
        for (number, (grouping, policy)) in compiled {
            let moved = grouping.place(peer, facets, directory);
            self.put(policy.extend_to(grouping, book));
            self.put(moved.and_then(|moved| moved.rows(*number)[1]));
        }
    }

    fn put(&mut self, rows: impl IntoIterator<Item = Row>) {
        for row in rows {
            match row {
                Row::Column(key, column) => _ = self.columns.insert(key, column),
                Row::CidrParent(class, parent) => _ = self.parents.insert(class, parent),
                Row::Group(key, group) => _ = self.groups.insert(key, group),
                Row::Class(key, class) => _ = self.classes.insert(key, class),
                Row::Verdict(key, verdict) => {
                    let before = self.verdicts.insert(key, verdict);
                    assert_eq!(before, None, "a verdict is written once");
                }
                other => panic!("a policy has no such row: {other:?}"),
            }
        }
    }

    /// Tells a policy the names of addresses, each time after others that they do not have.
    fn name(
        &mut self,
        (grouping, policy): &mut (Grouping, CompiledPolicy),
        number: u32,
        names: &DomainNames,
        (blocks, book): (&Blocks, &mut RuleBook),
    ) {
        let asks = policy.has_domains();
        for (address, known) in names.iter().filter(|_| asks) {
            let class =
                blocks.class(&Cidr::host(address), AddressSide::World).expect("who has names has a class");
            let others = BTreeSet::from(["example.org".to_owned(), "x.example.com".to_owned()]);
            for names in [&others, NO_NAMES, known] {
                for write in policy.name(number, (&class, names), grouping, book) {
                    match write {
                        MapOp::Put(row) => self.put([row]),
                        MapOp::Delete(RowKey::Column(key)) => _ = self.columns.remove(&key),
                        MapOp::Delete(other) => panic!("a name takes no such row away: {other:?}"),
                    }
                }
            }
        }
    }

    /// From the innermost block outwards.
    fn find(&self, policy: u32, cidr: u32, query: &Query<'_>) -> Option<VerdictInfo> {
        let whole = if is_world(query.peer.number) { WHOLE_WORLD } else { WHOLE_INSIDE };
        let asked = if cidr == 0 { whole } else { cidr };
        let column = self.columns.get(&ColumnKey { policy, cidr: asked });
        let class = column.and_then(|column| self.class(policy, query.peer.number, *column));
        let here = class.and_then(|class| self.verdict(class, query));
        let around = || self.find(policy, self.parents.get(&cidr).copied().unwrap_or(0), query);
        if cidr == 0 { here } else { here.or_else(around) }
    }

    fn class(&self, policy: u32, peer: u32, column: u32) -> Option<u32> {
        let row = |group| self.classes.get(&ClassKey { column, group }).copied();
        let otherwise = if is_workload(peer) { GROUP_OF_WORKLOADS } else { GROUP_OF_OTHERS };
        // Each policy has a grouping of its own here, of the same number.
        let row_of = |peer| self.groups.get(&GroupKey { grouping: policy, peer }).copied();
        let by_namespace = || row_of(*self.namespaces.get(&peer)?);
        let group = row_of(peer).or_else(by_namespace).unwrap_or(otherwise);
        row(group).or_else(|| row(GROUP_OF_WORKLOADS).filter(|_| is_workload(peer)))
    }

    fn verdict(&self, class: u32, query: &Query<'_>) -> Option<VerdictInfo> {
        let bits = u32::from(query.protocol) << 16 | u32::from(query.port);
        (0..=24).rev().find_map(|length: u32| {
            let kept = bits & !(0x00ff_ffff >> length);
            let [_, protocol, high, low] = kept.to_be_bytes();
            let prefix_bits = VerdictKey::ANY_PROTOCOL + length;
            let direction = query.direction as u8;
            let port = [high, low];
            self.verdicts.get(&VerdictKey { prefix_bits, class, direction, protocol, port }).copied()
        })
    }
}
