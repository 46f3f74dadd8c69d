//! Fields of `toPorts` for the proxy beside rules for requests: TLS, server names, listeners.

use super::requests::RequestRules;
use super::secret;
use super::section::Section;
use crate::item::{Fields, Item, Nulls};
use policy::domain::DomainPattern;
use policy::rule::Direction;
use std::collections::BTreeSet;

/// The kinds of objects that define listeners.
const LISTENER_KINDS: &[(&str, ())] = &[("CiliumEnvoyConfig", ()), ("CiliumClusterwideEnvoyConfig", ())];

/// The proxy fields of an entry.
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

    /// The TLS settings in a form that can be compared.
    pub(super) fn tls(&self) -> Option<String> {
        let json = |item: &Option<Item<'_>>| item.as_ref().map(Item::json).unwrap_or_default();
        let is_given = self.terminating.is_some() || self.originating.is_some();
        is_given.then(|| format!("{} {}", json(&self.terminating), json(&self.originating)))
    }

    /// Reports all of these fields, in a deny rule.
    pub(super) fn refuse(self) {
        for item in [self.terminating, self.originating, self.server_names, self.listener].iter().flatten() {
            item.error("a deny rule cannot inspect connections; leave it out");
        }
    }

    /// Reports errors in these fields, and that they are not supported yet.
    pub(super) fn judge(self, section: Section, requests: Option<&RequestRules>) {
        if let Some(names) = &self.server_names {
            server_names(names);
            if requests.is_some() && self.terminating.is_none() && !names.list().is_empty() {
                names.error("needs `terminatingTLS` beside `rules`, which inspect plain text");
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
                "cannot be combined with `rules`, because the listener decides on requests; keep one of the two",
            );
        }
        match section.direction {
            Direction::Ingress => item.error("a listener serves egress rules only; leave it out"),
            Direction::Egress => item.not_supported("`listener`"),
        }
    }
}

/// Checks the fields of `{secret: {namespace, name}, trustedCA, certificate, privateKey}`.
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
        item.warn("an empty list limits nothing; list the allowed servers, or leave it out");
    }
    let mut seen = BTreeSet::new();
    for item in &items {
        let Some(text) = item.text() else { continue };
        if let Err(error) = DomainPattern::pattern(text) {
            item.error(format!("{text:?} is not a valid server name: it {error}"));
        }
        if !seen.insert(text) {
            item.error(format!("{text:?} is named twice; keep one"));
        }
    }
}

/// Checks the fields of `{envoyConfig: {kind, name}, name, priority}`.
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
