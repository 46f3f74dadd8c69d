//! Rules of one document that cannot hold together: for the same peer and port they ask for different things.
//!
//! Whoever serves a connection speaks one protocol, ends TLS in one way and authenticates in one way. Which of two
//! would win depends on nothing that the author sees, so neither is taken.

use crate::item::Item;
use identity::Selector;
use policy::rule::{Direction, Peers, Traffic};

/// What a rule, or an entry of its `toPorts`, settings of whoever serves a connection.
#[derive(Debug)]
pub(super) struct ProxyRequirement<'a> {
    pub(super) subject: Selector,
    pub(super) direction: Direction,
    pub(super) peers: Peers,
    pub(super) traffic: Traffic,
    pub(super) settings: ProxySettings,
    pub(super) item: Item<'a>,
}

/// Each where it is asked for at all.
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
    /// What both ask for, but differently, as a sentence goes on after "the same peer and port with".
    fn dispute(&self, other: &Self) -> Option<String> {
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

/// Reports each requirement that stands against an earlier one.
pub(super) fn report(requirements: &[ProxyRequirement<'_>]) {
    // Nearly every document settings for one thing only, however long it is; then there is nothing to compare.
    if requirements.windows(2).all(|two| two[0].settings == two[1].settings) {
        return;
    }
    for (index, later) in requirements.iter().enumerate() {
        let disputes = requirements[..index].iter().filter_map(|earlier| {
            let dispute = later.settings.dispute(&earlier.settings)?;
            later.meets(earlier).then_some((earlier, dispute))
        });
        for (earlier, dispute) in disputes.take(1) {
            let path = earlier.item.path();
            later.item.error(format!("{path} is about the same peer and port with {dispute}; keep one"));
        }
    }
}

impl ProxyRequirement<'_> {
    fn meets(&self, other: &Self) -> bool {
        self.direction == other.direction
            && self.subject == other.subject
            && have_common_peer(&self.peers, &other.peers)
            && self.traffic.overlaps(&other.traffic)
    }
}

/// Whether both name one peer alike. Who is meant by different names depends on the world, not on the document.
fn have_common_peer(one: &Peers, other: &Peers) -> bool {
    match (one, other) {
        (Peers::Any, Peers::Any) => true,
        (Peers::Of(one), Peers::Of(other)) => one.iter().any(|peer| other.contains(peer)),
        _ => false,
    }
}
