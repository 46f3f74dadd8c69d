//! Each flaw by an example and by a near miss; and a test that rules reported as without effect can be removed.

mod http;

use super::*;
use crate::catalog::Catalog;
use crate::domain::DomainPattern;
use crate::fixtures;
use crate::generate::{self, GeneratedEnd, GeneratedWorld};
use crate::model::{self, Context, Query, Verdict};
use crate::rule::{
    Action, Cidr, CidrGroupRef, Direction, EnforcementMode, Entity, Family, HttpRule, Peer, Peers, Port,
    Protocol, Rule, ServiceRef, Tier, Traffic, TrafficMatch,
};
use identity::{Operator, Selector, Source, key};
use std::collections::BTreeMap;

fn app(value: &str) -> Selector {
    Selector::default().with(None, "app", Operator::equals(value))
}

fn peers(selector: Selector) -> Peers {
    selector.into()
}

fn block(text: &str, except: &[&str]) -> Peers {
    fixtures::outside(text, except).into()
}

fn entity(entity: Entity) -> Peers {
    entity.into()
}

fn ports(protocol: Protocol, first: u16, last: u16) -> Traffic {
    fixtures::ports(protocol, first, last).into()
}

fn get(port: u16, paths: &[&str]) -> Traffic {
    let rule = |path: &&str| HttpRule { path: Some((*path).into()), ..HttpRule::default() };
    let http = Some(paths.iter().map(rule).collect());
    Traffic::Of(vec![TrafficMatch::Port { protocol: Protocol::Tcp, port: Port::Range(port, port), http }])
}

fn tcp(port: u16) -> Traffic {
    ports(Protocol::Tcp, port, port)
}

fn rule(action: Action, peers: Peers, traffic: Traffic) -> Rule {
    Rule { action, ..fixtures::allow(Direction::Ingress, peers, traffic) }
}

fn allow(peers: Peers, traffic: Traffic) -> Rule {
    rule(Action::Allow, peers, traffic)
}

/// A policy for workloads of app `web`, with one rule.
fn policy(name: &str, rule: Rule) -> Policy {
    about(name, app("web"), Tier::Normal, rule)
}

fn about(name: &str, subject: Selector, tier: Tier, rule: Rule) -> Policy {
    let mut policy = fixtures::policy(name, [Spec { tier, ..fixtures::spec(subject, [rule]) }]);
    policy.id.namespace = None;
    policy
}

/// The findings on policies named a, b, ..., as `name code`.
fn codes(policies: &[Policy]) -> Vec<String> {
    lint(policies).iter().map(|lint| format!("{} {}", lint.at.policy.name, lint.flaw.code())).collect()
}

/// The findings on two policies, one with each rule.
fn pair(first: Rule, second: Rule) -> Vec<String> {
    codes(&[policy("a", first), policy("b", second)])
}

#[test]
fn a_selector_with_contradictory_requirements_selects_no_endpoint() {
    let check = |selector: Selector, hollow: bool| {
        let found = codes(&[policy("a", allow(peers(selector.clone()), tcp(80)))]);
        assert_eq!(found.len(), usize::from(hollow), "{selector}: {found:?}");
        let found = codes(&[about("a", selector.clone(), Tier::Normal, allow(Peers::Any, tcp(80)))]);
        assert_eq!(found.len(), usize::from(hollow), "subject {selector}: {found:?}");
    };
    let some = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect();
    let with = |operator| app("web").with(None, "app", operator);
    check(with(Operator::equals("db")), true);
    check(with(Operator::In(some(&["web", "db"]))), false);
    check(with(Operator::NotIn(some(&["web", "db"]))), true);
    check(with(Operator::NotIn(some(&["db"]))), false);
    check(with(Operator::DoesNotExist), true);
    check(with(Operator::Exists), false);
    // A key without source refers to the label of Kubernetes, if there is one.
    check(fixtures::app("web").with(None, "app", Operator::equals("db")), true);
    let other = Some(Source::Other("vm".into()));
    check(app("web").with(other.clone(), "app", Operator::equals("db")), false);
    let absent = Selector::default().with(None, "app", Operator::DoesNotExist);
    check(absent.with(other, "app", Operator::Exists), true);
    let within = |name: &str| app("web").with(Some(Source::K8s), key::NAMESPACE, Operator::equals(name));
    check(within("x").with(None, key::NAMESPACE, Operator::equals("y")), true);
    check(within("x").with(None, key::NAMESPACE, Operator::equals("x")), false);
    check(Selector::default().with(None, "app", Operator::NotIn(some(&["web"]))), false);
}

