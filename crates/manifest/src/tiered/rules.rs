//! The two lists of rules; the first rule that matches decides.

use super::dialect::Dialect;
use super::list::filled;
use super::peers;
use crate::item::{Fields, Item, Nulls};
use policy::rule::{Action, Direction, Peers, Port, Rule, Traffic, TrafficMatch, priority};

/// The longest name of a rule.
const MAX_NAME: usize = 100;

/// Takes the list of a direction.
pub(super) fn take<'a>(fields: &mut Fields<'a>, direction: Direction) -> Option<Item<'a>> {
    fields.take(section(direction))
}

fn section(direction: Direction) -> &'static str {
    match direction {
        Direction::Ingress => "ingress",
        Direction::Egress => "egress",
    }
}

/// Reads the rules of a direction, for a policy of this order.
pub(super) fn read(list: Option<Item<'_>>, direction: Direction, order: u16, dialect: &Dialect) -> Vec<Rule> {
    let Some(list) = list else { return Vec::new() };
    let items = list.list();
    if items.len() > dialect.most {
        let most = dialect.most;
        list.error(format!("{} rules; at most {most} are allowed in one direction of a policy", items.len()));
    }
    let rules = (0..).zip(&items).filter_map(|(index, item)| {
        let rule = rule(item, direction, dialect)?;
        let place = format!("spec.{}[{index}]", section(direction)).into();
        Some(Rule { place, priority: priority(order, index), ..rule })
    });
    rules.collect()
}

fn rule(item: &Item<'_>, direction: Direction, dialect: &Dialect) -> Option<Rule> {
    let mut fields = item.fields(Nulls::Refused)?;
    let (name, action) = (fields.take("name"), fields.require("action"));
    let who = if direction == Direction::Ingress { "from" } else { "to" };
    let (peers, (what, read)) = (fields.require(who), dialect.traffic);
    let traffic = fields.take(what);
    fields.finish();
    if let Some(name) = name
        && name.text().is_some_and(|text| text.chars().count() > MAX_NAME)
    {
        name.error(format!("is longer than {MAX_NAME} characters"));
    }
    let action = action.and_then(|item| self::action(&item, dialect));
    let peers = peers.map(|item| filled(&item, dialect.most)).unwrap_or_default();
    let read_peers = peers.iter().flat_map(|item| peers::read(item, direction, action)).collect();
    let traffic = traffic.map(|item| filled(&item, dialect.most));
    let matches = traffic.iter().flatten().map(|item| (item, read(item))).collect::<Vec<_>>();
    let by_address = peers.iter().any(peers::has_no_named_ports);
    for (item, _) in matches.iter().filter(|(_, one)| by_address && is_named(one)) {
        item.error("networks, nodes and domain names have no named ports; write the port number");
    }
    let matches = matches.into_iter().filter_map(|(_, one)| one).collect();
    Some(Rule {
        place: "".into(),
        direction,
        priority: 0,
        action: action.unwrap_or(Action::Deny),
        peers: Peers::Of(read_peers),
        traffic: if traffic.is_some() { Traffic::Of(matches) } else { Traffic::Any },
    })
}

/// Reads an action. An allow has different names in these kinds.
fn action(item: &Item<'_>, dialect: &Dialect) -> Option<Action> {
    let text = item.is_text().then(|| item.text()).flatten();
    let is_known = |text: &str| dialect.actions.iter().any(|(name, _)| *name == text);
    match text {
        Some("Allow" | "Accept") if text.is_some_and(|text| !is_known(text)) => {
            let meant = if text == Some("Allow") { "Accept" } else { "Allow" };
            let kind = dialect.kind.name();
            item.error(format!(
                "`{}` is not an action of {kind}, did you mean `{meant}`?",
                text.unwrap_or_default()
            ));
            None
        }
        _ => item.one_of("action", dialect.actions),
    }
}

fn is_named(traffic: &Option<TrafficMatch>) -> bool {
    matches!(traffic, Some(TrafficMatch::Port { port: Port::Named(_), .. }))
}
