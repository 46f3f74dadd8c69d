//! The JSON forms of all requests and views, compared with the file that records them.

mod describe;
mod examples;

use api::ApiRequest;
use describe::describe;
use std::collections::BTreeSet;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/schema/schema.txt");
/// Set to write the file anew.
const WRITE: &str = "NEXIN_WRITE_SCHEMA";

#[test]
fn the_schema_is_the_recorded_one() {
    let schema = schema();
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(FILE, &schema).unwrap();
    }
    let recorded = std::fs::read_to_string(FILE).unwrap_or_default();
    let differing = recorded.lines().zip(schema.lines()).position(|(old, new)| old != new);
    let at = differing.unwrap_or_else(|| recorded.lines().count().min(schema.lines().count()));
    let line = |text: &str| text.lines().nth(at).unwrap_or("(the end)").trim().to_owned();
    assert!(
        recorded == schema,
        "the schema of the API changed, first in line {} of crates/api/tests/schema/schema.txt:\n\
         recorded: {}\n     now: {}\n\
         If that is meant, write the file anew: {WRITE}=1 cargo test -p nexin-api --test schema\n\
         If clients or agents of the present version cannot read the new form, raise api::VERSION too.",
        at + 1,
        line(&recorded),
        line(&schema),
    );
}

#[test]
fn every_request_and_every_view_is_in_the_schema() {
    let unknown = serde_json::from_str::<ApiRequest>(r#"{"ask":"§"}"#).unwrap_err().to_string();
    let known: BTreeSet<&str> = unknown.split('`').skip(3).step_by(2).collect();
    let examples: Vec<serde_json::Value> =
        examples::requests().iter().map(|request| serde_json::to_value(request).unwrap()).collect();
    let shown: BTreeSet<&str> = examples.iter().filter_map(|request| request["ask"].as_str()).collect();
    assert_eq!(known, shown, "each request needs an example in crates/api/tests/schema/examples.rs");
    let view = include_str!("../../src/view.rs").lines();
    let declared = view.filter_map(|line| line.strip_prefix("pub struct ")?.split_whitespace().next());
    let views = examples::views();
    let described = |name: &str| views.iter().any(|view| view.starts_with(&format!("{name}: ")));
    let missing: Vec<_> = declared.filter(|name| !described(name)).collect();
    assert!(
        missing.is_empty(),
        "views without an example in crates/api/tests/schema/examples.rs: {missing:?}"
    );
}

fn schema() -> String {
    let requests = examples::requests().into_iter().map(|request| {
        let name = serde_json::to_value(&request).unwrap()["ask"].as_str().unwrap().to_owned();
        describe(&format!("request {name}"), &examples::envelope(request))
    });
    let head = format!(
        "The JSON forms of the API of version {}.\n`field?` may be left out when the form is read.\n",
        api::VERSION
    );
    let parts = requests.chain(examples::answers()).chain(examples::views());
    std::iter::once(head).chain(parts).collect::<Vec<_>>().join("\n")
}
