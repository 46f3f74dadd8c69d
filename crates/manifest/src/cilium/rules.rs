//! The four lists of rules of a spec: who may reach whom, and who may not.

use super::scope::Scope;
use super::{peers, ports};
use crate::icmp;
use crate::item::{Fields, Item, Nulls};
use policy::rule::{Action, Direction, Peers, Rule, Traffic};

/// Which list a rule stands in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Section {
    name: &'static str,
    pub(super) direction: Direction,
    pub(super) action: Action,
}

const SECTIONS: [Section; 4] = [
    Section { name: "ingress", direction: Direction::Ingress, action: Action::Allow },
    Section { name: "ingressDeny", direction: Direction::Ingress, action: Action::Deny },
    Section { name: "egress", direction: Direction::Egress, action: Action::Allow },
    Section { name: "egressDeny", direction: Direction::Egress, action: Action::Deny },
];

/// How an allow rule may ask for authentication, and whether that asks for anything.
const AUTHENTICATION: &[(&str, bool)] =
    &[("disabled", false), ("required", true), ("test-always-fail", true)];

/// All rules of a spec, and the directions that have any.
#[derive(Debug, Default)]
pub(super) struct Sections {
    pub(super) rules: Vec<Rule>,
    pub(super) has_ingress: bool,
    pub(super) has_egress: bool,
}

/// Reads the four lists; `place` is what the rules call the spec.
pub(super) fn sections(fields: &mut Fields<'_>, place: &str, scope: &Scope) -> Sections {
    let mut sections = Sections::default();
    for section in SECTIONS {
        let items = fields.take(section.name).iter().flat_map(Item::list).collect::<Vec<_>>();
        match section.direction {
            Direction::Ingress => sections.has_ingress |= !items.is_empty(),
            Direction::Egress => sections.has_egress |= !items.is_empty(),
        }
        for (index, item) in items.iter().enumerate() {
            let place = format!("{place}.{}[{index}]", section.name);
            sections.rules.extend(rule(item, place, section, scope));
        }
    }
    sections
}

fn rule(item: &Item<'_>, place: String, section: Section, scope: &Scope) -> Option<Rule> {
    let mut fields = item.fields(Nulls::Refused)?;
    let peers = peers::read(&mut fields, section, scope);
    let traffic = traffic(&mut fields, section);
    if section.action == Action::Allow
        && let Some(authentication) = fields.take("authentication")
    {
        self::authentication(&authentication);
    }
    fields.finish();
    let peers = match (peers, &traffic) {
        (Some(peers), _) => Peers::Of(peers),
        // No peer is named: traffic of this kind may come from anyone, but a rule that says nothing selects nobody.
        (None, Traffic::Of(_)) => Peers::Any,
        (None, Traffic::Any) => Peers::Of(Vec::new()),
    };
    Some(Rule {
        place: place.into(),
        direction: section.direction,
        priority: Rule::USUAL_PRIORITY,
        action: section.action,
        peers,
        traffic,
    })
}

/// Reads `toPorts` and `icmps`; empty lists say nothing of what is sent.
fn traffic(fields: &mut Fields<'_>, section: Section) -> Traffic {
    let (to_ports, icmps) = (fields.take("toPorts"), fields.take("icmps"));
    let to_ports = to_ports.iter().flat_map(Item::list).collect::<Vec<_>>();
    let has_icmps = icmps.as_ref().is_some_and(|icmps| !icmps.list().is_empty());
    match icmps.filter(|_| has_icmps) {
        Some(icmps) if !to_ports.is_empty() => {
            icmps.error("stands beside `toPorts`; write a rule of its own for it");
            Traffic::Any
        }
        Some(icmps) => Traffic::Of(icmp::matches(&icmps)),
        None if to_ports.is_empty() => Traffic::Any,
        None => Traffic::Of(to_ports.iter().flat_map(|item| ports::matches(item, section)).collect()),
    }
}

fn authentication(item: &Item<'_>) {
    let Some(mut fields) = item.fields(Nulls::Refused) else { return };
    if let Some(mode) = fields.require("mode")
        && mode.one_of("mode", AUTHENTICATION) == Some(true)
    {
        item.not_supported("`authentication`");
    }
    fields.finish();
}
