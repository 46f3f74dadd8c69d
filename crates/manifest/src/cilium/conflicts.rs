//! Conflicting rules of one document: for the same peer and port they require different things of the proxy.
//!
//! A connection has one protocol, one TLS termination and one authentication mode. Which of two rules would win is not
//! visible to the author, so both are refused.

use crate::item::Item;
use identity::Selector;
use policy::rule::{Direction, Peers, Traffic};

/// What a rule, or an entry of its `toPorts`, requires of the proxy.
#[derive(Debug)]
pub(super) struct ProxyRequirement<'a> {
    pub(super) subject: Selector,
    pub(super) direction: Direction,
    pub(super) peers: Peers,
    pub(super) traffic: Traffic,
    pub(super) settings: ProxySettings,
    pub(super) item: Item<'a>,
}

/// The required settings; none where a rule has no requirement.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ProxySettings {
    /// The protocol of rules for requests.
    pub(super) requests: Option<&'static str>,
    /// The contexts of TLS.
    pub(super) tls: Option<String>,
    /// The mode of authentication.
    pub(super) authentication: Option<&'static str>,
}

impl ProxySettings {
    /// The settings that differ, as they follow "the same peer and port with".
    fn conflict(&self, other: &Self) -> Option<String> {
        if let (Some(one), Some(two)) = (self.requests, other.requests)
            && one != two
        {
            return Some(format!("{two} rules, and this with {one} rules"));
        }
        if let (Some(one), Some(two)) = (self.authentication, other.authentication)
            && one != two
        {
            return Some(format!("authentication {two:?}, and this with {one:?}"));
        }
        let differ = matches!((&self.tls, &other.tls), (Some(one), Some(two)) if one != two);
        differ.then(|| "another TLS context".to_owned())
    }
}

/// Reports each requirement that conflicts with an earlier one.
pub(super) fn report(requirements: &[ProxyRequirement<'_>]) {
    // Nearly every document has a single requirement, so there is nothing to compare.
    if requirements.windows(2).all(|two| two[0].settings == two[1].settings) {
        return;
    }
    for (index, later) in requirements.iter().enumerate() {
        let conflicts = requirements[..index].iter().filter_map(|earlier| {
            let conflict = later.settings.conflict(&earlier.settings)?;
            later.overlaps(earlier).then_some((earlier, conflict))
        });
        for (earlier, conflict) in conflicts.take(1) {
            let path = earlier.item.path();
            later.item.error(format!("{path} matches the same peer and port with {conflict}; keep one"));
        }
    }
}

impl ProxyRequirement<'_> {
    fn overlaps(&self, other: &Self) -> bool {
        self.direction == other.direction
            && self.subject == other.subject
            && have_common_peer(&self.peers, &other.peers)
            && self.traffic.overlaps(&other.traffic)
    }
}

/// Whether both name a common peer in the same way. Which endpoints different names select depends on the cluster, not
/// on the document.
fn have_common_peer(one: &Peers, other: &Peers) -> bool {
    match (one, other) {
        (Peers::Any, Peers::Any) => true,
        (Peers::Of(one), Peers::Of(other)) => one.iter().any(|peer| other.contains(peer)),
        _ => false,
    }
}
