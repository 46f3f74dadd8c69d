//! The meaning of policies, one statement per test; the model and the rows must agree with each.

mod own_node;
mod tiers;

use super::answers::{Answers, sides};
use super::node::{CompilingNode, PeerOrder};
use crate::catalog::Catalog;
use crate::endpoint_view::NamedPorts;
use crate::fixtures::{self, block as cidr, policy_id as id, tcp};
use crate::generate::{
    GeneratedEnd, GeneratedPeer, GeneratedProbe, GeneratedRequest, GeneratedWorkload, GeneratedWorld,
};
use crate::model::{self, Context, Query, RuleOutcome, Verdict};
use crate::names::DomainNames;
use crate::rule::*;
use Direction::{Egress, Ingress};
use Verdict::{Allow, DenyRequest, Drop};
use identity::{Labels, Operator, Selector, Source, key};
use std::net::IpAddr;

const APP1: GeneratedEnd = GeneratedEnd::Workload(0);
const APP2: GeneratedEnd = GeneratedEnd::Workload(1);
const APP3: GeneratedEnd = GeneratedEnd::Workload(2);
const WWW: GeneratedEnd = GeneratedEnd::Other(0);
const HOST: GeneratedEnd = GeneratedEnd::Other(1);
const NODE: GeneratedEnd = GeneratedEnd::Other(2);
const API: GeneratedEnd = GeneratedEnd::Other(3);

/// Checks the verdict on TCP from one end to the other, on each side that has policies.
#[track_caller]
fn check(policies: &[Policy], from: GeneratedEnd, to: GeneratedEnd, what: impl Into<What>, expect: Verdict) {
    check_in(&world(policies), from, to, what, expect);
}

#[track_caller]
fn check_in(
    world: &GeneratedWorld,
    from: GeneratedEnd,
    to: GeneratedEnd,
    what: impl Into<What>,
    expect: Verdict,
) {
    let What { protocol, port, request } = what.into();
    let probe = GeneratedProbe { from, to, family: 0, protocol, port, request };
    for arrival in [PeerOrder::PeersFirst, PeerOrder::PeersLast] {
        let node = CompilingNode::new(world, arrival, DomainNames::new());
        let (mut worst, mut found) = (Allow, String::new());
        for answers in sides(&probe).map(|side| Answers::of(&node, world, &probe, side)) {
            assert!(answers.agree(), "the engines differ, {arrival:?}\n{answers}");
            worst = worst.max(answers.model.verdict);
            found += &answers.to_string();
        }
        assert!(
            worst == expect,
            "{expect:?} is expected, and the worst verdict is {worst:?}, {arrival:?}\n{found}"
        );
    }
}

/// The traffic of a check.
struct What {
    protocol: u8,
    port: u16,
    request: Option<GeneratedRequest>,
}

impl From<u16> for What {
    fn from(port: u16) -> Self {
        Self { protocol: 6, port, request: None }
    }
}

impl From<&str> for What {
    fn from(path: &str) -> Self {
        let request = GeneratedRequest {
            method: "GET".into(),
            path: path.into(),
            host: "app1".into(),
            headers: vec![],
        };
        Self { protocol: 6, port: 80, request: Some(request) }
    }
}

impl From<(u8, u16)> for What {
    fn from((protocol, port): (u8, u16)) -> Self {
        Self { protocol, port, request: None }
    }
}

#[test]
fn without_policies_everything_is_allowed() {
    check(&[], APP2, APP1, 80, Allow);
    check(&[], WWW, APP1, (47, 0), Allow);
}

#[test]
fn a_rule_selects_by_labels_and_other_peers_are_denied() {
    let policies = [app1([allow(Ingress, [app("app2")], [tcp(80)])])];
    check(&policies, APP2, APP1, 80, Allow);
    check(&policies, APP2, APP1, 81, Drop);
    check(&policies, APP3, APP1, 80, Drop);
    check(&policies, APP1, APP3, 80, Allow);
}

#[test]
fn default_deny_without_rules_denies_everything_except_the_local_node() {
    let policies = [Policy { specs: vec![spec([], true, true)], ..app1([]) }];
    check(&policies, APP2, APP1, 80, Drop);
    check(&policies, APP1, APP2, 80, Drop);
    check(&policies, HOST, APP1, 80, Allow);
    check(&policies, NODE, APP1, 80, Drop);
    check(&policies, APP1, HOST, 80, Drop);
}