#[test]
fn the_subject_is_named_by_its_field() {
    let nobody = app("web").with(None, "app", Operator::Exists).with(None, "app", Operator::equals("db"));
    let lints = lint(&[about("a", nobody, Tier::Normal, allow(Peers::Any, tcp(80)))]);
    assert_eq!(
        lints[0].to_string(),
        "CiliumNetworkPolicy/a spec.endpointSelector: selects no endpoint: the requirements on the label `app` \
         contradict each other"
    );
}

#[test]
fn a_block_covered_by_its_exceptions_matches_nothing() {
    let check = |peers: Peers, hollow: bool| {
        let found = codes(&[policy("a", allow(peers, tcp(80)))]);
        assert_eq!(found.len(), usize::from(hollow), "{found:?}");
    };
    check(block("10.0.0.0/8", &["10.0.0.0/8"]), true);
    check(block("10.0.0.0/8", &["10.0.0.0/9", "10.128.0.0/10", "10.192.0.0/10"]), true);
    check(block("10.0.0.0/8", &["10.0.0.0/9", "10.128.0.0/10"]), false);
    check(block("::/0", &["::/1", "8000::/1"]), true);
    check(block("::/0", &["::/1"]), false);
    check(entity(Entity::None), true);
    check(entity(Entity::World), false);
}

#[test]
fn an_empty_list_of_peers_is_reported_unless_it_only_isolates() {
    let nobody = || Peers::Of(Vec::new());
    let only = policy("a", allow(nobody(), Traffic::Any));
    assert_eq!(codes(std::slice::from_ref(&only)), [""; 0]);
    let mut beside = only;
    beside.specs[0].rules.push(allow(Peers::Any, tcp(80)));
    assert_eq!(codes(&[beside]), ["a matches-nothing"]);
    let denies = policy("a", rule(Action::Deny, nobody(), Traffic::Any));
    assert_eq!(codes(&[denies]), ["a matches-nothing"]);
}

#[test]
fn traffic_that_no_peer_can_have_is_reported() {
    let ping = |family| Traffic::Of(vec![TrafficMatch::Icmp { family, kind: 8 }]);
    let check = |peers: Peers, traffic: Traffic, direction, hollow: bool| {
        let found = codes(&[policy("a", Rule { direction, ..allow(peers, traffic) })]);
        assert_eq!(found.len(), usize::from(hollow), "{found:?}");
    };
    let v4 = || block("10.0.0.0/8", &[]);
    check(v4(), ping(Family::Ipv6), Direction::Ingress, true);
    check(v4(), ping(Family::Ipv4), Direction::Ingress, false);
    check(entity(Entity::WorldIpv6), ping(Family::Ipv4), Direction::Ingress, true);
    check(entity(Entity::World), ping(Family::Ipv4), Direction::Ingress, false);
    let port = Port::Named("http".into());
    let named = || {
        let one = TrafficMatch::Port { protocol: Protocol::Tcp, port: port.clone(), http: None };
        Traffic::Of(vec![one])
    };
    check(v4(), named(), Direction::Egress, true);
    check(v4(), named(), Direction::Ingress, false);
    check(peers(app("db")), named(), Direction::Egress, false);
    check(v4(), Traffic::Of(Vec::new()), Direction::Ingress, true);
}

#[test]
fn a_rule_within_another_adds_nothing() {
    let narrow = || allow(peers(app("db").with(None, "env", Operator::Exists)), tcp(80));
    let check = |wide: Rule, shadowed: bool| {
        let expected: &[&str] = if shadowed { &["b shadowed"] } else { &[] };
        assert_eq!(pair(wide.clone(), narrow()), expected, "{wide:?}");
    };
    check(allow(peers(app("db")), tcp(80)), true);
    check(allow(Peers::Any, Traffic::Any), true);
    check(allow(entity(Entity::All), ports(Protocol::Any, 79, 81)), true);
    check(allow(peers(fixtures::app("db")), tcp(80)), true);
    check(allow(peers(fixtures::app("api")), tcp(80)), false);
    check(allow(peers(app("db")), tcp(81)), false);
    check(allow(peers(app("db")), ports(Protocol::Udp, 0, 65535)), false);
    check(allow(entity(Entity::Cluster), tcp(80)), false);
    check(Rule { direction: Direction::Egress, ..allow(Peers::Any, Traffic::Any) }, false);
    check(Rule { priority: 1, ..allow(Peers::Any, Traffic::Any) }, false);
}

