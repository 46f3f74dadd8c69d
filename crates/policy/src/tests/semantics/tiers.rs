//! Which tier decides, and what happens to passed traffic.

use super::*;

/// One policy for each rule, each in its tier; policies of the normal tier isolate.
fn tiers(rules: &[(Tier, u32, Action)]) -> Vec<Policy> {
    let one = |(index, (tier, priority, action)): (usize, &(Tier, u32, Action))| {
        let rule = Rule { action: *action, priority: *priority, ..whole(allow(Ingress, [app("app2")], [])) };
        let spec = Spec { tier: *tier, ..spec([rule], *tier == Tier::Normal, false) };
        Policy { id: id(&format!("rule{index}")), specs: vec![spec] }
    };
    rules.iter().enumerate().map(one).collect()
}

#[test]
fn tiers_are_evaluated_in_order_and_pass_skips_to_the_next() {
    use Action::{Allow as Yes, Deny as No, Pass};
    use Tier::{Admin, Baseline, Normal};
    for (rules, expect) in [
        (vec![(Admin, 0, Yes), (Normal, 0, No)], Allow),
        (vec![(Normal, 0, Yes), (Baseline, 0, No)], Allow),
        (vec![(Admin, 1, No), (Admin, 0, Yes)], Allow),
        (vec![(Admin, 0, Pass), (Admin, 1, No), (Normal, 0, Yes)], Allow),
        (vec![(Admin, 0, Pass), (Admin, 0, No), (Normal, 0, Yes)], Drop),
        (vec![(Normal, 0, Pass), (Normal, 1, Yes)], Drop),
        (vec![(Admin, 0, Pass), (Baseline, 0, No)], Drop),
        (vec![(Admin, 0, Pass), (Baseline, 0, Yes), (Baseline, 1, No)], Allow),
        (vec![(Baseline, 0, Pass), (Baseline, 1, No)], Allow),
        (vec![(Baseline, 0, Yes)], Allow),
    ] {
        check(&tiers(&rules), APP2, APP1, 80, expect);
    }
}

#[test]
fn an_isolated_workload_never_reaches_the_baseline() {
    let baseline = (Tier::Baseline, 0, Action::Allow);
    let isolated = about("app1", [whole(allow(Ingress, [app("app3")], []))]);
    let policies = [tiers(&[baseline]), vec![Policy { id: id("rule9"), ..isolated }]].concat();
    check(&policies, APP2, APP1, 80, Drop);
    check(&policies, APP3, APP1, 80, Allow);
}

#[test]
fn default_deny_of_the_baseline_applies_after_its_rules() {
    let rule = whole(allow(Ingress, [app("app2")], []));
    let spec = Spec { tier: Tier::Baseline, ..spec([rule], true, false) };
    let policies = [Policy { specs: vec![spec], ..app1([]) }];
    check(&policies, APP2, APP1, 80, Allow);
    check(&policies, APP3, APP1, 80, Drop);
}

/// Policies of one tier for all traffic of app2, and one that passes some of it.
fn passing(some: TrafficMatch, others: &[(Tier, u32, Action)]) -> Vec<Policy> {
    let rule = Rule { action: Action::Pass, ..allow(Ingress, [app("app2")], [some]) };
    let pass = Spec { tier: Tier::Admin, ..spec([rule], false, false) };
    let rest = tiers(others).into_iter().map(|mut policy| {
        policy.specs[0].rules[0].priority += 1;
        policy
    });
    rest.chain([Policy { id: id("rule9"), specs: vec![pass] }]).collect()
}

#[test]
fn passed_traffic_reaches_lower_tiers_despite_a_later_rule_for_more_traffic() {
    use Action::{Allow as Yes, Deny as No};
    use Tier::{Admin, Baseline, Normal};
    for (below, expect) in [
        // No lower tier selects the workload.
        (&[(Admin, 0, No)][..], Allow),
        (&[(Admin, 0, No), (Normal, 0, Yes)], Allow),
        (&[(Admin, 0, Yes), (Normal, 0, No)], Drop),
        (&[(Admin, 0, No), (Baseline, 0, Yes), (Baseline, 1, No)], Allow),
        (&[(Admin, 0, Yes), (Baseline, 0, No)], Drop),
    ] {
        let range = TrafficMatch::Port { protocol: Protocol::Any, port: Port::Range(80, 99), http: None };
        let named =
            TrafficMatch::Port { protocol: Protocol::Tcp, port: Port::Named("http".into()), http: None };
        let whole = TrafficMatch::Port { protocol: Protocol::Tcp, port: Port::Any, http: None };
        let else_ = if below[0].2 == No { Drop } else { Allow };
        for some in [tcp(80), range, named, whole.clone()] {
            let is_whole = some == whole;
            let policies = passing(some, below);
            check(&policies, APP2, APP1, 80, expect);
            check(&policies, APP2, APP1, 443, if is_whole { expect } else { else_ });
            check(&policies, APP2, APP1, (132, 443), else_);
        }
    }
}

#[test]
fn passed_traffic_is_denied_where_a_lower_policy_isolates() {
    let isolating = about("app1", [whole(allow(Ingress, [app("app3")], []))]);
    let policies = passing(tcp(80), &[(Tier::Admin, 0, Action::Allow)]);
    let policies = [policies, vec![Policy { id: id("rule99"), ..isolating }]].concat();
    check(&policies, APP2, APP1, 80, Drop);
    check(&policies, APP2, APP1, 81, Allow);
}