#[test]
fn a_rule_with_ports_and_no_peer_matches_every_peer() {
    let mut rule = allow(Ingress, [], [tcp(80)]);
    rule.peers = Peers::Any;
    let policies = [app1([rule])];
    for from in [APP2, WWW, NODE] {
        check(&policies, from, APP1, 80, Allow);
        check(&policies, from, APP1, 81, Drop);
    }
}

#[test]
fn a_rule_with_an_empty_list_of_peers_matches_no_peer() {
    check(&[app1([allow(Ingress, [], [tcp(80)])])], APP2, APP1, 80, Drop);
}

#[test]
fn a_rule_without_ports_allows_every_protocol() {
    let policies = [app1([whole(allow(Ingress, [app("app2")], []))])];
    for what in [(6, 80), (17, 53), (132, 1), (47, 0), (1, 8 << 8)] {
        check(&policies, APP2, APP1, what, Allow);
    }
}

#[test]
fn icmp_is_denied_where_rules_only_name_ports_and_allowed_by_type() {
    let icmp = TrafficMatch::Icmp { family: Family::Ipv4, kind: 8 };
    check(&[app1([allow(Ingress, [app("app2")], [tcp(80)])])], APP2, APP1, (1, 8 << 8), Drop);
    let policies = [app1([allow(Ingress, [app("app2")], [icmp])])];
    check(&policies, APP2, APP1, (1, 8 << 8 | 3), Allow);
    check(&policies, APP2, APP1, (1, 3 << 8), Drop);
    check(&policies, APP2, APP1, (58, 8 << 8), Drop);
    check(&policies, APP2, APP1, 80, Drop);
}

#[test]
fn deny_wins_over_a_more_specific_allow() {
    let mut broad = whole(deny(Ingress, [], []));
    broad.peers = Peers::Any;
    let policies = [app1([allow(Ingress, [app("app2")], [tcp(80)]), broad])];
    check(&policies, APP2, APP1, 80, Drop);
    let policies =
        [app1([whole(allow(Ingress, [app("app2")], [])), deny(Ingress, [app("app2")], [tcp(80)])])];
    check(&policies, APP2, APP1, 80, Drop);
    check(&policies, APP2, APP1, 81, Allow);
}

#[test]
fn rules_without_default_deny_only_deny() {
    let spec = spec(
        [allow(Ingress, [app("app2")], [tcp(80)]), deny(Ingress, [app("app3")], [tcp(80)])],
        false,
        false,
    );
    let policies = [Policy { specs: vec![spec], ..app1([]) }];
    check(&policies, APP3, APP1, 80, Drop);
    check(&policies, APP3, APP1, 81, Allow);
    check(&policies, APP2, APP1, 9999, Allow);
    check(&policies, WWW, APP1, (47, 0), Allow);
}

#[test]
fn http_rules_decide_on_each_request() {
    let policies = [app1([allow(Ingress, [app("app2")], [http(80, "/public")])])];
    check(&policies, APP2, APP1, "/public", Allow);
    check(&policies, APP2, APP1, "/private", DenyRequest);
    check(&policies, APP2, APP1, 80, Allow);
    check(&policies, APP3, APP1, "/public", Drop);
}

#[test]
fn http_rules_of_several_policies_add_up() {
    let other = Policy { id: id("rule2"), ..app1([allow(Ingress, [app("app2")], [http(80, "/private")])]) };
    let policies = [app1([allow(Ingress, [app("app2")], [http(80, "/public")])]), other];
    check(&policies, APP2, APP1, "/public", Allow);
    check(&policies, APP2, APP1, "/private", Allow);
    check(&policies, APP2, APP1, "/secret", DenyRequest);
}

#[test]
fn a_rule_that_allows_the_connection_makes_http_rules_ineffective() {
    let by_request = || allow(Ingress, [app("app2")], [http(80, "/public")]);
    check(&[app1([by_request(), allow(Ingress, [app("app2")], [tcp(80)])])], APP2, APP1, "/private", Allow);
    check(&[app1([by_request(), whole(allow(Ingress, [app("app2")], []))])], APP2, APP1, "/private", Allow);
    let range = TrafficMatch::Port { protocol: Protocol::Any, port: Port::Range(1, 100), http: None };
    check(&[app1([by_request(), allow(Ingress, [app("app2")], [range])])], APP2, APP1, "/private", Allow);
    check(
        &[app1([by_request(), allow(Ingress, [app("app3")], [tcp(80)])])],
        APP2,
        APP1,
        "/private",
        DenyRequest,
    );
}

