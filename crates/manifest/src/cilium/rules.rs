//! The rules of a spec, from its four lists.

use super::conflicts::{ProxyRequirement, ProxySettings};
use super::ports::ToPortsEntry;
use super::scope::Scope;
use super::section::{SECTIONS, Section};
use super::{peers, ports, probes};
use crate::icmp;
use crate::item::{Fields, Item, Nulls};
use policy::rule::{Action, Direction, Peers, Rule, Subject, Traffic};

/// The authentication modes of an allow rule.
const AUTHENTICATION: &[(&str, &str)] =
    &[("disabled", "disabled"), ("required", "required"), ("test-always-fail", "test-always-fail")];

/// All rules of a spec, and the directions that have any.
#[derive(Debug, Default)]
pub(super) struct SpecRules<'a> {
    pub(super) rules: Vec<Rule>,
    pub(super) requirements: Vec<ProxyRequirement<'a>>,
    pub(super) has_ingress: bool,
    pub(super) has_egress: bool,
}

/// Reads the four lists; `place` is the path of the spec.
pub(super) fn sections<'a>(
    fields: &mut Fields<'a>,
    place: &str,
    subject: &Subject,
    scope: &Scope,
) -> SpecRules<'a> {
    let mut sections = SpecRules::default();
    for section in SECTIONS {
        let items = fields.take(section.name).iter().flat_map(Item::list).collect::<Vec<_>>();
        match section.direction {
            Direction::Ingress => sections.has_ingress |= !items.is_empty(),
            Direction::Egress => sections.has_egress |= !items.is_empty(),
        }
        for (index, item) in items.iter().enumerate() {
            let mark = item.report().mark();
            let Some((rule, asked)) = rule(item, section, scope) else { continue };
            if matches!(subject, Subject::Workloads(_)) && item.report().is_clean_since(mark) {
                probes::warn(item, &rule);
            }
            let requirement = |(settings, traffic, item)| ProxyRequirement {
                subject: subject.selector().clone(),
                direction: rule.direction,
                peers: rule.peers.clone(),
                traffic,
                settings,
                item,
            };
            sections.requirements.extend(asked.into_iter().map(requirement));
            let place = format!("{place}.{}[{index}]", section.name).into();
            sections.rules.push(Rule { place, ..rule });
        }
    }
    sections
}

/// The proxy settings of a part of a rule, with its traffic and its item.
type Asked<'a> = (ProxySettings, Traffic, Item<'a>);

fn rule<'a>(item: &Item<'a>, section: Section, scope: &Scope) -> Option<(Rule, Vec<Asked<'a>>)> {
    let mut fields = item.fields(Nulls::Refused)?;
    let peers = peers::read(&mut fields, section, scope);
    let (traffic, entries) = traffic(&mut fields, section);
    let authentication = fields.take("authentication");
    fields.finish();
    let authentication = authentication.and_then(|item| self::authentication(&item, section));
    let peers = match (peers, &traffic) {
        (Some(peers), _) => Peers::Of(peers),
        // Without peers, a rule with traffic matches every peer, and an empty rule matches no peer.
        (None, Traffic::Of(_)) => Peers::Any,
        (None, Traffic::Any) => Peers::Of(Vec::new()),
    };
    let by_entry = entries.into_iter().map(|ToPortsEntry { item, matches, requests, tls }| {
        let requests = requests.map(|requests| requests.name());
        (ProxySettings { requests, tls, authentication: None }, Traffic::Of(matches), item)
    });
    let by_rule = authentication.map(|mode| {
        (
            ProxySettings { authentication: Some(mode), ..ProxySettings::default() },
            traffic.clone(),
            item.clone(),
        )
    });
    let asked =
        by_entry.chain(by_rule).filter(|(settings, ..)| *settings != ProxySettings::default()).collect();
    let rule = Rule {
        place: "".into(),
        direction: section.direction,
        priority: Rule::USUAL_PRIORITY,
        action: section.action,
        peers,
        traffic,
    };
    Some((rule, asked))
}

/// Reads `toPorts` and `icmps`; empty lists do not restrict the traffic.
fn traffic<'a>(fields: &mut Fields<'a>, section: Section) -> (Traffic, Vec<ToPortsEntry<'a>>) {
    let (to_ports, icmps) = (fields.take("toPorts"), fields.take("icmps"));
    let to_ports = to_ports.iter().flat_map(Item::list).collect::<Vec<_>>();
    let has_icmps = icmps.as_ref().is_some_and(|icmps| !icmps.list().is_empty());
    match icmps.filter(|_| has_icmps) {
        Some(icmps) if !to_ports.is_empty() => {
            icmps.error("cannot be combined with `toPorts`; write a separate rule");
            (Traffic::Any, Vec::new())
        }
        Some(icmps) => (Traffic::Of(icmp::matches(&icmps)), Vec::new()),
        None if to_ports.is_empty() => (Traffic::Any, Vec::new()),
        None => {
            let entries: Vec<_> = to_ports.iter().filter_map(|item| ports::entry(item, section)).collect();
            (Traffic::Of(entries.iter().flat_map(|entry| entry.matches.clone()).collect()), entries)
        }
    }
}

/// Reads `{mode}`; only `disabled` is supported.
fn authentication(item: &Item<'_>, section: Section) -> Option<&'static str> {
    if section.action == Action::Deny {
        item.error("a deny rule cannot require authentication; leave it out");
        return None;
    }
    let mut fields = item.fields(Nulls::Refused)?;
    let mode = fields.require("mode");
    fields.finish();
    let mode = mode?.one_of("mode", AUTHENTICATION)?;
    if mode != "disabled" {
        item.not_supported(format_args!("authentication {mode:?}"));
    }
    Some(mode)
}
