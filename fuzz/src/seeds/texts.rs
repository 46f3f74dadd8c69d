//! Seeds of manifests: the examples, the files of tests, and each case of `messages`.

use super::target::Seeds;
use std::io;
use std::path::Path;

/// The frames of the cases in `crates/manifest/tests/messages`, by file; CASE stands for a case.
const FRAMES: [(&str, &str); 7] = [
    ("cilium", "{apiVersion: cilium.io/v2, kind: CiliumNetworkPolicy, metadata: {name: p}, spec: {CASE}}"),
    (
        "clusterwide",
        "{apiVersion: cilium.io/v2, kind: CiliumClusterwideNetworkPolicy, metadata: {name: p}, spec: {CASE}}",
    ),
    (
        "cluster_policy",
        "{apiVersion: policy.networking.k8s.io/v1alpha2, kind: ClusterNetworkPolicy, metadata: {name: p}, spec: {CASE}}",
    ),
    (
        "admin_policy",
        "{apiVersion: policy.networking.k8s.io/v1alpha1, kind: AdminNetworkPolicy, metadata: {name: p}, spec: {CASE}}",
    ),
    (
        "network_policy",
        "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: p}, spec: {CASE}}",
    ),
    (
        "policy_test",
        "{apiVersion: nexin.io/v1alpha1, kind: PolicyTest, metadata: {name: p}, spec: {workloads: [{name: a}, {name: b, \
         namespace: x}], externals: [{name: www, ips: [198.51.100.7]}], CASE}}",
    ),
    ("documents", "CASE"),
];

/// Whole files of at most this many bytes are seeds.
const LONGEST: usize = 16 * 1024;

/// Files, documents and cases.
pub fn manifest(root: &Path) -> io::Result<Seeds> {
    let mut seeds = Seeds::default();
    let mut files = Vec::new();
    for directory in ["examples", "crates/manifest/tests"] {
        find(&root.join(directory), "yaml", &mut files)?;
    }
    for text in &files {
        for piece in
            [text.as_str()].into_iter().chain(text.split("\n---\n")).filter(|piece| piece.len() <= LONGEST)
        {
            seeds.inputs.insert(piece.as_bytes().to_vec());
        }
        seeds.words.extend(text.split_whitespace().filter_map(field).map(str::to_owned));
    }
    for (file, frame) in FRAMES {
        let path = root.join("crates/manifest/tests/messages").join(file).with_extension("txt");
        let text = std::fs::read_to_string(path)?;
        for case in text.lines().filter(|line| !line.starts_with("  ") && !line.starts_with('#')) {
            let case = case.replace("HEAD", "priority: 1, subject: {namespaces: {}}");
            seeds.inputs.insert(frame.replace("CASE", &case).into_bytes());
        }
    }
    let pieces = "&a *a !!str | > --- ... [] {} ~ null 65536 65535 -1 0x10 1e3 matchLabels: matchExpressions: <<: # %YAML";
    seeds.words.extend(pieces.split(' ').map(str::to_owned));
    Ok(seeds)
}

/// A word of a YAML text that is the name of a field, colon included.
fn field(word: &str) -> Option<&str> {
    let name = word.strip_suffix(':')?;
    (name.len() > 2 && name.bytes().all(|byte| byte.is_ascii_alphanumeric())).then_some(word)
}

/// Reads all files below a directory whose names have an ending.
fn find(directory: &Path, ending: &str, texts: &mut Vec<String>) -> io::Result<()> {
    let mut entries = std::fs::read_dir(directory)?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(std::fs::DirEntry::path);
    for entry in entries {
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            find(&path, ending, texts)?;
        } else if path.extension().is_some_and(|extension| extension == ending) {
            texts.push(std::fs::read_to_string(path)?);
        }
    }
    Ok(())
}