#[test]
fn an_empty_list_of_http_rules_allows_no_request() {
    let none =
        TrafficMatch::Port { protocol: Protocol::Tcp, port: Port::Range(80, 80), http: Some([].into()) };
    check(&[app1([allow(Ingress, [app("app2")], [none])])], APP2, APP1, "/", DenyRequest);
}

#[test]
fn http_rules_without_default_deny_deny_nothing() {
    let spec = spec([allow(Ingress, [app("app2")], [http(80, "/public")])], false, false);
    let policies = [Policy { specs: vec![spec], ..app1([]) }];
    check(&policies, APP2, APP1, "/private", Allow);
}

#[test]
fn named_ports_are_resolved_at_the_receiver() {
    let named = |name: &str| TrafficMatch::Port {
        protocol: Protocol::Tcp,
        port: Port::Named(name.into()),
        http: None,
    };
    let policies = [app1([allow(Ingress, [app("app2")], [named("http")])])];
    check(&policies, APP2, APP1, 80, Allow);
    check(&policies, APP2, APP1, 8080, Drop);
    let policies = [about("app2", [allow(Egress, [app("app1"), app("app3")], [named("http")])])];
    check(&policies, APP2, APP1, 80, Allow);
    check(&policies, APP2, APP3, 8080, Allow);
    check(&policies, APP2, APP3, 80, Drop);
    check(&policies, APP2, WWW, 80, Drop);
    check(&[app1([allow(Ingress, [app("app2")], [named("none")])])], APP2, APP1, 80, Drop);
}

#[test]
fn blocks_of_cilium_policies_never_match_workloads_or_nodes() {
    let all = cidr("0.0.0.0/0", &[], CidrReach::World);
    let policies = [about("app2", [whole(allow(Egress, [all], []))])];
    for outside in [WWW, API] {
        check(&policies, APP2, outside, 443, Allow);
    }
    for inside in [APP1, HOST, NODE] {
        check(&policies, APP2, inside, 443, Drop);
    }
}

#[test]
fn blocks_of_network_policies_match_every_address() {
    let block = cidr("10.0.0.0/8", &["10.244.0.3/32"], CidrReach::Everything);
    let policies = [about("app2", [whole(allow(Egress, [block], []))])];
    for (to, expect) in [(APP1, Allow), (APP3, Drop), (HOST, Allow), (NODE, Allow), (WWW, Drop)] {
        check(&policies, APP2, to, 443, expect);
    }
}

#[test]
fn exceptions_apply_only_to_their_own_block() {
    let block = cidr("198.51.0.0/16", &["198.51.100.0/24"], CidrReach::World);
    let inner = cidr("198.51.100.7/32", &[], CidrReach::World);
    check(&[about("app2", [whole(allow(Egress, [block.clone()], []))])], APP2, WWW, 443, Drop);
    check(&[about("app2", [whole(allow(Egress, [block, inner], []))])], APP2, WWW, 443, Allow);
}

#[test]
fn entities_name_kinds_of_peers() {
    for (name, ends) in [
        (Entity::All, &[APP1, WWW, HOST, NODE, API][..]),
        (Entity::World, &[WWW, API]),
        (Entity::WorldIpv4, &[WWW, API]),
        (Entity::WorldIpv6, &[]),
        (Entity::Cluster, &[APP1, HOST, NODE, API]),
        (Entity::Host, &[HOST]),
        (Entity::RemoteNode, &[NODE]),
        (Entity::KubeApiserver, &[API]),
        (Entity::Health, &[]),
        (Entity::None, &[]),
    ] {
        let policies = [about("app2", [whole(allow(Egress, [entity(name)], []))])];
        for end in [APP1, WWW, HOST, NODE, API] {
            let expect = if ends.contains(&end) { Allow } else { Drop };
            check(&policies, APP2, end, 443, expect);
        }
    }
}

#[test]
fn a_wildcard_for_workloads_does_not_match_the_world() {
    let pods = Peer::Labels(Selector::default().with(None, key::NAMESPACE, Operator::Exists));
    let policies = [about("app2", [whole(allow(Egress, [pods], []))])];
    for (to, expect) in [(APP1, Allow), (APP3, Allow), (WWW, Drop), (HOST, Drop)] {
        check(&policies, APP2, to, 443, expect);
    }
}

#[test]
fn a_wildcard_for_workloads_does_not_match_one_without_a_namespace() {
    let pods = Peer::Labels(Selector::default().with(None, key::NAMESPACE, Operator::Exists));
    let mut world = world(&[about("app2", [whole(allow(Egress, [pods], []))])]);
    world.workloads[2].labels = Labels::default();
    check_in(&world, APP2, APP1, 443, Allow);
    check_in(&world, APP2, APP3, 443, Drop);
}

