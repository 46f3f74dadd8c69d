//! Connections from the local node to its own workloads: default deny never closes them, deny rules do.

use super::*;

/// Rules that deny the node, in each way that a rule can name it.
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

/// One policy for each spec.
fn each<const N: usize>(specs: [Spec; N]) -> Vec<Policy> {
    let policy = |(index, spec)| Policy { id: id(&format!("rule{index}")), specs: vec![spec] };
    specs.into_iter().enumerate().map(policy).collect()
}

#[test]
fn a_rule_that_denies_the_node_is_enforced() {
    for rule in denials() {
        let policies = [app1([rule.clone()])];
        check(&policies, HOST, APP1, 80, Drop);
        check(&policies, HOST, APP1, 81, Allow);
        // The same holds without default deny.
        let policies = [Policy { specs: vec![spec([rule], false, false)], ..app1([]) }];
        check(&policies, HOST, APP1, 80, Drop);
        check(&policies, HOST, APP1, 81, Allow);
    }
    let all = whole(deny(Ingress, [entity(Entity::Host)], []));
    check(&[app1([all])], HOST, APP1, (47, 0), Drop);
}

#[test]
fn a_rule_that_denies_other_peers_does_not_match_the_node() {
    let pods = Peer::Labels(Selector::default().with(None, key::NAMESPACE, Operator::Exists));
    for peer in
        [pods, entity(Entity::RemoteNode), entity(Entity::World), cidr("0.0.0.0/0", &[], CidrReach::World)]
    {
        check(&[app1([whole(deny(Ingress, [peer], []))])], HOST, APP1, 80, Allow);
    }
}

#[test]
fn an_allow_of_an_earlier_tier_admits_the_node() {
    let before =
        Spec { tier: Tier::Admin, ..spec([whole(allow(Ingress, [entity(Entity::Host)], []))], false, false) };
    let denying = spec([whole(deny(Ingress, [entity(Entity::All)], []))], true, false);
    for (tier, expect) in [(Tier::Admin, Drop), (Tier::Normal, Allow), (Tier::Baseline, Allow)] {
        let denying = Spec { tier, ..denying.clone() };
        check(&each([before.clone(), denying]), HOST, APP1, 80, expect);
    }
}

#[test]
fn a_lower_tier_denies_the_node_what_a_rule_passes() {
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
fn the_baseline_denies_the_node_where_no_policy_isolates() {
    let baseline = Spec {
        tier: Tier::Baseline,
        ..spec([whole(deny(Ingress, [entity(Entity::Host)], []))], false, false)
    };
    check(&each([baseline.clone()]), HOST, APP1, 80, Drop);
    let isolating = spec([], true, false);
    check(&each([baseline, isolating]), HOST, APP1, 80, Allow);
}

#[test]
fn http_rules_do_not_limit_the_node() {
    let mut rule = allow(Ingress, [], [http(80, "/public")]);
    rule.peers = Peers::Any;
    check(&[app1([rule.clone()])], HOST, APP1, "/private", Allow);
    check(&[app1([rule.clone()])], APP2, APP1, "/private", DenyRequest);
    let denial = Rule { peers: Peers::Any, ..deny(Ingress, [], [tcp(80)]) };
    check(&[app1([rule, denial])], HOST, APP1, "/public", Drop);
}

#[test]
fn egress_rules_deny_the_node_like_any_peer() {
    check(&[app1([whole(allow(Egress, [app("app2")], []))])], APP1, HOST, 80, Drop);
    check(&[app1([whole(deny(Egress, [entity(Entity::Host)], []))])], APP1, HOST, 80, Drop);
}
