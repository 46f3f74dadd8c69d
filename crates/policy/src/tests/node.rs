//! A node for tests: the policies of a world compiled for each workload, and their rows in maps.

use super::domains;
use crate::book::{HttpRules, L7SetId, RuleBook};
use crate::cidr::{AddressSide, Blocks};
use crate::compile::CompiledPolicy;
use crate::directory::{Directory, FacetId};
use crate::endpoint_view::{EndpointView, NO_NAMES, NamedPorts};
use crate::generate::{GeneratedEnd, GeneratedWorld};
use crate::grouping::Grouping;
use crate::names::DomainNames;
use crate::registry::Registry;
use crate::rule::Cidr;
use crate::set::PolicyKey;
use abi::address::AddressInfo;
use abi::identity::{FIRST_NAMESPACE, HOST, is_remote_node};
use abi::policy::VerdictKey;
use abi::row::{MapOp, Row, RowKey};
use datapath::native::Tables;
use identity::{Labels, key};
use l7::Matcher;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

/// The order in which peers and policies are added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PeerOrder {
    /// Every peer is added before the first policy is compiled.
    PeersFirst,
    /// Every workload is added after the policies are compiled.
    PeersLast,
}

impl PeerOrder {
    pub(super) fn of(seed: u64) -> Self {
        if seed.is_multiple_of(2) { Self::PeersFirst } else { Self::PeersLast }
    }
}

/// A node that has compiled the policies for every workload of the world.
pub(super) struct CompilingNode {
    pub(super) tables: Tables,
    pub(super) names: DomainNames,
    pub(super) book: RuleBook,
    pub(super) matchers: HashMap<L7SetId, Matcher>,
    blocks: Blocks,
    /// The namespace of each workload.
    namespaces: BTreeMap<u32, u32>,
    /// The policy of each workload, by number, and the policies with the groupings of the same numbers.
    policies: Vec<u32>,
    compiled: BTreeMap<u32, (Grouping, CompiledPolicy)>,
}

/// The rows of policies as they are written.
#[derive(Default)]
struct Rows {
    tables: Tables,
    verdicts: HashSet<VerdictKey>,
}

/// The matcher of each set of HTTP rules.
fn matchers(book: &RuleBook) -> HashMap<L7SetId, Matcher> {
    let matcher = |(id, rules): (L7SetId, &Arc<HttpRules>)| {
        let rules: Vec<_> = rules.iter().cloned().collect();
        (id, Matcher::new(&rules).expect("the generator's expressions compile"))
    };
    book.sets().map(matcher).collect()
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

    /// Adds a peer, and returns its facets.
    pub(super) fn insert(&self, peer: &EndpointView<'_>, directory: &mut Directory) -> Vec<FacetId> {
        let facets = directory.insert(peer.number, peer.labels.clone(), peer.ports.clone());
        if let Some(namespace) = self.numbers.get(&peer.number) {
            directory.join(peer.number, *namespace);
        }
        facets
    }
}

impl CompilingNode {
    pub(super) fn new(world: &GeneratedWorld, arrival: PeerOrder, names: DomainNames) -> Self {
        let (mut registry, mut blocks) = (Registry::new(), Blocks::new());
        for policy in &world.policies {
            blocks.insert(policy);
            registry.put(policy.clone());
        }
        domains::class(&names, &mut blocks);
        let workloads: Vec<EndpointView<'_>> =
            (0..world.workloads.len()).map(|index| world.view(GeneratedEnd::Workload(index), 0)).collect();
        let nodes = (0..world.others.len()).map(|index| world.view(GeneratedEnd::Other(index), 0));
        for node in nodes.filter(|node| node.number == HOST || is_remote_node(node.number)) {
            registry.directory.insert(node.number, node.labels.clone(), NamedPorts::default());
        }
        let namespaces = Namespaces::of(&workloads);
        if arrival == PeerOrder::PeersFirst {
            let peers = namespaces.peers(&workloads);
            peers.for_each(|peer| _ = namespaces.insert(&peer, &mut registry.directory));
        }
        let (mut numbers, mut policies) = (HashMap::<PolicyKey, u32>::new(), Vec::new());
        let (mut compiled, mut rows) = (BTreeMap::new(), Rows::default());
        for subject in &workloads {
            let selection = registry.policies.selection(subject);
            let next = 1 + numbers.len() as u32;
            let number = *numbers.entry(selection.key()).or_insert_with(|| {
                let demand = selection.demand(&registry.directory);
                let grouping = Grouping::new(&demand, &mut registry.directory);
                let (policy, classes) =
                    CompiledPolicy::new(selection, &demand, &grouping, None, &mut registry);
                rows.put(grouping.rows(next).chain(classes));
                compiled.insert(next, (grouping, policy));
                next
            });
            policies.push(number);
        }
        if arrival == PeerOrder::PeersLast {
            for peer in namespaces.peers(&workloads) {
                let facets = namespaces.insert(&peer, &mut registry.directory);
                rows.arrive((peer.number, &facets), &mut compiled, &mut registry);
            }
        }
        for (number, (_, policy)) in &compiled {
            rows.put(policy.column_rows(*number, &blocks));
        }
        let mut book = registry.book;
        for (number, policy) in &mut compiled {
            rows.name(policy, *number, &names, (&blocks, &mut book));
        }
        rows.put(book.class_rows());
        rows.put(blocks.parent_rows());
        Self {
            matchers: matchers(&book),
            tables: rows.tables,
            names,
            book,
            blocks,
            namespaces: namespaces.numbers,
            policies,
            compiled,
        }
    }

    /// The policy of a workload and its number.
    pub(super) fn policy(&self, workload: usize) -> (u32, &CompiledPolicy) {
        let number = self.policies[workload];
        (number, &self.compiled[&number].1)
    }

    /// The fields of an address row that the policy lookup reads.
    pub(super) fn address_row(&self, peer: &EndpointView<'_>) -> AddressInfo {
        let address: IpAddr = peer.address.expect("the ends of a generated world have addresses");
        AddressInfo {
            peer: peer.number,
            namespace: self.namespaces.get(&peer.number).copied().unwrap_or_default(),
            cidr: self.blocks.class_of(address, AddressSide::of(peer.number)),
            ..AddressInfo::default()
        }
    }
}

impl Rows {
    /// Adds a workload after the policies were compiled, with its facets, to the groups of all policies.
    fn arrive(
        &mut self,
        (peer, facets): (u32, &[FacetId]),
        compiled: &mut BTreeMap<u32, (Grouping, CompiledPolicy)>,
        Registry { directory, book, .. }: &mut Registry,
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
                Row::Verdict(key, _) => assert!(self.verdicts.insert(key), "a verdict is written once"),
                Row::Column(..) | Row::CidrParent(..) | Row::Group(..) | Row::Class(..) => {}
                other => panic!("a policy has no such row: {other:?}"),
            }
            self.tables.apply(MapOp::Put(row));
        }
    }

    /// Sets the names of addresses in a policy, each time after names that the addresses do not have.
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
                for write in policy.set_names(number, (&class, names), grouping, book) {
                    match write {
                        MapOp::Put(row) => self.put([row]),
                        MapOp::Delete(RowKey::Column(_)) => self.tables.apply(write),
                        MapOp::Delete(other) => panic!("a name takes no such row away: {other:?}"),
                    }
                }
            }
        }
    }
}
