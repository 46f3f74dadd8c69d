//! The cost of HTTP rules of several rules that match the same peers and ports, and so apply together.

use crate::item::Item;
use policy::rule::{HttpRule, Port, Protocol, Rule, Traffic, TrafficMatch, check_cost};

/// HTTP rules that apply together, in one list for each rule of the policy.
struct SharedHttpRules<'a> {
    rule: &'a Rule,
    port: (Protocol, &'a Port),
    /// Each list with the path of its rule.
    lists: Vec<(&'a [HttpRule], &'a str)>,
}

/// Reports HTTP rules that cost too much together, at the first one that exceeds the limit. A single list that costs
/// too much is reported elsewhere.
pub(super) fn check(item: &Item<'_>, rules: &[Rule]) {
    let mut all: Vec<SharedHttpRules<'_>> = Vec::new();
    for rule in rules {
        let Traffic::Of(matches) = &rule.traffic else { continue };
        for one in matches {
            let TrafficMatch::Port { protocol, port, http: Some(http) } = one else { continue };
            let port = (*protocol, port);
            let is_same = |known: &&mut SharedHttpRules<'_>| {
                known.port == port
                    && (known.rule.direction, &known.rule.peers) == (rule.direction, &rule.peers)
            };
            let list = (&**http, &*rule.place);
            match all.iter_mut().find(is_same) {
                Some(known) => known.lists.push(list),
                None => all.push(SharedHttpRules { rule, port, lists: vec![list] }),
            }
        }
    }
    for together in all.iter().filter(|together| together.lists.len() > 1) {
        let http: Vec<HttpRule> = together.lists.iter().flat_map(|(http, _)| *http).cloned().collect();
        let Err(error) = check_cost(&http) else { continue };
        if together.lists.iter().any(|(http, _)| check_cost(http).is_err()) {
            return;
        }
        let mut places = together.lists.iter().flat_map(|(http, place)| http.iter().map(move |_| place));
        let place = places.nth(error.rule).expect("the error names one of the rules");
        item.error(format!("{place}: {}", error.message));
    }
}
