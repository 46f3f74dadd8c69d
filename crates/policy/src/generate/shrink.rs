//! Shrinks a world in which two implementations differ.

use super::generated::GeneratedWorld;
use crate::rule::{EnforcementMode, Peers, Rule, Subject, Traffic};

/// The smallest world reachable by removing one thing after another while the difference persists.
///
/// Workloads and other peers stay, since probes refer to them by index.
pub fn shrink(world: &GeneratedWorld, differs: impl Fn(&GeneratedWorld) -> bool) -> GeneratedWorld {
    let mut smallest = world.clone();
    while let Some(smaller) = steps(&smallest).into_iter().find(|smaller| differs(smaller)) {
        smallest = smaller;
    }
    smallest
}

/// Every world with one thing removed.
fn steps(world: &GeneratedWorld) -> Vec<GeneratedWorld> {
    let mut steps = around(world);
    for (at, policy) in world.policies.iter().enumerate() {
        steps.push(edited(world, |world| drop(world.policies.remove(at))));
        for (spec_at, spec) in policy.specs.iter().enumerate() {
            steps.push(edited(world, |world| drop(world.policies[at].specs.remove(spec_at))));
            if let [fewer @ .., _] = spec.subject.selector().requirements() {
                steps.push(edited(world, |world| {
                    let (Subject::Workloads(selector) | Subject::Nodes(selector)) =
                        &mut world.policies[at].specs[spec_at].subject;
                    *selector = fewer.iter().cloned().collect();
                }));
            }
            for (rule_at, rule) in spec.rules.iter().enumerate() {
                let edit = |change: &dyn Fn(&mut Vec<Rule>)| {
                    edited(world, |world| change(&mut world.policies[at].specs[spec_at].rules))
                };
                steps.push(edit(&|rules| drop(rules.remove(rule_at))));
                steps.extend(
                    simpler(rule).into_iter().map(|simple| edit(&|rules| rules[rule_at] = simple.clone())),
                );
            }
        }
    }
    steps
}

/// Every world with one thing beside the policies removed.
fn around(world: &GeneratedWorld) -> Vec<GeneratedWorld> {
    let mut steps = Vec::new();
    if world.mode != EnforcementMode::Default {
        steps.push(edited(world, |world| world.mode = EnforcementMode::Default));
    }
    if world.audit {
        steps.push(edited(world, |world| world.audit = false));
    }
    for name in world.groups.keys() {
        steps.push(edited(world, |world| _ = world.groups.remove(name)));
    }
    for name in world.services.keys() {
        steps.push(edited(world, |world| _ = world.services.remove(name)));
    }
    for (at, _) in world.others.iter().enumerate().filter(|(_, other)| !other.names.is_empty()) {
        steps.push(edited(world, |world| world.others[at].names.clear()));
    }
    steps
}

/// Every rule with one peer or one part of the traffic removed.
fn simpler(rule: &Rule) -> Vec<Rule> {
    let mut simpler = Vec::new();
    if let Peers::Of(peers) = &rule.peers {
        for at in 0..peers.len() {
            let mut peers = peers.clone();
            peers.remove(at);
            simpler.push(Rule { peers: Peers::Of(peers), ..rule.clone() });
        }
    }
    if let Traffic::Of(matches) = &rule.traffic {
        for at in 0..matches.len() {
            let mut matches = matches.clone();
            matches.remove(at);
            simpler.push(Rule { traffic: Traffic::Of(matches), ..rule.clone() });
        }
    }
    simpler
}

fn edited(world: &GeneratedWorld, edit: impl FnOnce(&mut GeneratedWorld)) -> GeneratedWorld {
    let mut edited = world.clone();
    edit(&mut edited);
    edited
}
