//! Selectors of reserved labels that no identity has: they become entities.

use identity::{Labels, Operator, Requirement, Selector, Source};
use policy::rule::{Entity, Peer};

const WORLD: &str = "world";

/// The world by address family; one identity stands for both families.
const FAMILIES: [(&str, Entity); 2] = [("world-ipv4", Entity::WorldIpv4), ("world-ipv6", Entity::WorldIpv6)];

/// The peers that a selector stands for.
pub(super) fn peers(selector: Selector) -> Vec<Peer> {
    if is_api_server(&selector) {
        return vec![Peer::Entity(Entity::KubeApiserver)];
    }
    if !selector.requirements().iter().any(names_family) {
        return vec![Peer::Labels(selector)];
    }
    let outside = FAMILIES.iter().filter(|(name, _)| {
        let mut labels = Labels::reserved(WORLD);
        labels.insert(Source::Reserved, *name, "");
        selector.selects(&labels)
    });
    let outside = outside.map(|(_, entity)| Peer::Entity(*entity)).collect::<Vec<_>>();
    // No peer inside the cluster has the label of the world or of one of its families.
    let asks_for_world = |one: &Requirement| {
        let is_world = *one.name == *WORLD || names_family(one);
        one.source == Some(Source::Reserved) && is_world && one.requires_label()
    };
    let has_inside = !selector.requirements().iter().any(asks_for_world);
    let inside = has_inside
        .then(|| selector.clone().with(Some(Source::Reserved), WORLD, Operator::DoesNotExist))
        .map(Peer::Labels);
    let peers: Vec<Peer> = inside.into_iter().chain(outside).collect();
    if peers.is_empty() { vec![Peer::Labels(selector)] } else { peers }
}

/// Whether the selector requires the API server label and nothing else.
fn is_api_server(selector: &Selector) -> bool {
    let [only] = selector.requirements() else { return false };
    let name = Entity::KubeApiserver.name();
    only.source == Some(Source::Reserved)
        && *only.name == *name
        && only.requires_label()
        && only.matches(&Labels::reserved(name))
}

fn names_family(one: &Requirement) -> bool {
    matches!(one.source, None | Some(Source::Reserved))
        && FAMILIES.iter().any(|(name, _)| *one.name == **name)
}
