//! The cost of HTTP rules of several rules that match the same peers and ports, and so apply together.

use crate::item::Item;
use policy::rule::{HttpRule, Port, Protocol, Rule, Traffic, TrafficMatch, check_cost};

/// HTTP rules that apply together, each with the path of its rule.
struct SharedHttpRules<'a> {
    rule: &'a Rule,
    port: (Protocol, &'a Port),
    http: Vec<HttpRule>,
    places: Vec<&'a str>,
    lists: usize,
}

/// Reports HTTP rules that cost too much together, at the first one that exceeds the limit. A single list that costs
/// too much is reported elsewhere.
pub(super) fn check(item: &Item<'_>, rules: &[Rule]) {
    let mut all: Vec<SharedHttpRules<'_>> = Vec::new();
    for rule in rules {
        let Traffic::Of(matches) = &rule.traffic else { continue };
        for one in matches {
            let TrafficMatch::Port { protocol, port, http: Some(http) } = one else { continue };
            if check_cost(http).is_err() {
                return;
            }
            let port = (*protocol, port);
            let is_same = |known: &&mut SharedHttpRules<'_>| {
                known.port == port
                    && (known.rule.direction, &known.rule.peers) == (rule.direction, &rule.peers)
            };
            let known = match all.iter_mut().find(is_same) {
                Some(known) => known,
                None => {
                    all.push(SharedHttpRules { rule, port, http: Vec::new(), places: Vec::new(), lists: 0 });
                    all.last_mut().expect("one was put there")
                }
            };
            known.http.extend_from_slice(http);
            known.places.extend(http.iter().map(|_| &*rule.place));
            known.lists += 1;
        }
    }
    for together in all.iter().filter(|together| together.lists > 1) {
        if let Err(error) = check_cost(&together.http) {
            item.error(format!("{}: {}", together.places[error.rule], error.message));
        }
    }
}
