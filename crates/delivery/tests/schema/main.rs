//! The schemas of the policies against the parser of the agent: the schemas accept what the parser accepts, and
//! `left_to_agent.txt` lists what the schemas accept and the agent refuses.

#[cfg(feature = "api-server")]
mod server;
mod structural;

use delivery::{GROUP, RESOURCES};
use manifest::Severity;
use serde_json::Value;
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use structural::{Structural, pruned};

/// Set to write `left_to_agent.txt` anew.
const REFRESH: &str = "NEXIN_REFRESH";
/// More directories with manifests, separated by colons.
const MORE: &str = "NEXIN_CASES";

#[test]
fn what_the_parser_accepts_the_schemas_accept() {
    let judged = Judged::of_files();
    let Judged { accepted, refused, .. } = judged;
    println!("{accepted} objects accepted by both, {refused} refused by the parser");
    assert!(accepted > 150, "{accepted} objects");
}

#[cfg(feature = "api-server")]
#[test]
fn an_api_server_finds_the_same() {
    let mut objects = Judged::of_files().objects;
    objects.extend(Judged::of_messages().0.objects);
    server::check(&objects);
}

#[test]
fn what_the_schemas_leave_to_the_agent_is_written_down() {
    let (judged, left) = Judged::of_messages();
    println!("{} refused by both, {} by the agent alone", judged.refused - judged.left, judged.left);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/schema/left_to_agent.txt");
    if std::env::var_os(REFRESH).is_some() {
        fs::write(&path, &left).unwrap();
    }
    assert_eq!(fs::read_to_string(&path).unwrap_or_default(), left, "NEXIN_REFRESH=1 writes it anew");
}

