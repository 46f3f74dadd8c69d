//! One way in which rules tell peers apart.

use crate::cidr::family_block;
use crate::domain::DomainPattern;
use crate::rule::{Cidr, CidrReach, Entity, Peer};
use abi::identity::{HOST, is_remote_node};
use identity::{Labels, Operator, Requirement, Selector, Source, key};

/// A facet that a peer has or has not: that a selector selects it, that a block holds its address, and so on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Facet {
    /// Workloads, and other peers with such labels.
    Labels(Selector),
    /// A selector whose label every workload has; workloads without a namespace are matched one by one.
    AnyWorkload(Selector),
    /// Nodes, by their labels.
    Nodes(Selector),
    /// A kind of peer.
    Entity(Entity),
    /// An address in a block.
    Block { block: Cidr, except: Box<[Cidr]>, reach: CidrReach },
    /// An address that such a name was resolved to.
    Domain(DomainPattern),
}

impl Facet {
    /// The facet of a rule's peer; none where the rule matches every peer, known or not.
    pub(crate) fn of(peer: &Peer) -> Option<Self> {
        Some(match peer {
            Peer::Labels(selector) if selector.requirements().is_empty() => return None,
            Peer::Labels(selector) if asks_only_for_a_namespace(selector) => {
                Self::AnyWorkload(selector.clone())
            }
            Peer::Labels(selector) => Self::Labels(selector.clone()),
            Peer::Nodes(selector) => Self::Nodes(selector.clone()),
            Peer::Entity(Entity::All) => return None,
            Peer::Entity(Entity::KubeApiserver) => Self::Labels(Entity::KubeApiserver.labels()?),
            // The address tells the family of the world, since the world may have one number for both.
            Peer::Entity(entity) => match family_block(*entity) {
                Some(block) => Self::Block { block, except: Box::default(), reach: CidrReach::World },
                None => Self::Entity(*entity),
            },
            Peer::Cidr { block, except, reach } => {
                Self::Block { block: *block, except: except.as_slice().into(), reach: *reach }
            }
            Peer::Domain(pattern) => Self::Domain(pattern.clone()),
            Peer::CidrGroup { .. } | Peer::Service(_) => unreachable!("references were resolved"),
        })
    }

    /// The selector that finds the peers with the facet.
    pub(crate) fn selector(&self) -> Option<&Selector> {
        match self {
            Self::Labels(selector) => Some(selector),
            _ => None,
        }
    }

    /// Whether no workload has it but by labels of its own, so that its namespace never has it.
    pub(crate) fn is_of_own_labels(&self) -> bool {
        let asks = |requirement: &Requirement| {
            requirement.requires_label()
                && requirement.name != *key::NAMESPACE
                && !requirement.name.starts_with(key::NAMESPACE_LABELS)
        };
        self.selector().is_some_and(|selector| selector.requirements().iter().any(asks))
    }

    /// Whether it is a property of an address, not of the peer behind it.
    pub(crate) fn is_of_addresses(&self) -> bool {
        matches!(self, Self::Block { .. } | Self::Domain(_))
    }

    /// Whether every workload has it, whatever its labels.
    pub(crate) fn is_of_any_workload(&self) -> bool {
        matches!(self, Self::AnyWorkload(_) | Self::Entity(Entity::Cluster))
    }

    /// Whether a peer with this number and these labels has the facet; false for facets of addresses.
    pub(crate) fn selects(&self, number: u32, labels: &Labels) -> bool {
        match self {
            Self::Labels(selector) | Self::AnyWorkload(selector) => selector.selects(labels),
            Self::Nodes(selector) => (number == HOST || is_remote_node(number)) && selector.selects(labels),
            Self::Entity(entity) => entity.names(number),
            Self::Block { .. } | Self::Domain(_) => false,
        }
    }
}

fn asks_only_for_a_namespace(selector: &Selector) -> bool {
    selector.requirements().iter().all(|requirement| {
        requirement.name == key::NAMESPACE
            && requirement.operator == Operator::Exists
            && requirement.source.as_ref().is_none_or(|source| *source == Source::K8s)
    })
}
