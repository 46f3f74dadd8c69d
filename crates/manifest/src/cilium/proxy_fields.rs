//! What an entry of `toPorts` asks of a proxy beside rules for requests: TLS, names of servers, listeners.

use super::requests::RequestRules;
use super::secret;
use super::section::Section;
use crate::item::{Fields, Item, Nulls};
use policy::domain::DomainPattern;
use policy::rule::Direction;
use std::collections::BTreeSet;

/// The kinds of objects that hold listeners.
const LISTENER_KINDS: &[(&str, ())] = &[("CiliumEnvoyConfig", ()), ("CiliumClusterwideEnvoyConfig", ())];

/// What an entry asks for, taken from its fields.
#[derive(Debug)]
pub(super) struct ProxyFields<'a> {
    terminating: Option<Item<'a>>,
    originating: Option<Item<'a>>,
    server_names: Option<Item<'a>>,
    listener: Option<Item<'a>>,
}

impl<'a> ProxyFields<'a> {
    /// Takes the fields.
    pub(super) fn take(fields: &mut Fields<'a>) -> Self {
        Self {
            terminating: fields.take("terminatingTLS"),
            originating: fields.take("originatingTLS"),
            server_names: fields.take("serverNames"),
            listener: fields.take("listener"),
        }
    }

    /// The TLS that is asked for, in a form in which two can be compared.
    pub(super) fn tls(&self) -> Option<String> {
        let told = |item: &Option<Item<'_>>| item.as_ref().map(Item::json).unwrap_or_default();
        let asked = self.terminating.is_some() || self.originating.is_some();
        asked.then(|| format!("{} {}", told(&self.terminating), told(&self.originating)))
    }

    /// Refuses all of it, in a deny rule.
    pub(super) fn refuse(self) {
        for item in [self.terminating, self.originating, self.server_names, self.listener].iter().flatten() {
            item.error("a deny rule refuses connections, it does not look into them; leave it out");
        }
    }

    /// Says what is wrong with what is asked for, and that none of it is supported yet.
    pub(super) fn judge(self, section: Section, requests: Option<&RequestRules>) {
        if let Some(names) = &self.server_names {
            server_names(names);
            if requests.is_some() && self.terminating.is_none() && !names.list().is_empty() {
                names.error("stands beside `rules`, which need plain text; give `terminatingTLS` too");
            }
            if !names.list().is_empty() {
                names.not_supported("`serverNames`");
            }
        }
        for (name, item) in [("`terminatingTLS`", &self.terminating), ("`originatingTLS`", &self.originating)]
        {
            let Some(item) = item else { continue };
            tls(item);
            item.not_supported(name);
        }
        let Some(item) = &self.listener else { return };
        listener(item);
        if requests.is_some() {
            item.error(
                "stands beside `rules`; whoever listens there judges requests, so keep one of the two",
            );
        }
        match section.direction {
            Direction::Ingress => item.error("a listener serves egress rules only; leave it out"),
            Direction::Egress => item.not_supported("`listener`"),
        }
    }
}

/// Sees to the shape of `{secret: {namespace, name}, trustedCA, certificate, privateKey}`.
fn tls(item: &Item<'_>) {
    let Some(mut fields) = item.fields(Nulls::Refused) else { return };
    if let Some(secret) = fields.require("secret") {
        secret::check(&secret);
    }
    for name in ["trustedCA", "certificate", "privateKey"] {
        fields.take(name).iter().for_each(Item::check_text);
    }
    fields.finish();
}

fn server_names(item: &Item<'_>) {
    let items = item.list();
    if items.is_empty() {
        item.warn("an empty list limits nothing; list the servers that may be asked for, or leave it out");
    }
    let mut seen = BTreeSet::new();
    for item in &items {
        let Some(text) = item.text() else { continue };
        if let Err(error) = DomainPattern::pattern(text) {
            item.error(format!("{text:?} is no name of a server: it {error}"));
        }
        if !seen.insert(text) {
            item.error(format!("{text:?} is named twice; keep one"));
        }
    }
}

/// Sees to the shape of `{envoyConfig: {kind, name}, name, priority}`.
fn listener(item: &Item<'_>) {
    let Some(mut fields) = item.fields(Nulls::Refused) else { return };
    let (config, name) = (fields.require("envoyConfig"), fields.require("name"));
    fields.take("priority").and_then(|item| item.integer::<u8>(1..=100));
    fields.finish();
    name.iter().for_each(Item::check_text);
    let Some(mut fields) = config.and_then(|item| item.fields(Nulls::Refused)) else { return };
    fields.take("kind").and_then(|item| item.one_of("kind", LISTENER_KINDS));
    fields.require("name").iter().for_each(Item::check_text);
    fields.finish();
}
