//! The HTTP rules of an entry of `toPorts`.

use crate::item::{Fields, Item, Nulls};
use crate::name;
use policy::rule::{Direction, HeaderRule, HttpRule};

/// What to do with a request whose header field does not match; nothing of it is supported yet.
const MISMATCH: &[(&str, ())] = &[("LOG", ()), ("ADD", ()), ("DELETE", ()), ("REPLACE", ())];

/// Reads `rules`; none where it holds no HTTP rules.
pub(super) fn rules(item: &Item<'_>, direction: Direction) -> Option<Vec<HttpRule>> {
    let mut fields = item.fields(Nulls::Refused)?;
    let http = fields.take("http");
    let others = ["dns", "kafka", "l7proto"].map(|name| (name, fields.take(name)));
    fields.not_supported(&["l7"]);
    fields.finish();
    let given = usize::from(http.is_some()) + others.iter().filter(|(_, item)| item.is_some()).count();
    if given > 1 {
        item.error("has rules for several protocols; write an entry of `toPorts` for each");
    }
    for (name, other) in others {
        match other {
            Some(other) if name == "dns" && direction == Direction::Ingress => {
                other.error("DNS rules hold on egress only; move them to an egress rule");
            }
            Some(other) => other.not_supported(format_args!("`{name}`")),
            None => {}
        }
    }
    let http = http?;
    let items = http.list();
    if items.is_empty() {
        http.error("an empty list says nothing of requests; list a rule, or leave `rules` out to allow all");
    }
    Some(items.iter().filter_map(rule).collect())
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

/// Reads a regular expression; an empty one is as good as none.
fn expression(fields: &mut Fields<'_>, name: &'static str) -> Option<String> {
    let item = fields.take(name)?;
    let text = item.text()?;
    if let Err(error) = policy::rule::check_expression(text) {
        item.error(format!("{text:?} is no regular expression: {error}"));
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
        item.error(format!("{name:?} is no name of a header field; write \"X-Name: value\" or \"X-Name\""));
    }
    Some(HeaderRule { name: name.to_owned(), value })
}

/// Reads `{name, value}`.
fn header_match(item: &Item<'_>) -> Option<HeaderRule> {
    let mut fields = item.fields(Nulls::Refused)?;
    let (name, value, mismatch) = (fields.require("name"), fields.take("value"), fields.take("mismatch"));
    fields.not_supported(&["secret"]);
    fields.finish();
    if let Some(mismatch) = mismatch
        && mismatch.one_of("mismatch action", MISMATCH).is_some()
    {
        mismatch.not_supported("`mismatch`");
    }
    let name = name?;
    let text = name.text()?;
    if !name::is_header_name(text) {
        name.error(format!("{text:?} is no name of a header field"));
    }
    let value = value.and_then(|item| item.text()).filter(|value| !value.is_empty());
    Some(HeaderRule { name: text.to_owned(), value: value.map(str::to_owned) })
}
