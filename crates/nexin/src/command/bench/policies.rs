//! The policies of benchmarks, written as manifests.

use manifest::Object;
use policy::rule::Policy;

/// Parses a manifest of one policy.
pub(super) fn read_one(text: &str) -> Policy {
    let mut objects = match manifest::parse("benchmark", text) {
        Ok(manifest) => manifest.objects,
        Err(findings) => unreachable!("{findings:?} in {text}"),
    };
    match (objects.pop(), objects.is_empty()) {
        (Some(Object::Policy(policy)), true) => policy,
        other => unreachable!("a manifest of one policy, not {other:?}"),
    }
}

/// A policy with one rule, from peers labelled `bar` to subjects labelled `foo`.
pub(super) fn by_labels(index: usize) -> Policy {
    read_one(&format!(
        "{{apiVersion: cilium.io/v2, kind: CiliumNetworkPolicy, metadata: {{name: l3-{index}, namespace: monitoring}},
          spec: {{endpointSelector: {{matchLabels: {{foo: ''}}}},
                  ingress: [{{fromEndpoints: [{{matchLabels: {{bar: ''}}}}]}}]}}}}"
    ))
}

/// A policy with one rule, from subjects with a label `value` to a CIDR block and one TCP port. The blocks are the
/// same as in Cilium's benchmark: of five lengths, in three networks, some of them repeated.
pub(super) fn by_block(index: usize, value: &str) -> Policy {
    let length = [8, 16, 24, 28, 32][index % 5];
    let address = [
        [10, 192, 244][index % 3],
        if length >= 16 { index % 17 } else { 0 },
        if length >= 24 { index % 121 } else { 0 },
        match length {
            28 => (index % 16) << 4,
            32 => index % 255,
            _ => 0,
        },
    ];
    let [a, b, c, d] = address;
    read_one(&format!(
        "{{apiVersion: cilium.io/v2, kind: CiliumNetworkPolicy, metadata: {{name: cidr-{index}, namespace: monitoring}},
          spec: {{endpointSelector: {{matchLabels: {{value: '{value}'}}}},
                  egress: [{{toCIDR: ['{a}.{b}.{c}.{d}/{length}'],
                             toPorts: [{{ports: [{{port: '{}', protocol: TCP}}]}}]}}]}}}}",
        80 + index % 97
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use policy::rule::{Peer, Peers};

    #[test]
    fn blocks_are_of_five_lengths_in_three_networks() {
        let block = |index| match &by_block(index, "").specs[0].rules[0].peers {
            Peers::Of(peers) => match &peers[..] {
                [Peer::Cidr { block, .. }] => block.to_string(),
                other => panic!("{other:?}"),
            },
            Peers::Any => panic!("any peer"),
        };
        let blocks: Vec<String> = [0, 1, 7, 18, 124].map(block).into();
        assert_eq!(blocks, ["10.0.0.0/8", "192.1.0.0/16", "192.7.7.0/24", "10.1.18.32/28", "192.5.3.124/32"]);
    }
}
