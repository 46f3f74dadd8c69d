//! Reads the objects of a cluster, with files as if they were applied to it.

use super::manifest_files::{ManifestFile, Origin};
use crate::cluster_connection::ClusterConnection;
use crate::outcome::BadInput;
use clap::Args;
use kubernetes::ClusterObject;
use manifest::ObjectName;
use std::collections::BTreeSet;

/// Whether to read a cluster, and which.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub(super) struct ClusterOptions {
    /// Read the policies, pods, namespaces, services and nodes of a cluster; files count as if they were applied to it
    #[arg(long)]
    cluster: bool,
    #[command(flatten)]
    connection: ClusterConnection,
}

impl ClusterOptions {
    /// Whether a cluster is read.
    pub(super) fn is_given(&self) -> bool {
        self.cluster
    }

    /// The objects of the cluster, each as a file; none unless a cluster is read.
    pub(super) fn read(&self) -> anyhow::Result<Vec<ManifestFile>> {
        if !self.cluster {
            return Ok(Vec::new());
        }
        let objects = kubernetes::snapshot(&(&self.connection).into(), agent::cluster_kinds());
        Ok(objects.map_err(|error| BadInput(error.to_string()))?.into_iter().map(file).collect())
    }
}

/// The object as a file, whose name tells where it is.
fn file(ClusterObject { kind, name, text }: ClusterObject) -> ManifestFile {
    ManifestFile { name: format!("cluster:{kind}/{name}"), text, origin: Origin::Cluster }
}

/// The objects of a cluster after files were applied to it. Without a cluster no file is parsed here.
pub(super) fn applied(mut cluster: Vec<ManifestFile>, files: Vec<ManifestFile>) -> Vec<ManifestFile> {
    if cluster.is_empty() {
        return files;
    }
    let replaced: BTreeSet<ObjectName> = files.iter().flat_map(names).collect();
    cluster.retain(|object| !names(object).iter().any(|name| replaced.contains(name)));
    cluster.extend(files);
    cluster
}

/// The names of the objects of a file. A file with errors has none; they are reported where the file is read.
fn names(file: &ManifestFile) -> Vec<ObjectName> {
    let objects =
        manifest::parse(&file.name, &file.text).map(|manifest| manifest.objects).unwrap_or_default();
    objects.iter().map(manifest::Object::name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_replaces_the_objects_of_the_cluster_that_it_describes() {
        let policy = |name: &str| {
            format!(
                r#"{{"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {{"name": "{name}"}}, "spec": {{"podSelector": {{}}}}}}"#
            )
        };
        let of_cluster = |name: &str| ManifestFile {
            name: format!("cluster:NetworkPolicy/default/{name}"),
            text: policy(name),
            origin: Origin::Cluster,
        };
        let new = ManifestFile { name: "new.yaml".into(), text: policy("b"), origin: Origin::Named };
        let names: Vec<String> = applied(vec![of_cluster("a"), of_cluster("b")], vec![new])
            .into_iter()
            .map(|file| file.name)
            .collect();
        assert_eq!(names, ["cluster:NetworkPolicy/default/a", "new.yaml"]);
    }
}
