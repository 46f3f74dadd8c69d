//! The four lists of rules of a spec.

use policy::rule::{Action, Direction};

/// The list that a rule stands in; the list decides direction and action.
#[derive(Clone, Copy, Debug)]
pub(super) struct Section {
    pub(super) name: &'static str,
    pub(super) direction: Direction,
    pub(super) action: Action,
}

pub(super) const SECTIONS: [Section; 4] = [
    Section { name: "ingress", direction: Direction::Ingress, action: Action::Allow },
    Section { name: "ingressDeny", direction: Direction::Ingress, action: Action::Deny },
    Section { name: "egress", direction: Direction::Egress, action: Action::Allow },
    Section { name: "egressDeny", direction: Direction::Egress, action: Action::Deny },
];