#[test]
fn of_two_equal_rules_the_second_is_shadowed() {
    let rule = || allow(peers(app("db")), tcp(80));
    assert_eq!(pair(rule(), rule()), ["b shadowed"]);
    let wide = about("b", Selector::default(), Tier::Normal, rule());
    assert_eq!(codes(&[policy("a", rule()), wide.clone()]), ["a shadowed"]);
    assert_eq!(codes(&[wide, policy("c", rule())]), ["c shadowed"]);
    let other = about("b", app("api"), Tier::Normal, rule());
    assert_eq!(codes(&[policy("a", rule()), other]), [""; 0]);
}

#[test]
fn blocks_cover_blocks_except_for_their_exceptions() {
    let check = |wide: Peers, narrow: Peers, shadowed: bool| {
        let found = pair(allow(wide.clone(), tcp(80)), allow(narrow.clone(), tcp(80)));
        assert_eq!(found.contains(&"b shadowed".into()), shadowed, "{narrow} within {wide}");
    };
    check(block("10.0.0.0/8", &[]), block("10.1.0.0/16", &["10.1.1.0/24"]), true);
    check(block("10.0.0.0/8", &["10.2.0.0/16"]), block("10.1.0.0/16", &[]), true);
    check(block("10.0.0.0/8", &["10.1.1.0/24"]), block("10.1.0.0/16", &[]), false);
    check(block("10.0.0.0/8", &["10.1.1.0/24"]), block("10.1.0.0/16", &["10.1.0.0/23"]), true);
    check(block("10.0.0.0/8", &["10.0.0.0/9"]), block("10.1.0.0/16", &[]), false);
    check(entity(Entity::World), block("10.0.0.0/8", &[]), true);
    check(entity(Entity::WorldIpv6), block("10.0.0.0/8", &[]), false);
    check(entity(Entity::World), entity(Entity::WorldIpv4), true);
    check(entity(Entity::Cluster), entity(Entity::Host), true);
    check(entity(Entity::Cluster), entity(Entity::World), false);
    let in_x = Selector::default().with(Some(Source::K8s), key::NAMESPACE, Operator::equals("x"));
    check(entity(Entity::Cluster), peers(in_x), true);
    check(block("0.0.0.0/0", &[]), entity(Entity::World), false);
}

#[test]
fn groups_services_domains_and_nodes_cover_only_their_kind() {
    let check = |wide: Peer, narrow: Peer, shadowed: bool| {
        let [one, other] = [wide, narrow].map(|peer| allow(Peers::Of(vec![peer]), tcp(80)));
        let found = pair(one.clone(), other.clone());
        assert_eq!(found.contains(&"b shadowed".into()), shadowed, "{} within {}", other.peers, one.peers);
    };
    let inner = Cidr::new("10.1.0.0".parse().unwrap(), 16).unwrap();
    let group = |name: &str, except: &[Cidr]| Peer::CidrGroup {
        groups: CidrGroupRef::Named(name.into()),
        except: except.to_vec(),
    };
    check(group("a", &[]), group("a", &[inner]), true);
    check(group("a", &[inner]), group("a", &[]), false);
    check(group("a", &[]), group("b", &[]), false);
    check(Peer::Entity(Entity::World), group("a", &[]), true);
    let domain = |pattern: &str| Peer::Domain(DomainPattern::pattern(pattern).unwrap());
    check(domain("*.example.com"), domain("www.example.com"), true);
    check(domain("*.example.com"), domain("a.b.example.com"), false);
    check(domain("*"), domain("**.example.com"), true);
    check(domain("*.example.com"), domain("*.*.example.com"), false);
    let service =
        |name: &str| Peer::Service(ServiceRef::Named { namespace: "default".into(), name: name.into() });
    check(service("a"), service("a"), true);
    check(service("a"), service("b"), false);
    check(Peer::Nodes(Selector::default()), Peer::Nodes(app("x")), true);
    check(Peer::Nodes(app("x")), Peer::Nodes(Selector::default()), false);
    check(Peer::Nodes(app("x")), Peer::Labels(app("x")), false);
    check(Peer::Labels(app("x")), Peer::Nodes(app("x")), true);
}

#[test]
fn rules_of_nodes_and_of_workloads_do_not_affect_each_other() {
    let rule = || allow(Peers::Any, tcp(80));
    let mut nodes = about("b", Selector::default(), Tier::Normal, rule());
    nodes.specs[0].subject = Subject::Nodes(Selector::default());
    assert_eq!(codes(&[about("a", Selector::default(), Tier::Normal, rule()), nodes]), [""; 0]);
}

