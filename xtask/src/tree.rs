//! The repository for the checks: its text files, and its crates with their dependencies.

use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::path::Path;
use std::process::Command;

/// A text file that is, or could be, under version control.
#[derive(Clone, Debug)]
pub(crate) struct File {
    /// Path from the root of the repository.
    pub(crate) path: String,
    /// Its text.
    pub(crate) text: String,
}

/// A crate of one of the repository's workspaces.
#[derive(Clone, Debug, Default)]
pub(crate) struct Crate {
    /// Package name without the `nexin-` prefix.
    pub(crate) name: String,
    /// Path of its Cargo.toml from the root of the repository.
    pub(crate) manifest: String,
    /// The licence as an SPDX expression.
    pub(crate) license: Option<String>,
    /// The purpose of the crate, in one sentence.
    pub(crate) description: Option<String>,
    /// The packages that it depends on; dependencies for tests are left out.
    pub(crate) dependencies: Vec<String>,
    /// The ring of the architecture that it lies in; none where it lies outside.
    pub(crate) ring: Option<u64>,
    /// The crates of the repository that it may depend on; none where its Cargo.toml lacks the list.
    pub(crate) knows: Option<Knows>,
    /// Whether the crate must not use clock, socket, file, thread or environment.
    pub(crate) is_pure: bool,
    /// Why the crate may hold unsafe code; none where it may not.
    pub(crate) reason_for_unsafe: Option<String>,
}

/// The crates that a crate may depend on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Knows {
    Only(Vec<String>),
    All,
}

impl Crate {
    /// The directory of its Cargo.toml, with a slash at its end.
    pub(crate) fn directory(&self) -> &str {
        self.manifest.trim_end_matches("Cargo.toml")
    }

    /// The crates of the repository that it depends on.
    pub(crate) fn known<'a>(&self, crates: &'a [Self]) -> impl Iterator<Item = &'a Self> {
        let known = |one: &&Self| self.dependencies.iter().any(|package| short_name(package) == one.name);
        crates.iter().filter(known)
    }
}

/// The file name without directories and extension.
pub(crate) fn stem(path: &str) -> &str {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.split_once('.').map_or(name, |(stem, _)| stem)
}

/// The package name without the prefix of the repository.
fn short_name(package: &str) -> &str {
    package.strip_prefix("nexin-").unwrap_or(package)
}

/// Reads every text file of a tree: those that git tracks or would track, or all where the tree is no checkout.
pub(crate) fn files(root: &Path) -> Result<Vec<File>> {
    let mut paths = if root.join(".git").exists() { tracked(root)? } else { below(root, "")? };
    paths.sort_unstable();
    paths.dedup();
    // A file that is deleted but not committed, or that is not text, has no text to check.
    let read = |path: &String| std::fs::read_to_string(root.join(path)).ok();
    Ok(paths.into_iter().filter_map(|path| Some(File { text: read(&path)?, path })).collect())
}

/// The paths that git tracks or would track.
fn tracked(root: &Path) -> Result<Vec<String>> {
    let listed =
        output(Command::new("git").current_dir(root).args(["ls-files", "-co", "--exclude-standard"]))?;
    Ok(listed.lines().map(str::to_owned).collect())
}

/// The paths of all files below a directory, without build output.
fn below(root: &Path, directory: &str) -> Result<Vec<String>> {
    let mut paths = Vec::new();
    for entry in
        std::fs::read_dir(root.join(directory)).with_context(|| format!("could not list {directory:?}"))?
    {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = if directory.is_empty() { name.clone() } else { format!("{directory}/{name}") };
        match entry.file_type()? {
            kind if kind.is_dir() && name != "target" => paths.extend(below(root, &path)?),
            kind if kind.is_file() => paths.push(path),
            _ => {}
        }
    }
    Ok(paths)
}

/// Reads the crates of the workspace from cargo's metadata, and of the workspace of the kernel programs, if it exists.
pub(crate) fn crates() -> Result<Vec<Crate>> {
    let manifests = ["Cargo.toml", "programs/Cargo.toml"].map(|path| root().join(path));
    let mut crates = Vec::new();
    for manifest in manifests.iter().filter(|path| path.exists()) {
        let metadata = output(
            Command::new(env!("CARGO"))
                .args(["metadata", "--no-deps", "--format-version", "1", "--manifest-path"])
                .arg(manifest),
        )?;
        let metadata: Value =
            serde_json::from_str(&metadata).context("the output of cargo metadata is not JSON")?;
        crates.extend(metadata["packages"].as_array().into_iter().flatten().map(package));
    }
    Ok(crates)
}

/// Reads one package of cargo's metadata.
fn package(value: &Value) -> Crate {
    let text = |field: &str| value[field].as_str().map(str::to_owned);
    let own = &value["metadata"]["nexin"];
    let manifest = text("manifest_path").unwrap_or_default();
    let built_from = |dependency: &&Value| dependency["kind"].as_str() != Some("dev");
    let dependencies = value["dependencies"].as_array().into_iter().flatten().filter(built_from);
    Crate {
        name: short_name(value["name"].as_str().unwrap_or_default()).to_owned(),
        manifest: Path::new(&manifest)
            .strip_prefix(root())
            .map_or(manifest.clone(), |path| path.display().to_string()),
        license: text("license"),
        description: text("description"),
        dependencies: dependencies
            .filter_map(|dependency| Some(dependency["name"].as_str()?.to_owned()))
            .collect(),
        ring: own["ring"].as_u64(),
        knows: knows(&own["knows"]),
        is_pure: own["pure"].as_bool().unwrap_or_default(),
        reason_for_unsafe: own["unsafe"].as_str().map(str::to_owned),
    }
}

/// Reads the permission of a crate: `"all"`, or a list of names.
fn knows(value: &Value) -> Option<Knows> {
    match value {
        Value::String(all) if all == "all" => Some(Knows::All),
        Value::Array(names) => {
            Some(Knows::Only(names.iter().filter_map(|name| Some(name.as_str()?.to_owned())).collect()))
        }
        _ => None,
    }
}

/// The root of the repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the repository")
}

/// Runs a command and returns its output.
fn output(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("could not run {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?} failed:\n{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8(output.stdout)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_dependencies_are_no_arrows() {
        let read = package(&serde_json::json!({
            "name": "nexin-flow", "manifest_path": "/elsewhere/Cargo.toml", "license": "Apache-2.0",
            "metadata": {"nexin": {"ring": 1, "knows": ["abi"], "pure": true}},
            "dependencies": [{"name": "nexin-abi", "kind": null}, {"name": "cc", "kind": "build"},
                             {"name": "nexin-policy", "kind": "dev"}]
        }));
        assert_eq!((read.name.as_str(), read.dependencies), ("flow", vec!["nexin-abi".into(), "cc".into()]));
        assert_eq!((read.description, read.ring, read.is_pure), (None, Some(1), true));
        assert_eq!(read.knows, Some(Knows::Only(vec!["abi".into()])));
    }

    #[test]
    fn a_stem_has_no_directories_and_no_extension() {
        assert_eq!(stem("crates/abi/src/address.rs"), "address");
        assert_eq!(stem("Makefile"), "Makefile");
    }
}
