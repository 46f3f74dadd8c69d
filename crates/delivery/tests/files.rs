//! The files under `deploy/` are the text of the objects.

use delivery::{InstallSettings, RESOURCES, access, yaml};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Set to write the files anew.
const REFRESH: &str = "NEXIN_REFRESH";

#[test]
fn the_definitions_are_as_described() {
    for resource in RESOURCES {
        check(&format!("crds/{}.yaml", resource.plural()), &yaml::document(&resource.definition()));
    }
}

#[test]
fn the_manifests_are_as_described() {
    // The definitions have files of their own, and the operator installs them.
    let is_definition = |object: &Value| object["kind"] == "CustomResourceDefinition";
    for file in delivery::files(&InstallSettings::default()) {
        if file.objects.iter().all(is_definition) {
            continue;
        }
        check(&format!("manifests/{}.yaml", file.name), &yaml::documents(&file.objects));
    }
}

#[test]
fn the_chart_is_as_described() {
    for file in delivery::chart() {
        check(&format!("helm/nexin/{}", file.path), &file.text);
    }
}

#[test]
fn the_operator_may_change_its_own_definitions_only() {
    let all: BTreeSet<String> = RESOURCES.iter().map(|resource| resource.definition_name()).collect();
    assert_eq!(all, access::DEFINITIONS.iter().map(|name| (*name).to_owned()).collect());
}

fn check(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy").join(name);
    if std::env::var_os(REFRESH).is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    // Helm replaces this placeholder by an object.
    let rendered = text.replace("{{ .Values.nodeSelector | toJson }}", "{}");
    let read =
        manifest::documents_as_json(name, &rendered).unwrap_or_else(|findings| panic!("{findings:#?}"));
    assert!(!read.is_empty());
    assert!(
        written == text,
        "deploy/{name} is stale; NEXIN_REFRESH=1 cargo test -p nexin-delivery writes it anew"
    );
}