#[test]
fn a_denial_names_the_nearest_rule_and_what_differs() {
    let policies = [app1([
        allow(Egress, [app("app2")], [tcp(80)]),
        allow(Ingress, [app("app2")], [tcp(80)]),
        allow(Ingress, [app("app3")], [tcp(80)]),
    ])];
    let world = world(&policies);
    let (subject, peer) = (world.view(APP1, 0), world.view(APP2, 0));
    let query = Query { direction: Ingress, subject, peer, protocol: 6, port: 81, request: None };
    let decision = model::verdict(
        &policies,
        &Context { catalog: &Catalog::new(), mode: EnforcementMode::Default },
        &query,
    );
    let findings: Vec<RuleOutcome> = decision.considered.iter().map(|one| one.outcome).collect();
    assert_eq!(findings, [RuleOutcome::OtherDirection, RuleOutcome::OtherTraffic, RuleOutcome::OtherPeer]);
    assert_eq!(
        decision.to_string(),
        "drop: no rule allows it; nearest: CiliumNetworkPolicy/default/rule1 spec.ingress[0] matches other traffic: 80/TCP"
    );
}

/// app1, app2 and app3 in namespace default; app1 calls port 80 http, app3 port 8080.
fn world(policies: &[Policy]) -> GeneratedWorld {
    let workload = |index: u8, http: Option<u16>| {
        let name = format!("app{index}");
        let mut ports = NamedPorts::default();
        http.into_iter().for_each(|port| ports.insert("http", Protocol::Tcp, port));
        let labels = Labels::of_workload("default", [], [("id", name.as_str())]);
        let addresses =
            [IpAddr::from([10, 244, 0, index]), IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, u16::from(index)])];
        GeneratedWorkload {
            own: vec![("id".into(), name.clone())],
            namespace: "default".into(),
            name,
            labels,
            ports,
            addresses,
        }
    };
    let other = |name: &str, identity, address: &str| {
        GeneratedPeer::new(name, identity, [address.parse().unwrap(), "2001:db8::7".parse().unwrap()])
    };
    GeneratedWorld {
        namespaces: [("default".to_owned(), Vec::new())].into(),
        workloads: vec![workload(1, Some(80)), workload(2, None), workload(3, Some(8080))],
        others: vec![
            other("www", abi::identity::WORLD, "198.51.100.7"),
            other("host", abi::identity::HOST, "10.0.0.1"),
            other("node", abi::identity::REMOTE_NODE, "10.0.0.2"),
            other("api", abi::identity::KUBE_APISERVER, "10.0.0.3"),
        ],
        policies: policies.to_vec(),
        ..GeneratedWorld::default()
    }
}

fn app1(rules: impl IntoIterator<Item = Rule>) -> Policy {
    about("app1", rules)
}

/// A policy for one workload, with default deny in the directions of its rules.
fn about(subject: &str, rules: impl IntoIterator<Item = Rule>) -> Policy {
    fixtures::policy("rule1", [fixtures::spec(selector(subject), rules)])
}

/// A spec for app1.
fn spec(rules: impl IntoIterator<Item = Rule>, ingress: bool, egress: bool) -> Spec {
    let spec = fixtures::spec(selector("app1"), rules);
    Spec { default_deny_ingress: ingress, default_deny_egress: egress, ..spec }
}

fn allow<const P: usize, const T: usize>(
    direction: Direction,
    peers: [Peer; P],
    traffic: [TrafficMatch; T],
) -> Rule {
    fixtures::allow(direction, peers, traffic)
}

fn deny<const P: usize, const T: usize>(
    direction: Direction,
    peers: [Peer; P],
    traffic: [TrafficMatch; T],
) -> Rule {
    fixtures::deny(direction, peers, traffic)
}

/// The rule for all traffic.
fn whole(rule: Rule) -> Rule {
    Rule { traffic: Traffic::Any, ..rule }
}

fn selector(name: &str) -> Selector {
    Selector::default().with(Some(Source::K8s), "id", Operator::equals(name))
}

fn app(name: &str) -> Peer {
    Peer::Labels(selector(name))
}

fn entity(entity: Entity) -> Peer {
    Peer::Entity(entity)
}

fn http(port: u16, path: &str) -> TrafficMatch {
    let rule = HttpRule { path: Some(path.into()), ..HttpRule::default() };
    TrafficMatch::Port { protocol: Protocol::Tcp, port: Port::Range(port, port), http: Some([rule].into()) }
}
