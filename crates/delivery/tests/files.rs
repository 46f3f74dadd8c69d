//! The files under `deploy/` are the text of the objects.

use delivery::{RESOURCES, yaml};
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

fn check(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy").join(name);
    if std::env::var_os(REFRESH).is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    let read = manifest::documents_as_json(name, text).unwrap_or_else(|findings| panic!("{findings:#?}"));
    assert!(!read.is_empty());
    assert!(
        written == text,
        "deploy/{name} is stale; NEXIN_REFRESH=1 cargo test -p nexin-delivery writes it anew"
    );
}