#[test]
fn a_deny_or_an_earlier_rule_keeps_an_allow_from_deciding() {
    let deny = |peers| rule(Action::Deny, peers, Traffic::Any);
    let db = || allow(peers(app("db")), tcp(80));
    assert_eq!(pair(db(), deny(Peers::Any)), ["a never-decides"]);
    assert_eq!(pair(db(), deny(peers(app("api")))), [""; 0]);
    assert_eq!(pair(Rule { priority: 1, ..deny(Peers::Any) }, db()), [""; 0]);
    assert_eq!(
        pair(Rule { priority: 1, ..deny(Peers::Any) }, allow(Peers::Any, Traffic::Any)),
        ["a never-decides"]
    );
    let admin = |action| about("a", app("web"), Tier::Admin, rule(action, Peers::Any, Traffic::Any));
    assert_eq!(codes(&[admin(Action::Allow), policy("b", db())]), ["b shadowed"]);
    assert_eq!(codes(&[admin(Action::Deny), policy("b", db())]), ["b never-decides"]);
    assert_eq!(codes(&[admin(Action::Pass), policy("b", db())]), [""; 0]);
}

#[test]
fn several_denies_keep_an_allow_from_deciding() {
    let deny = |name: &str, peers: Peers, traffic| policy(name, rule(Action::Deny, peers, traffic));
    let both = || Peers::Of(["db", "api"].map(|name| Peer::Labels(app(name))).to_vec());
    let check = |denies: [Policy; 2], swallowed: bool| {
        let expected: &[&str] = if swallowed { &["c never-decides"] } else { &[] };
        assert_eq!(codes(&[&denies[..], &[policy("c", allow(both(), tcp(80)))]].concat()), expected);
    };
    check([deny("a", peers(app("db")), Traffic::Any), deny("b", peers(app("api")), tcp(80))], true);
    check([deny("a", peers(app("db")), Traffic::Any), deny("b", peers(app("api")), tcp(81))], false);
    check([deny("a", peers(app("db")), Traffic::Any), deny("b", peers(app("web")), tcp(80))], false);
    let lints = lint(&[
        deny("a", peers(app("db")), Traffic::Any),
        deny("b", peers(app("api")), Traffic::Any),
        policy("c", allow(both(), tcp(80))),
    ]);
    assert_eq!(
        lints[0].flaw.to_string(),
        "never decides: CiliumNetworkPolicy/a spec.ingress[0] and CiliumNetworkPolicy/b spec.ingress[0] are \
         evaluated first and deny all of this"
    );
}

#[test]
fn a_rule_that_a_pass_may_skip_keeps_no_rule_from_deciding() {
    let later = Rule { priority: 2, ..allow(Peers::Any, Traffic::Any) };
    let admin = |name: &str, rule| about(name, app("web"), Tier::Admin, rule);
    let passing = Rule { priority: 1, ..rule(Action::Pass, peers(app("api")), tcp(80)) };
    let usual = policy("c", allow(peers(app("db")), tcp(80)));
    assert_eq!(codes(&[admin("a", later.clone()), usual.clone()]), ["c shadowed"]);
    assert_eq!(codes(&[admin("a", later), admin("b", passing), usual]), [""; 0]);
}

#[test]
fn a_namespace_has_one_name() {
    let label = format!("{}{}", key::NAMESPACE_LABELS, key::METADATA_NAME);
    let check = |one: Operator, other: Operator, hollow: bool| {
        let both = Selector::default().with(Some(Source::K8s), key::NAMESPACE, one).with(None, &label, other);
        let found = codes(&[policy("a", allow(peers(both), tcp(80)))]);
        assert_eq!(found.len(), usize::from(hollow), "{found:?}");
    };
    check(Operator::equals("prod"), Operator::equals("dev"), true);
    check(Operator::equals("prod"), Operator::equals("prod"), false);
    check(Operator::equals("prod"), Operator::NotIn(["prod".to_owned()].into()), true);
    check(Operator::NotIn(["prod".to_owned()].into()), Operator::equals("prod"), true);
    check(Operator::Exists, Operator::equals("prod"), false);
}

/// The world without the rules that have no effect; counts every kind of flaw.
fn without_flawed(world: &GeneratedWorld, seen: &mut BTreeMap<&'static str, usize>) -> GeneratedWorld {
    let mut rest = world.clone();
    for Lint { at, flaw } in lint(&world.policies) {
        *seen.entry(flaw.code()).or_default() += 1;
        if matches!(flaw, Flaw::Shadowed(_) | Flaw::NeverDecides(..) | Flaw::DeniedInParts(_)) {
            let policy = rest.policies.iter_mut().find(|policy| policy.id == *at.policy).unwrap();
            policy.specs.iter_mut().for_each(|spec| spec.rules.retain(|rule| rule.place != at.place));
        }
    }
    rest
}

