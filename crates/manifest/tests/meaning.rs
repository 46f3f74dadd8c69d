//! The parsed form of policies: each line of `meaning.txt` is a `spec`, and the indented lines under it are its parsed
//! form.

use manifest::{Object, Policy};
use policy::rule::{
    Action, CidrReach, Direction, Peer, Peers, Port, Rule, Subject, Tier, Traffic, TrafficMatch,
};

const HEADS: [(&str, &str); 6] = [
    ("cnp ", "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: p, namespace: x}\n"),
    ("ccnp ", "apiVersion: cilium.io/v2\nkind: CiliumClusterwideNetworkPolicy\nmetadata: {name: p}\n"),
    (
        "cluster ",
        "apiVersion: policy.networking.k8s.io/v1alpha2\nkind: ClusterNetworkPolicy\nmetadata: {name: p}\n",
    ),
    (
        "admin ",
        "apiVersion: policy.networking.k8s.io/v1alpha1\nkind: AdminNetworkPolicy\nmetadata: {name: p}\n",
    ),
    (
        "baseline ",
        "apiVersion: policy.networking.k8s.io/v1alpha1\nkind: BaselineAdminNetworkPolicy\n\
         metadata: {name: default}\n",
    ),
    ("knp ", "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p, namespace: x}\n"),
];

#[test]
fn of_specs() {
    let cases = include_str!("meaning.txt");
    let mut actual = String::new();
    for line in cases.lines().filter(|line| !line.starts_with("  ")) {
        actual.push_str(line);
        actual.push('\n');
        let head = HEADS.iter().find_map(|(name, head)| Some((head, line.strip_prefix(name)?)));
        let Some((head, spec)) = head else { continue };
        actual.push_str(&told(&read(&format!("{head}spec: {{{spec}}}\n"))));
    }
    for (line, (expected, actual)) in cases.lines().zip(actual.lines()).enumerate() {
        assert_eq!(expected, actual, "line {}", line + 1);
    }
    assert_eq!(cases.lines().count(), actual.lines().count());
}

fn read(text: &str) -> Policy {
    let manifest = manifest::parse("p.yaml", text).unwrap_or_else(|findings| panic!("{text}{findings:?}"));
    let [Object::Policy(policy)] = &manifest.objects[..] else { panic!("{manifest:?}") };
    policy.clone()
}

fn told(policy: &Policy) -> String {
    let mut told = String::new();
    for spec in &policy.specs {
        let denied = match (spec.default_deny_ingress, spec.default_deny_egress) {
            (true, true) => "both ways closed",
            (true, false) => "ingress closed",
            (false, true) => "egress closed",
            (false, false) => "open",
        };
        let nodes = if matches!(spec.subject, Subject::Nodes(_)) { "nodes " } else { "" };
        let tier = if spec.tier == Tier::Normal { String::new() } else { format!(", {:?}", spec.tier) };
        let log = spec.log.as_ref().map(|log| format!(", logged {log:?}")).unwrap_or_default();
        told.push_str(&format!("  {nodes}{}: {denied}{tier}{log}\n", spec.subject.selector()));
        spec.rules.iter().for_each(|one| told.push_str(&format!("  {}\n", rule(one))));
    }
    told
}

fn rule(rule: &Rule) -> String {
    let action = match rule.action {
        Action::Allow => "allow",
        Action::Deny => "deny",
        Action::Pass => "pass",
    };
    let order = match rule.priority {
        Rule::USUAL_PRIORITY => String::new(),
        other => format!(" (order {}.{})", other >> 16, other & 0xffff),
    };
    let peers = match &rule.peers {
        Peers::Any => "anyone".to_owned(),
        Peers::Of(peers) if peers.is_empty() => "no peer".to_owned(),
        Peers::Of(peers) => peers.iter().map(peer).collect::<Vec<_>>().join(" or "),
    };
    let traffic = match &rule.traffic {
        Traffic::Any => "anything".to_owned(),
        Traffic::Of(matches) if matches.is_empty() => "nothing".to_owned(),
        Traffic::Of(matches) => matches.iter().map(traffic).collect::<Vec<_>>().join(", "),
    };
    let word = if rule.direction == Direction::Ingress { "from" } else { "to" };
    format!("{}{order}: {action} {word} {peers}: {traffic}", rule.place)
}

fn peer(peer: &Peer) -> String {
    match peer {
        Peer::Labels(selector) => format!("({selector})"),
        Peer::Entity(entity) => format!("{entity:?}"),
        Peer::Cidr { block, except, reach } => {
            let reach = if *reach == CidrReach::World { "world" } else { "any" };
            except.iter().fold(format!("{reach} {block}"), |told, block| format!("{told} but {block}"))
        }
        other => other.to_string(),
    }
}

fn traffic(one: &TrafficMatch) -> String {
    match one {
        TrafficMatch::Icmp { family, kind } => format!("icmp {family:?} {kind}"),
        TrafficMatch::Port { protocol, port, http } => {
            let port = match port {
                Port::Any => "any".to_owned(),
                Port::Range(first, last) if first == last => first.to_string(),
                Port::Range(first, last) => format!("{first}-{last}"),
                Port::Named(name) => name.clone(),
            };
            let http = http.as_ref().map(|rules| format!(" {rules:?}")).unwrap_or_default();
            format!("{port}/{protocol:?}{http}")
        }
    }
}
