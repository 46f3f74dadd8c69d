//! Rules that name API servers, whose addresses are known only from the list of their service.

use identity::{Operator, Requirement, Source, key};
use manifest::Object;
use policy::rule::{Entity, Peer, Peers, Policy, PolicyId, Rule};
use service::API_SERVER;

/// Whether an object lists an address of an API server.
pub(super) fn is_listed_by(object: &Object) -> bool {
    match object {
        Object::Endpoints(list) => {
            (&*list.namespace, &*list.service) == API_SERVER && !list.addresses().is_empty()
        }
        _ => false,
    }
}

/// The rules with a peer that only API servers match.
pub(super) fn rules<'a>(
    policies: impl Iterator<Item = &'a Policy>,
) -> impl Iterator<Item = (&'a PolicyId, &'a Rule)> {
    let rules = policies.flat_map(|policy| {
        policy.specs.iter().flat_map(|spec| &spec.rules).map(move |rule| (&policy.id, rule))
    });
    rules.filter(|(_, rule)| match &rule.peers {
        Peers::Any => false,
        Peers::Of(peers) => peers.iter().any(is_api_server),
    })
}

fn is_api_server(peer: &Peer) -> bool {
    let needs = |one: &Requirement| {
        one.source == Some(Source::Reserved)
            && one.name == key::KUBE_APISERVER
            && matches!(one.operator, Operator::Exists | Operator::In(_))
    };
    match peer {
        Peer::Entity(entity) => *entity == Entity::KubeApiserver,
        Peer::Labels(selector) | Peer::Nodes(selector) => selector.requirements().iter().any(needs),
        _ => false,
    }
}