/// Every field of every example once without a value.
#[test]
fn a_field_without_a_value_that_the_parser_refuses_is_not_removed_by_the_api_server() {
    let (mut cases, mut refused, mut wrong) = (0, 0, Vec::new());
    for text in [
        include_str!("../../../manifest/tests/schema/cilium.yaml"),
        include_str!("../../../manifest/tests/schema/referred.yaml"),
    ] {
        for document in manifest::documents_as_json("", text).unwrap() {
            let object: Value = serde_json::from_str(&document).unwrap();
            let of = |field: &str| object[field].as_str().unwrap_or_default();
            let Some(schema) = schema_of(of("apiVersion"), of("kind")) else { continue };
            for place in ["spec", "specs"] {
                for path in places(&object[place], &format!("/{place}")) {
                    let mut without = object.clone();
                    *without.pointer_mut(&path).unwrap() = Value::Null;
                    cases += 1;
                    if !is_refused(&without) {
                        continue;
                    }
                    refused += 1;
                    let stored = pruned(&schema, &without);
                    let is_kept = Structural::default().violation(&schema, &stored).is_some();
                    if !is_kept && !is_refused(&stored) {
                        wrong.push(format!("{path} of\n{object}"));
                    }
                }
            }
        }
    }
    println!("{cases} fields without a value, {refused} refused by the parser");
    assert!(refused > 100, "{refused} are few");
    assert!(
        wrong.is_empty(),
        "{} are removed, and what is left is accepted:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

/// The paths of all fields at any depth.
fn places(value: &Value, path: &str) -> Vec<String> {
    let below: Vec<(String, &Value)> = match value {
        Value::Object(fields) => {
            let escaped = |name: &str| name.replace('~', "~0").replace('/', "~1");
            fields.iter().map(|(name, value)| (format!("{path}/{}", escaped(name)), value)).collect()
        }
        Value::Array(items) => {
            items.iter().enumerate().map(|(at, value)| (format!("{path}/{at}"), value)).collect()
        }
        _ => Vec::new(),
    };
    let deeper = below.iter().flat_map(|(path, value)| places(value, path));
    let deeper: Vec<String> = deeper.collect();
    let own = below.into_iter().filter(|_| value.is_object()).map(|(path, _)| path);
    own.chain(deeper).collect()
}

fn is_refused(object: &Value) -> bool {
    let findings = manifest::parse("", &object.to_string())
        .map_or_else(|findings| findings, |manifest| manifest.warnings);
    findings.iter().any(|finding| finding.severity == Severity::Error)
}

/// What parser and schema find of one object.
#[derive(Clone, Copy, PartialEq)]
enum Verdicts {
    Accepted,
    RefusedByBoth,
    LeftToAgent,
}

#[derive(Default)]
struct Judged {
    schemas: HashMap<(String, String), Option<Value>>,
    structural: Structural,
    accepted: usize,
    refused: usize,
    left: usize,
    objects: Vec<(Value, Verdicts)>,
}

impl Judged {
    /// Judges the objects of all files.
    fn of_files() -> Self {
        let tree = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let mut directories: Vec<PathBuf> =
            ["crates", "examples"].iter().map(|name| tree.join(name)).collect();
        let more = std::env::var(MORE).unwrap_or_default();
        directories.extend(more.split(':').filter(|path| !path.is_empty()).map(PathBuf::from));
        let mut judged = Judged::default();
        for file in directories.iter().flat_map(|directory| manifests(directory)) {
            let text = fs::read_to_string(&file).unwrap();
            let Ok(documents) = manifest::documents_as_json("", &text) else { continue };
            for document in documents {
                let Ok(document) = serde_json::from_str(&document) else { continue };
                judged.all_within(&document, &file.display().to_string());
            }
        }
        judged
    }

    /// Judges the cases of the parser's messages, and returns the specs that the agent refuses and the schemas accept.
    fn of_messages() -> (Self, String) {
        let mut judged = Judged::default();
        let mut left = String::new();
        for (kind, cases) in [
            ("CiliumNetworkPolicy", include_str!("../../../manifest/tests/messages/cilium.txt")),
            (
                "CiliumClusterwideNetworkPolicy",
                include_str!("../../../manifest/tests/messages/clusterwide.txt"),
            ),
        ] {
            left.push_str(&format!(
                "# {kind}: specs that the agent refuses and that meet the schema without CEL.\n"
            ));
            let is_case = |line: &&str| !line.starts_with("  ") && !line.starts_with('#');
            for case in cases.lines().filter(is_case) {
                let head = format!("apiVersion: cilium.io/v2\nkind: {kind}\nmetadata: {{name: p}}\n");
                let text = format!("{head}spec: {{{case}}}\n");
                let Ok(documents) = manifest::documents_as_json("", &text) else { continue };
                let Some(object) = documents.first().and_then(|text| serde_json::from_str(text).ok()) else {
                    continue;
                };
                if judged.of_text(&object, &text, case) == Some(Verdicts::LeftToAgent) {
                    left.push_str(&format!("{case}\n"));
                }
            }
        }
        (judged, left)
    }

    /// Judges every object of our kinds within a value: a PolicyTest and a List contain some.
    fn all_within(&mut self, value: &Value, place: &str) {
        match value {
            Value::Object(fields) => {
                self.of_text(value, &value.to_string(), place);
                fields.values().for_each(|value| self.all_within(value, place));
            }
            Value::Array(items) => items.iter().for_each(|value| self.all_within(value, place)),
            _ => {}
        }
    }

    /// Judges one object; none if it is not of our kinds.
    fn of_text(&mut self, object: &Value, text: &str, place: &str) -> Option<Verdicts> {
        let of = |field: &str| object[field].as_str().map(str::to_owned);
        let kind = (of("apiVersion")?, of("kind")?);
        let schema = self.schemas.entry(kind).or_insert_with_key(|(version, kind)| schema_of(version, kind));
        let violation = self.structural.violation(schema.as_ref()?, object);
        let findings =
            manifest::parse("", text).map_or_else(|findings| findings, |manifest| manifest.warnings);
        if findings.iter().any(|finding| finding.severity == Severity::Error) {
            self.refused += 1;
            self.left += usize::from(violation.is_none());
            let verdicts = if violation.is_none() { Verdicts::LeftToAgent } else { Verdicts::RefusedByBoth };
            self.objects.push((object.clone(), verdicts));
            return Some(verdicts);
        }
        assert_eq!(violation, None, "{place}: the parser accepts\n{text}");
        self.accepted += 1;
        self.objects.push((object.clone(), Verdicts::Accepted));
        Some(Verdicts::Accepted)
    }
}

/// The schema of a served version.
fn schema_of(api_version: &str, kind: &str) -> Option<Value> {
    let (group, version) = api_version.split_once('/')?;
    let resource = RESOURCES.iter().find(|resource| kind == resource.kind())?;
    let definition = resource.definition();
    let versions = definition["spec"]["versions"].as_array()?;
    let served = versions.iter().find(|served| served["name"] == version)?;
    (group == GROUP).then(|| served["schema"]["openAPIV3Schema"].clone())
}

fn manifests(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(manifests(&path));
        } else if path.extension().is_some_and(|ending| ending == "yaml" || ending == "json") {
            found.push(path);
        }
    }
    found
}
