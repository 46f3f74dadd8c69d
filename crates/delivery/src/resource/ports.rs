//! The schema of `toPorts`: ports, and the rules for requests that apply to them.

use super::selector::{domain, secret};
use crate::schema::{Schema, list, number, object, one_of, text, text_like, text_map};
use manifest::vocabulary;
use serde_json::json;

/// The most ports, or ICMP types, in one list.
pub(super) const MAX_PORTS: u32 = 40;

/// A number from 0 to 65535.
const NUMBER: &str = "6553[0-5]|655[0-2][0-9]|65[0-4][0-9]{2}|6[0-4][0-9]{3}|[1-5][0-9]{4}|[1-9][0-9]{0,3}|0";
/// A port name of RFC 6335.
const NAME: &str = "([a-zA-Z0-9]-?)*[a-zA-Z](-?[a-zA-Z0-9])*";

/// The schema of `toPorts` of an allow rule.
pub(super) fn inspected() -> Schema {
    let entry = object([
        ("ports", ports()),
        ("rules", request_rules()),
        ("terminatingTLS", tls()),
        ("originatingTLS", tls()),
        ("serverNames", list(server_name()).with("x-kubernetes-list-type", "set")),
        ("listener", listener()),
    ]);
    list(entry).about("The ports that the rule allows. Without it the rule allows all ports.")
}

/// The schema of `toPorts` of a deny rule, which cannot inspect connections.
pub(super) fn plain() -> Schema {
    list(object([("ports", ports())]))
        .about("The ports that the rule denies. Without it the rule denies all ports.")
}

fn ports() -> Schema {
    let port = object([
        (
            "port",
            text_like(&format!("{NUMBER}|{NAME}|"), 15).about("A number, \"0\" for every port, or a name."),
        ),
        ("endPort", number(0..=65_535).about("The last port of a range that begins with `port`.")),
        ("protocol", one_of(vocabulary::protocols().chain([""]))),
    ]);
    list(port).with("maxItems", MAX_PORTS)
}

fn request_rules() -> Schema {
    let header = object([
        ("name", text().with("minLength", 1)),
        ("value", text()),
        ("secret", secret()),
        ("mismatch", one_of(["LOG", "ADD", "DELETE", "REPLACE"])),
    ])
    .requires(["name"]);
    let http = object([
        ("method", text().about("A regular expression that must match the whole method.")),
        ("path", text().about("A regular expression that must match the whole path.")),
        ("host", text().about("A regular expression that must match the whole host.")),
        ("headers", list(text().with("minLength", 1))),
        ("headerMatches", list(header)),
    ]);
    let kafka = object([
        ("role", one_of(["produce", "consume"])),
        ("apiKey", text()),
        ("apiVersion", text()),
        ("clientID", text()),
        ("topic", text()),
    ]);
    object([
        ("http", list(http)),
        ("dns", list(domain())),
        ("kafka", list(kafka)),
        ("l7proto", text()),
        ("l7", list(text_map())),
    ])
    // Rules for one protocol; those of a plug-in come with its name.
    .with("anyOf", json!([{"maxProperties": 1}, {"maxProperties": 2, "required": ["l7proto", "l7"]}]))
}

fn tls() -> Schema {
    object([("secret", secret()), ("trustedCA", text()), ("certificate", text()), ("privateKey", text())])
        .requires(["secret"])
}

fn server_name() -> Schema {
    text_like(r"[-a-zA-Z0-9_*]+(\.[-a-zA-Z0-9_*]+)*\.?", 255)
}

fn listener() -> Schema {
    let config =
        object([("kind", one_of(["CiliumEnvoyConfig", "CiliumClusterwideEnvoyConfig"])), ("name", text())])
            .requires(["name"]);
    object([("envoyConfig", config), ("name", text()), ("priority", number(1..=100))])
        .requires(["envoyConfig", "name"])
}
