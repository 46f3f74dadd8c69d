//! Policies turned into the rows that the packet path looks up; see [`abi::policy`] for the lookup.
//!
//! A compiled policy serves every subject with the same [`crate::set::PolicyKey`]. Peers are folded into classes as
//! they are met: a peer that comes later adds rows to a policy that is in force and changes none.

mod block;
mod clause;
mod facet;
mod table;

pub use block::TrafficBlock;

use crate::book::{HttpRules, L7SetId, RuleBook, RuleId};
use crate::cidr::{CidrClass, Side};
use crate::directory::{Directory, SelectorId};
use crate::party::NamedPorts;
use crate::rule::{Action, Direction, Entity, Peer, Peers, Tier};
use crate::set::{Selection, port_names};
use abi::identity::{ANY_WORKLOAD, is_workload};
use abi::policy::{CidrPartKey, ClassKey, VerdictInfo, action};
use abi::row::{Row, RowKey};
use clause::{Clause, Level, Numbered, Reading};
use facet::{FacetSet, Facets, Parts};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use table::Answer;

/// Both directions.
const DIRECTIONS: [Direction; 2] = [Direction::Ingress, Direction::Egress];

/// What one selection of specs says, as rows without a policy number.
#[derive(Clone, Debug)]
pub struct Compiled {
    ingress: Rules,
    egress: Rules,
    facets: Facets,
    parts: Parts,
    /// The names of ports that egress rules ask of peers.
    peer_names: BTreeSet<String>,
    /// The class of everything that rules can see of a peer.
    known: HashMap<(FacetSet, NamedPorts), u32>,
    /// The verdict rows of each class, and classes by their rows.
    tables: Vec<Table>,
    by_table: HashMap<Table, u32>,
    /// The class of each peer and part, where it is not the one that the lookup falls back to.
    classes: BTreeMap<(u32, u32), u32>,
    sets: HashMap<HttpRules, L7SetId>,
}

/// The rules of one direction.
#[derive(Clone, Debug, Default)]
struct Rules {
    default_deny: bool,
    /// Without it everything goes, and there is no row for the direction.
    enforced: bool,
    clauses: Vec<Clause>,
    /// Clauses about everybody, by index.
    about_all: Vec<u32>,
    /// Clauses by the facet they are about.
    by_facet: Vec<Vec<u32>>,
}

/// Whatever gives numbers to what rules name.
struct Numbers<'a> {
    facets: &'a mut Facets,
    directory: &'a mut Directory,
    book: &'a mut RuleBook,
}

/// The verdicts of one class in both directions.
type Table = Vec<(u8, TrafficBlock, VerdictInfo)>;

impl Compiled {
    /// Compiles what applies to a subject, for all peers of the directory.
    pub fn new(selection: &Selection, directory: &mut Directory, book: &mut RuleBook) -> Self {
        let mut facets = Facets::default();
        let mut numbers = Numbers { facets: &mut facets, directory, book };
        let ingress = Rules::new(selection, Direction::Ingress, &mut numbers);
        let egress = Rules::new(selection, Direction::Egress, &mut numbers);
        let mut compiled = Self {
            parts: Parts::new(&facets),
            ingress: ingress.indexed(facets.len()),
            egress: egress.indexed(facets.len()),
            facets,
            peer_names: peer_names(selection),
            known: HashMap::new(),
            tables: Vec::new(),
            by_table: HashMap::new(),
            classes: BTreeMap::new(),
            sets: HashMap::new(),
        };
        compiled.class(Vec::new(), NamedPorts::NONE, book);
        let any_workload = compiled.facets.of_any_workload();
        compiled.place(ANY_WORKLOAD, &any_workload, NamedPorts::NONE, book);
        let mut known = compiled.facets.of_known(directory);
        for number in compiled.peer_names.iter().flat_map(|name| directory.with_port_name(name)) {
            known.entry(number).or_insert_with(|| compiled.facets.of_peer(number, directory));
        }
        for number in directory.apart() {
            known.entry(number).or_default();
        }
        for (number, facets) in known {
            let ports = directory.party(number).map_or(NamedPorts::NONE, |party| party.ports);
            compiled.place(number, &facets, ports, book);
        }
        compiled
    }

    /// Whether packets of this direction need an allowing row. Where it is false, everything goes.
    pub fn enforces(&self, direction: Direction) -> bool {
        self.rules(direction).enforced
    }

    /// Whether what no rule allows is refused; where rules are enforced without it, they only deny.
    pub fn default_denies(&self, direction: Direction) -> bool {
        self.rules(direction).default_deny
    }

    /// Every row, but those of CIDR classes ([`Self::cidr_row`]).
    pub fn rows(&self, policy: u32) -> Vec<Row> {
        let classes = self.classes.keys().map(|(peer, part)| self.class_row(policy, *peer, *part));
        self.verdict_rows(policy, 0).chain(classes).collect()
    }

