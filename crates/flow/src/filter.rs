//! Selects flows: several conditions on one key are alternatives; conditions on different keys must all match.

mod condition;

pub use condition::FilterError;

use crate::flow::Flow;
use condition::Condition;
use std::collections::BTreeMap;

/// A filter; the empty filter matches every flow.
///
/// Keys: `verdict`, `type` (`drop`, `policy-verdict`, `trace`, `l7`), `protocol`, `pod`, `namespace`, `ip`, `port`,
/// `identity` and `label` (each also as `from-…` and `to-…`), `http-method`, `http-path`, `http-status`.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    conditions: BTreeMap<String, Vec<Condition>>,
}

impl Filter {
    /// Adds a condition, for instance `to-pod` and `default/app1`.
    pub fn add(&mut self, key: &str, value: &str) -> Result<(), FilterError> {
        let condition = Condition::parse(key, value)?;
        self.conditions.entry(key.to_owned()).or_default().push(condition);
        Ok(())
    }

    /// Parses conditions of the form `key=value`.
    pub fn parse<'a>(conditions: impl IntoIterator<Item = &'a str>) -> Result<Self, FilterError> {
        let mut filter = Self::default();
        for text in conditions {
            let (key, value) = text.split_once('=').ok_or_else(|| FilterError::Form(text.to_owned()))?;
            filter.add(key, value)?;
        }
        Ok(filter)
    }

    /// Whether the filter matches a flow.
    pub fn matches(&self, flow: &Flow) -> bool {
        self.conditions
            .values()
            .all(|alternatives| alternatives.iter().any(|condition| condition.matches(flow)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::FlowVerdict;
    use crate::testing::{dropped_syn, packet_flow, request, request_flow};

    /// Checks which of three flows match: app3's dropped packet, app2's forwarded request, app2's refused request.
    fn check(conditions: &[&str], expected: [bool; 3]) {
        let filter = Filter::parse(conditions.iter().copied()).unwrap();
        let flows = [
            packet_flow(&dropped_syn()),
            request_flow(&request(FlowVerdict::Forwarded, "/public?x=1")),
            request_flow(&request(FlowVerdict::Dropped, "/private")),
        ];
        assert_eq!(flows.each_ref().map(|flow| filter.matches(flow)), expected, "{conditions:?}");
    }

    #[test]
    fn each_key_matches_its_field() {
        let (packet, requests, all, none) =
            ([true, false, false], [false, true, true], [true; 3], [false; 3]);
        for (condition, expected) in [
            ("verdict=dropped", [true, false, true]),
            ("verdict=FORWARDED", [false, true, false]),
            ("type=l7", requests),
            ("type=drop", packet),
            ("type=policy-verdict", packet),
            ("type=trace", none),
            ("protocol=tcp", all),
            ("protocol=http", requests),
            ("protocol=udp", none),
            ("pod=default/app1", all),
            ("from-pod=app3", packet),
            ("from-pod=other/app3", none),
            ("to-pod=default/", all),
            ("to-pod=app2", none),
            ("namespace=default", all),
            ("from-namespace=kube-system", none),
            ("ip=10.0.0.3", packet),
            ("from-ip=10.0.0.2/31", all),
            ("to-ip=10.0.0.2/31", none),
            ("ip=2001:db8::/32", none),
            ("port=80", all),
            ("from-port=38412", packet),
            ("to-port=38412", none),
            ("identity=257", requests),
            ("to-identity=256", all),
            ("from-label=k8s:id=app3", packet),
            ("label=id=app2", requests),
            ("http-method=get", requests),
            ("http-path=^/pub.*=1$", [false, true, false]),
            ("http-status=403", [false, false, true]),
            ("http-status=2+", [false, true, false]),
        ] {
            check(&[condition], expected);
        }
    }

    #[test]
    fn values_of_a_key_are_alternatives_and_all_keys_must_match() {
        check(&[], [true; 3]);
        check(&["from-pod=app2", "from-pod=app3"], [true; 3]);
        check(&["from-pod=app2", "verdict=dropped"], [false, false, true]);
    }

    #[test]
    fn an_invalid_condition_is_refused_with_the_valid_forms() {
        for (condition, expected) in [
            ("port", "`port` is not a filter; write key=value"),
            ("colour=red", "unknown filter `colour`"),
            ("port=http", "invalid value `http` for `port`; expected a number from 0 to 65535"),
            ("verdict=maybe", "expected forwarded, dropped, redirected or audit"),
            ("ip=10.0.0.0/33", "expected an address or a CIDR block"),
            ("http-path=(", "expected a regular expression"),
            ("http-status=x", "expected a status such as 404, or its first digits and a plus"),
            ("from-verdict=dropped", "unknown filter `from-verdict`"),
            ("to-http-path=/x", "unknown filter `to-http-path`"),
        ] {
            let message = Filter::parse([condition]).unwrap_err().to_string();
            assert!(message.contains(expected), "{condition}: {message}");
        }
    }
}
