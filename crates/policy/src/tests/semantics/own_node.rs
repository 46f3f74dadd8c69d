//! What the node itself sends to its own workloads: nothing closes a workload to it by default, and rules that deny do.

use super::*;

/// Ways to deny the node, each with what is denied to it.
fn denials() -> Vec<Rule> {
    let nodes = Peer::Nodes(Selector::default());
    let label = Peer::Labels(Selector::default().with(Some(Source::Reserved), "host", Operator::Exists));
    let mut denials: Vec<Rule> =
        [entity(Entity::Host), entity(Entity::All), entity(Entity::Cluster), nodes, label]
            .map(|peer| deny(Ingress, [peer], [tcp(80)]))
            .into();
    denials.push(Rule { peers: Peers::Any, ..deny(Ingress, [], [tcp(80)]) });
    denials
}

/// A policy of its own for each spec.
fn each<const N: usize>(specs: [Spec; N]) -> Vec<Policy> {
    let policy = |(index, spec)| Policy { id: id(&format!("rule{index}")), specs: vec![spec] };
    specs.into_iter().enumerate().map(policy).collect()
}

#[test]
fn a_rule_that_denies_the_node_is_obeyed() {
    for rule in denials() {
        let policies = [app1([rule.clone()])];
        check(&policies, HOST, APP1, 80, Drop);
        check(&policies, HOST, APP1, 81, Allow);
        // Without default deny it is the same.
        let policies = [Policy { specs: vec![spec([rule], false, false)], ..app1([]) }];
        check(&policies, HOST, APP1, 80, Drop);
        check(&policies, HOST, APP1, 81, Allow);
    }
    let all = whole(deny(Ingress, [entity(Entity::Host)], []));
    check(&[app1([all])], HOST, APP1, (47, 0), Drop);
}

#[test]
fn a_rule_that_denies_others_is_not_about_the_node() {
    let pods = Peer::Labels(Selector::default().with(None, key::NAMESPACE, Operator::Exists));
    for peer in
        [pods, entity(Entity::RemoteNode), entity(Entity::World), cidr("0.0.0.0/0", &[], CidrReach::World)]
    {
        check(&[app1([whole(deny(Ingress, [peer], []))])], HOST, APP1, 80, Allow);
    }
}

#[test]
fn a_rule_that_is_asked_before_lets_the_node_in_all_the_same() {
    let before =
        Spec { tier: Tier::Admin, ..spec([whole(allow(Ingress, [entity(Entity::Host)], []))], false, false) };
    let denying = spec([whole(deny(Ingress, [entity(Entity::All)], []))], true, false);
    for (tier, expect) in [(Tier::Admin, Drop), (Tier::Normal, Allow), (Tier::Baseline, Allow)] {
        let denying = Spec { tier, ..denying.clone() };
        check(&each([before.clone(), denying]), HOST, APP1, 80, expect);
    }
}

#[test]
fn what_a_rule_passes_on_is_denied_to_the_node_by_a_tier_below() {
    let pass = Rule { action: Action::Pass, ..allow(Ingress, [entity(Entity::Host)], [tcp(80)]) };
    let admin = Spec {
        tier: Tier::Admin,
        ..spec([pass, Rule { priority: 1, ..whole(deny(Ingress, [entity(Entity::All)], [])) }], false, false)
    };
    let normal = spec([deny(Ingress, [entity(Entity::Host)], [tcp(80)])], true, false);
    let alone = each([admin.clone()]);
    check(&alone, HOST, APP1, 80, Allow);
    check(&alone, HOST, APP1, 81, Drop);
    check(&each([admin, normal]), HOST, APP1, 80, Drop);
}

#[test]
fn the_baseline_denies_the_node_where_nothing_isolates() {
    let baseline = Spec {
        tier: Tier::Baseline,
        ..spec([whole(deny(Ingress, [entity(Entity::Host)], []))], false, false)
    };
    check(&each([baseline.clone()]), HOST, APP1, 80, Drop);
    let isolating = spec([], true, false);
    check(&each([baseline, isolating]), HOST, APP1, 80, Allow);
}

#[test]
fn rules_about_requests_ask_nothing_of_the_node() {
    let mut rule = allow(Ingress, [], [http(80, "/public")]);
    rule.peers = Peers::Any;
    check(&[app1([rule.clone()])], HOST, APP1, "/private", Allow);
    check(&[app1([rule.clone()])], APP2, APP1, "/private", DenyRequest);
    let denial = Rule { peers: Peers::Any, ..deny(Ingress, [], [tcp(80)]) };
    check(&[app1([rule, denial])], HOST, APP1, "/public", Drop);
}

#[test]
fn rules_on_the_way_out_refuse_the_node_as_anyone() {
    check(&[app1([whole(allow(Egress, [app("app2")], []))])], APP1, HOST, 80, Drop);
    check(&[app1([whole(deny(Egress, [entity(Entity::Host)], []))])], APP1, HOST, 80, Drop);
}