    /// Adds a peer that is new in the directory; the rows to add are returned. They must be in place before any
    /// address has the peer's number.
    ///
    /// Only a peer need be learnt that one of [`Self::selectors`] selects, that has one of
    /// [`Self::peer_port_names`], or that is not [ordinary](Directory::is_ordinary).
    pub fn learn(&mut self, policy: u32, peer: u32, directory: &Directory, book: &mut RuleBook) -> Vec<Row> {
        let first_new = self.tables.len();
        let facets = self.facets.of_peer(peer, directory);
        let ports = directory.party(peer).map_or(NamedPorts::NONE, |party| party.ports);
        self.place(peer, &facets, ports, book);
        let classes: Vec<Row> =
            self.parts_of(peer).into_iter().map(|part| self.class_row(policy, peer, part)).collect();
        self.verdict_rows(policy, first_new).chain(classes).collect()
    }

    /// Removes a peer that no address has any more; the keys of the rows to delete are returned.
    pub fn forget(&mut self, policy: u32, peer: u32) -> Vec<RowKey> {
        let parts = self.parts_of(peer);
        parts
            .into_iter()
            .inspect(|part| {
                self.classes.remove(&(peer, *part));
            })
            .map(|part| RowKey::Class(ClassKey { policy, peer, part }))
            .collect()
    }

    /// The row that tells this policy's part for a CIDR class; none where the policy does not care about the class.
    pub fn cidr_row(&self, policy: u32, class: &CidrClass) -> Option<Row> {
        let part = self.parts.number(&self.facets.of_block(&class.block, class.side));
        (part != 0).then_some(Row::CidrPart(CidrPartKey { policy, cidr: class.number }, part))
    }

    /// The sets of HTTP rules that rows name; each is held once in the book.
    pub fn sets(&self) -> impl Iterator<Item = L7SetId> {
        self.sets.values().copied()
    }

    /// The selectors that tell peers apart; they are held in the directory.
    pub fn selectors(&self) -> impl Iterator<Item = SelectorId> {
        self.facets.selectors()
    }

    /// The names of ports that rules ask of peers.
    pub fn peer_port_names(&self) -> impl Iterator<Item = &str> {
        self.peer_names.iter().map(String::as_str)
    }

    /// Gives up its selectors, and the sets of HTTP rules, once the rows are gone.
    pub fn release(self, directory: &mut Directory, book: &mut RuleBook) {
        self.facets.release(directory);
        for set in self.sets.into_values() {
            book.release_set(set);
        }
    }

    fn rules(&self, direction: Direction) -> &Rules {
        match direction {
            Direction::Ingress => &self.ingress,
            Direction::Egress => &self.egress,
        }
    }

    /// Works out the class of a peer in every part its addresses can be in, and notes those that the lookup would
    /// not find by falling back.
    fn place(&mut self, number: u32, facets: &[u32], ports: &NamedPorts, book: &mut RuleBook) {
        let ports = ports.named(&self.peer_names);
        let parts: Vec<(u32, FacetSet)> =
            self.parts.of_side(Side::of(number)).map(|(part, facets)| (part, facets.clone())).collect();
        for (part, blocks) in parts {
            let class = self.class([facets, &*blocks].concat(), &ports, book);
            let fallback =
                if is_workload(number) && number != ANY_WORKLOAD { self.any_workload(part) } else { 0 };
            if class == fallback {
                self.classes.remove(&(number, part));
            } else {
                self.classes.insert((number, part), class);
            }
        }
    }

    fn any_workload(&self, part: u32) -> u32 {
        self.classes.get(&(ANY_WORKLOAD, part)).copied().unwrap_or(0)
    }

    /// The class of peers with these facets and ports, a new one where their verdicts are like nobody else's.
    fn class(&mut self, mut facets: Vec<u32>, ports: &NamedPorts, book: &mut RuleBook) -> u32 {
        facets.sort_unstable();
        facets.dedup();
        let seen = (facets.into_boxed_slice(), ports.clone());
        if let Some(class) = self.known.get(&seen) {
            return *class;
        }
        let table = self.table(&seen.0, ports, book);
        let next = self.tables.len() as u32;
        let class = *self.by_table.entry(table).or_insert_with_key(|table| {
            self.tables.push(table.clone());
            next
        });
        self.known.insert(seen, class);
        class
    }

    fn table(&mut self, facets: &[u32], ports: &NamedPorts, book: &mut RuleBook) -> Table {
        let mut table = Table::new();
        for direction in DIRECTIONS {
            let answers = table::answers(self.rules(direction).about(facets), ports);
            for (block, answer) in answers {
                table.push((direction as u8, block, self.verdict(answer, book)));
            }
        }
        table
    }