fn verdicts(world: &GeneratedWorld, probe: &generate::GeneratedProbe) -> Vec<Verdict> {
    let fields = probe.request.as_ref().map(|request| request.fields()).unwrap_or_default();
    let request = probe.request.as_ref().map(|request| request.view(&fields));
    let judged = [Direction::Egress, Direction::Ingress].into_iter().filter(|direction| {
        let [subject, _] = probe.subject_and_peer(*direction);
        matches!(subject, GeneratedEnd::Workload(_))
    });
    let verdicts = judged.map(|direction| {
        let query = Query { request, ..world.query(probe, direction) };
        let context = Context { catalog: &Catalog::new(), mode: EnforcementMode::Default };
        model::verdict(&world.policies, &context, &query).verdict
    });
    verdicts.collect()
}

#[test]
fn rules_without_effect_can_be_removed() {
    let mut seen = BTreeMap::new();
    for seed in 0..600 {
        let world = generate::world(seed);
        let rest = without_flawed(&world, &mut seen);
        for probe in generate::probes(&world, seed, 150) {
            let (before, after) = (verdicts(&world, &probe), verdicts(&rest, &probe));
            assert_eq!(before, after, "seed {seed}, {probe:?}: {:#?}", lint(&world.policies));
        }
    }
    for code in ["shadowed", "never-decides", "http-without-effect", "matches-nothing"] {
        assert!(seen.get(code).is_some_and(|times| *times > 50), "{seen:?}");
    }
}

/// All rules of policies.
fn views(policies: &[Policy]) -> Vec<RuleView<'_>> {
    let specs = policies.iter().flat_map(|policy| policy.specs.iter().map(move |spec| (policy, spec)));
    let views = specs.flat_map(|(policy, spec)| {
        let subject = Rc::new(Constraints::of(spec.subject.selector()));
        spec.rules.iter().map(move |rule| RuleView::new(&policy.id, spec, rule, subject.clone()))
    });
    views.collect()
}

#[test]
fn the_index_misses_no_flaw() {
    for seed in 0..600 {
        let world = generate::world(seed);
        let mut entries = views(&world.policies);
        entries.retain(|entry| {
            let is_empty = unmatched::rule(entry, &mut ExpressionCache::default()).1;
            !is_empty && unmatched::selector(&entry.subject).is_none()
        });
        let order = EvaluationOrder::of(&entries);
        let index = RuleIndex::of(&entries, &mut ExpressionCache::default());
        for (number, entry) in entries.iter().enumerate() {
            let found = |others: &mut dyn Iterator<Item = usize>| {
                let others: Vec<usize> = others.collect();
                let numbered = others.iter().map(|other| (*other, &entries[*other]));
                let together = order.refused_together(entry, others.iter().map(|other| &entries[*other]));
                (order.flaw((number, entry), numbered).is_some(), together.is_some())
            };
            let indexed = found(&mut index.candidates(number, entry));
            assert_eq!(indexed, found(&mut (0..entries.len())), "seed {seed}: {:?}", entry.origin());
        }
    }
}

#[test]
fn of_many_policies_few_are_compared() {
    const MANY: usize = 30_000;
    let check = |subject: fn(usize) -> usize, peer: fn(usize) -> Peers, traffic: fn(usize) -> Traffic| {
        let policies = (0..MANY).map(|number| {
            let rule = allow(peer(number), traffic(number));
            about(&format!("p{number}"), app(&format!("app-{}", subject(number))), Tier::Normal, rule)
        });
        let policies: Vec<Policy> = policies.collect();
        let entries = views(&policies);
        let index = RuleIndex::of(&entries, &mut ExpressionCache::default());
        let candidates = |(number, entry)| index.candidates(number, entry).count();
        let compared: usize = entries.iter().enumerate().map(candidates).sum();
        assert!((MANY..=6 * MANY).contains(&compared), "{compared}");
    };
    let from = |number: usize| peers(app(&format!("app-{number}")));
    check(|number| number % 6_000, |_| Peers::Any, |number| tcp(80 + (number / 6_000) as u16));
    check(|_| 0, |_| Peers::Any, |number| tcp(number as u16));
    check(|_| 0, from, |_| tcp(80));
    check(|_| 0, |_| Peers::Any, |number| get(80, &[&format!("/items{number}")]));
    // An example of an expression must be searched.
    check(
        |_| 0,
        |_| Peers::Any,
        |number| get(80, &[&format!("/items{number}{}", if number < 1_000 { "/.*" } else { "" })]),
    );
}
