//! Rules for HTTP requests.

use super::secret;
use crate::item::{Fields, Item, Nulls};
use crate::name;
use policy::rule::{HeaderRule, HttpRule};

/// The actions for a request whose header field does not match; none is supported yet.
const MISMATCH: &[(&str, ())] = &[("LOG", ()), ("ADD", ()), ("DELETE", ()), ("REPLACE", ())];

/// Reads the list of rules; an empty one allows no request.
pub(super) fn rules(item: &Item<'_>) -> Vec<HttpRule> {
    let items = item.list();
    if items.is_empty() {
        item.warn("an empty list allows no request; list a rule, or leave `rules` out to allow all");
    }
    let rules: Vec<HttpRule> = items.iter().filter_map(rule).collect();
    // An invalid rule has been reported already.
    if rules.len() == items.len()
        && let Err(error) = policy::rule::check_cost(&rules)
        && let Some(item) = items.get(error.rule)
    {
        item.error(error.message);
    }
    rules
}

fn rule(item: &Item<'_>) -> Option<HttpRule> {
    let mut fields = item.fields(Nulls::Refused)?;
    let [method, path, host] = ["method", "path", "host"].map(|name| expression(&mut fields, name));
    let headers = fields.take("headers");
    let matches = fields.take("headerMatches");
    fields.finish();
    let plain = headers.iter().flat_map(Item::list).filter_map(|item| header(&item));
    let structured = matches.iter().flat_map(Item::list).filter_map(|item| header_match(&item));
    Some(HttpRule { method, path, host, headers: plain.chain(structured).collect() })
}

/// Reads a regular expression; an empty one counts as absent.
fn expression(fields: &mut Fields<'_>, name: &'static str) -> Option<String> {
    let item = fields.take(name)?;
    let text = item.text()?;
    if let Err(error) = policy::rule::check_expression(text) {
        item.error(format!("{text:?} is not a valid regular expression: {error}"));
    }
    if name == "path" && text.split('/').any(|segment| segment == "..") {
        item.warn(
            "`..` stands for any two characters here; no path has a segment `..` when rules are evaluated",
        );
    }
    (!text.is_empty()).then(|| text.to_owned())
}

/// Reads `X-Key: value`, `X-Key value`, or `X-Key` for a field that must only be there.
fn header(item: &Item<'_>) -> Option<HeaderRule> {
    let text = item.text()?;
    let (name, value) = match text.split_once(' ') {
        Some((name, value)) => (name.trim_end_matches(':'), Some(value.to_owned())),
        None => (text, None),
    };
    if !name::is_header_name(name) {
        item.error(format!(
            "{name:?} is not a valid header field name; write \"X-Name: value\" or \"X-Name\""
        ));
    }
    Some(HeaderRule { name: name.to_owned(), value })
}

/// Reads `{name, value}`.
fn header_match(item: &Item<'_>) -> Option<HeaderRule> {
    let mut fields = item.fields(Nulls::Refused)?;
    let (name, value, mismatch) = (fields.require("name"), fields.take("value"), fields.take("mismatch"));
    let secret = fields.take("secret");
    fields.finish();
    if let Some(secret) = secret {
        secret::check(&secret);
        secret.not_supported("`secret`");
    }
    if let Some(mismatch) = mismatch
        && mismatch.one_of("mismatch action", MISMATCH).is_some()
    {
        mismatch.not_supported("`mismatch`");
    }
    let name = name?;
    let text = name.text()?;
    if !name::is_header_name(text) {
        name.error(format!("{text:?} is not a valid header field name"));
    }
    let value = value.and_then(|item| item.text()).filter(|value| !value.is_empty());
    Some(HeaderRule { name: text.to_owned(), value: value.map(str::to_owned) })
}