    fn verdict(&mut self, answer: Answer, book: &mut RuleBook) -> VerdictInfo {
        let rule = answer.rule.0;
        match (answer.action, answer.http) {
            (Action::Allow, Some(http)) => {
                let set = *self
                    .sets
                    .entry((*http).clone())
                    .or_insert_with_key(|http| book.acquire_set(http.clone()));
                VerdictInfo { action: action::REDIRECT, rule, l7: set.0 }
            }
            (Action::Allow, None) => VerdictInfo { action: action::ALLOW, rule, l7: 0 },
            (Action::Deny | Action::Pass, _) => VerdictInfo { action: action::DENY, rule, l7: 0 },
        }
    }

    fn parts_of(&self, peer: u32) -> Vec<u32> {
        self.classes.range((peer, 0)..=(peer, u32::MAX)).map(|((_, part), _)| *part).collect()
    }

    fn class_row(&self, policy: u32, peer: u32, part: u32) -> Row {
        Row::Class(ClassKey { policy, peer, part }, self.classes[&(peer, part)])
    }

    /// The rows of all classes from this one on.
    fn verdict_rows(&self, policy: u32, first: usize) -> impl Iterator<Item = Row> {
        let classes = (0..).zip(&self.tables).skip(first);
        classes.flat_map(move |(class, table)| {
            table.iter().map(move |(direction, block, verdict)| {
                Row::Verdict(block.key(policy, class, *direction), *verdict)
            })
        })
    }
}

impl Rules {
    fn new(selection: &Selection, direction: Direction, numbers: &mut Numbers<'_>) -> Self {
        let isolation = selection.isolation(direction);
        let default_deny = isolation.is_some();
        let reading = Reading { direction, ports: selection.ports(), default_deny };
        let mut clauses = Vec::new();
        let mut position = 0;
        let mut denies = false;
        for applying in selection.specs() {
            let tier = applying.spec().tier;
            // Isolation decides before the baseline is asked.
            if tier == Tier::Baseline && isolation == Some(Tier::Normal) {
                continue;
            }
            for rule in applying.spec().rules.iter().filter(|rule| rule.direction == direction) {
                let id = numbers.book.rule(applying.policy_id(), &rule.place);
                let facets = numbers.facets_of(&rule.peers);
                clauses.extend(reading.clauses(rule, Numbered { id, tier, position }, facets));
                denies |= rule.action == Action::Deny;
                position += 1;
            }
        }
        let enforced = default_deny || denies;
        if !enforced {
            clauses.clear();
        } else if !default_deny {
            clauses.push(Clause::allow_all(Level::Otherwise, RuleId::DEFAULT, None));
        }
        if enforced && direction == Direction::Ingress && !selection.is_about_host() {
            let host = numbers.facets.intern(&Peer::Entity(Entity::Host), numbers.directory);
            clauses.push(Clause::allow_all(
                Level::Constant,
                RuleId::LOCAL_HOST,
                Some(host.into_iter().collect()),
            ));
        }
        Self { default_deny, enforced, clauses, ..Self::default() }
    }

    /// Finds clauses by facet, of which there are so many.
    fn indexed(mut self, facets: usize) -> Self {
        self.by_facet = vec![Vec::new(); facets];
        for (index, clause) in (0..).zip(&self.clauses) {
            match &clause.facets {
                None => self.about_all.push(index),
                Some(facets) => facets.iter().for_each(|facet| self.by_facet[*facet as usize].push(index)),
            }
        }
        self
    }

    /// The clauses about peers with these facets.
    fn about(&self, facets: &[u32]) -> impl Iterator<Item = &Clause> {
        let chosen = facets.iter().flat_map(|facet| &self.by_facet[*facet as usize]);
        let chosen: BTreeSet<u32> = self.about_all.iter().chain(chosen).copied().collect();
        chosen.into_iter().map(|index| &self.clauses[index as usize])
    }
}

impl Numbers<'_> {
    /// The facets that select a rule's peers; none where it is about everybody.
    fn facets_of(&mut self, peers: &Peers) -> Option<Vec<u32>> {
        match peers {
            Peers::Any => None,
            Peers::Of(peers) => peers.iter().map(|peer| self.facets.intern(peer, self.directory)).collect(),
        }
    }
}

/// The names of ports that egress rules ask of peers.
fn peer_names(selection: &Selection) -> BTreeSet<String> {
    let rules = selection.specs().iter().flat_map(|applying| &applying.spec().rules);
    let egress = rules.filter(|rule| rule.direction == Direction::Egress);
    egress.flat_map(|rule| port_names(&rule.traffic)).map(str::to_owned).collect()
}
