//! The objects of the API server that were last known, on disk: a start uses them while the API server is away.

use super::identities::identity_change;
use super::kinds::{ObjectRole, watched_kinds};
use super::names::{object_of, source_of};
use super::node_objects::NodeObjects;
use super::peer_slices::PeerSlices;
use super::{peers, pods};
use crate::entry_log::Durability;
use crate::files::{Copies, DamagedCopy};
use crate::node_pods::NodePod;
use crate::objects::{FileState, FileStates, Objects};
use crate::paths::Paths;
use anyhow::Context;
use control::Change;
use kubernetes::{ClusterObject, KnownObjects, ResourceName, WatchRequest, WatchedKind, text_hash};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::io;
use std::iter;
use std::net::IpAddr;
use std::sync::Arc;

/// The watched kinds, and their objects on disk.
#[derive(Debug)]
pub(crate) struct StoredCluster {
    /// The name of this node.
    node: String,
    kinds: Vec<(ObjectRole, WatchedKind)>,
    copies: Copies,
    /// The stored texts by source, until the watches know them.
    texts: BTreeMap<String, String>,
    /// The files that cannot be read.
    damaged: Vec<DamagedCopy>,
    /// What is not on disk yet.
    unsaved: BTreeMap<String, Option<String>>,
}

impl StoredCluster {
    /// Reads what an earlier agent of this node stored, and why it is damaged, if it is.
    pub(crate) fn load(paths: &Paths, node: &str) -> anyhow::Result<(Self, Option<String>)> {
        let directory = paths.cluster();
        let (copies, texts, damaged) =
            Copies::load(&directory).with_context(|| format!("{} cannot be read", directory.display()))?;
        let why = damaged.first().map(|first| format!("{} is damaged: {}", first.copy.display(), first.why));
        let stored = Self {
            node: node.to_owned(),
            kinds: watched_kinds(node),
            copies,
            texts,
            damaged,
            unsaved: BTreeMap::new(),
        };
        Ok((stored, why))
    }

    /// Whether nothing is stored. An agent that watched its API server has at least the Node objects.
    pub(crate) fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }

    /// The watched kinds.
    pub(crate) fn kinds(&self) -> Vec<WatchedKind> {
        self.kinds.iter().map(|(_, kind)| kind.clone()).collect()
    }

    /// Puts these objects in place of what is stored. An object that never was valid is left out: no earlier state of it is in force.
    ///
    /// # Errors
    /// The objects that are invalid now, and may have had valid states that are still in force.
    pub(crate) fn replace(&mut self, objects: Vec<ClusterObject>) -> Result<(), Vec<String>> {
        let mut nodes = NodeObjects::new(&self.node, iter::empty(), texts_of_kind(&objects, "CiliumNode"));
        let (mut texts, mut invalid) = (BTreeMap::new(), Vec::new());
        for ClusterObject { kind, name, text } in objects {
            let source = source_of(kind, &name);
            let text = match kind {
                "Node" => nodes.put_node(&name.name, Some(text)).unwrap_or_default(),
                _ => text,
            };
            let is_manifest = self.of_role(ObjectRole::Manifest).any(|index| self.kind(index) == kind);
            let state =
                if is_manifest { FileState::parse(&source, &text) } else { FileState::Valid(Vec::new()) };
            match state {
                FileState::Invalid(messages) if generation(&text) > 1 => invalid.extend(messages),
                FileState::Invalid(_) => {}
                _ => drop(texts.insert(source, text)),
            }
        }
        if !invalid.is_empty() {
            return Err(invalid);
        }
        Copies::discard(&std::mem::take(&mut self.damaged));
        self.unsaved = texts.iter().map(|(source, text)| (source.clone(), Some(text.clone()))).collect();
        self.texts = texts;
        Ok(())
    }

    /// The stored objects that are in force from the start; the changes lead from no object to these.
    ///
    /// # Errors
    /// This release does not accept some of them.
    pub(crate) fn recall(&self, objects: &mut Objects, own: &[IpAddr]) -> anyhow::Result<Vec<Change>> {
        let manifests = self.texts_of(ObjectRole::Manifest);
        let states: FileStates =
            manifests.map(|(source, text)| (source.to_owned(), FileState::parse(source, text))).collect();
        let mut update = objects.update(states);
        let mut changes = update.take();
        objects.commit(update);
        let invalid = objects.problems();
        anyhow::ensure!(invalid.is_empty(), "stored objects of the API server: {}", invalid.join("; "));
        let mut labels = BTreeMap::new();
        for (source, text) in self.texts_of(ObjectRole::Identity) {
            let Some((_, name)) = object_of(source) else { continue };
            match identity_change(&name, Some(text)) {
                Ok(change) => {
                    if let Change::Identity { number, labels: assigned } = &change {
                        labels.insert(*number, Arc::clone(assigned));
                    }
                    changes.push(change);
                }
                Err(why) => tracing::warn!("{source}: {why}"),
            }
        }
        for (source, text) in self.texts_of(ObjectRole::Peer) {
            let Some((_, name)) = object_of(source) else { continue };
            match peers::peer_change(&name, Some(text), |_| None, |node| own.contains(&node)) {
                Ok(Change::RemoveRemoteWorkload { .. }) => {}
                Ok(change) => changes.push(change),
                Err(why) => tracing::warn!("{source}: {why}"),
            }
        }
        let mut slices = self.peer_slices();
        for pod in slices.take_changed() {
            let labels_of = |identity| labels.get(&identity);
            match slices.change(&pod, labels_of, |_| None, |node| own.contains(&node)) {
                Ok(Some(Change::RemoveRemoteWorkload { .. })) => {}
                Ok(change) => changes.extend(change),
                Err(why) => tracing::warn!("CiliumEndpointSlice: {pod}: {why}"),
            }
        }
        Ok(changes)
    }

    /// The stored CiliumEndpointSlices, each of whose pods counts as changed.
    pub(crate) fn peer_slices(&self) -> PeerSlices {
        let mut slices = PeerSlices::default();
        for (source, text) in self.texts_of(ObjectRole::PeerSlice) {
            let Some((_, name)) = object_of(source) else { continue };
            if let Err(why) = slices.put(&name.name, Some(text)) {
                tracing::warn!("{source}: {why}");
            }
        }
        for (source, _) in self.texts_of(ObjectRole::Peer) {
            if let Some((_, name)) = object_of(source) {
                slices.put_endpoint(&name, true);
            }
        }
        slices
    }

    /// The stored pods of this node.
    pub(crate) fn pods(&self) -> impl Iterator<Item = NodePod> {
        self.texts_of(ObjectRole::NodePod).filter_map(|(source, text)| pods::read_pod(source, text).ok()?)
    }

    /// The stored manifests: kind, name and text.
    pub(crate) fn manifests(&self) -> impl Iterator<Item = (&str, ResourceName, &str)> {
        self.texts_of(ObjectRole::Manifest).filter_map(|(source, text)| {
            let (kind, name) = object_of(source)?;
            Some((kind, name, text))
        })
    }

    /// The name of each stored object of a kind, and its text.
    pub(crate) fn of_kind(&self, kind: &'static str) -> impl Iterator<Item = (String, &str)> {
        self.texts.iter().filter_map(move |(source, text)| {
            let (of, name) = object_of(source)?;
            (of == kind).then_some((name.name, text.as_str()))
        })
    }

    /// The kinds to watch, each with the objects that are known.
    pub(crate) fn requests(&mut self) -> Vec<WatchRequest> {
        let request = |(_, kind): &(ObjectRole, WatchedKind)| {
            let known = self.texts.iter().filter_map(|(source, text)| {
                let (of, name) = object_of(source)?;
                (of == kind.kind).then(|| (name, text_hash(text)))
            });
            WatchRequest { kind: kind.clone(), known: known.collect::<KnownObjects>() }
        };
        self.kinds.iter().map(request).collect()
    }

    /// The name of the kind with this index.
    pub(crate) fn kind(&self, index: usize) -> &'static str {
        self.kinds[index].1.kind
    }

    /// The index of a kind.
    pub(crate) fn index_of(&self, kind: &str) -> Option<usize> {
        self.kinds.iter().position(|(_, known)| known.kind == kind)
    }

    /// The kinds with this role, by index.
    pub(crate) fn of_role(&self, role: ObjectRole) -> impl Iterator<Item = usize> {
        self.kinds.iter().enumerate().filter(move |(_, (of, _))| *of == role).map(|(index, _)| index)
    }

    /// Stores a text with the next [`Self::save`], or removes it.
    pub(crate) fn keep(&mut self, source: String, text: Option<String>) {
        self.unsaved.insert(source, text);
    }

    /// Whether something is not on disk yet.
    pub(crate) fn is_unsaved(&self) -> bool {
        !self.unsaved.is_empty()
    }

    /// Writes what was kept. Changes of pods alone cost no fsync: there are many, on the agent's thread, while pods are born. What cannot be
    /// written is written by the next call.
    pub(crate) fn save(&mut self) -> io::Result<()> {
        let is_lasting = self.unsaved.keys().any(|source| outlives_host(source));
        let durability = if is_lasting { Durability::Host } else { Durability::Process };
        self.copies.save_durably(std::mem::take(&mut self.unsaved), durability)
    }

    fn texts_of(&self, role: ObjectRole) -> impl Iterator<Item = (&str, &str)> {
        let is_of = move |source: &str| {
            object_of(source).is_some_and(|(of, _)| {
                self.kinds.iter().any(|(known, kind)| *known == role && kind.kind == of)
            })
        };
        self.texts
            .iter()
            .map(|(source, text)| (source.as_str(), text.as_str()))
            .filter(move |(source, _)| is_of(source))
    }
}

/// Whether an object is needed after the host has ended. Its pods end with it; where others are is out of date by then.
fn outlives_host(source: &str) -> bool {
    let kind = object_of(source).map(|(kind, _)| kind);
    !matches!(
        kind,
        Some("Pod" | "CiliumEndpoint" | "CiliumEndpointSlice" | "CiliumIdentity" | "EndpointSlice")
    )
}

/// The objects of a kind, by name.
fn texts_of_kind<'a>(objects: &'a [ClusterObject], kind: &'a str) -> impl Iterator<Item = (String, &'a str)> {
    let of_kind = objects.iter().filter(move |object| object.kind == kind);
    of_kind.map(|object| (object.name.name.clone(), object.text.as_str()))
}

/// How often the spec of an object was written; 0 where the API server does not count that.
fn generation(text: &str) -> i64 {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Written {
        metadata: WrittenMetadata,
    }
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct WrittenMetadata {
        generation: i64,
    }
    serde_json::from_str(text).map_or(0, |object: Written| object.metadata.generation)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object(kind: &'static str, name: &str, text: serde_json::Value) -> ClusterObject {
        let namespace = (kind == "CiliumNetworkPolicy").then(|| "shop".to_owned());
        ClusterObject { kind, name: ResourceName { namespace, name: name.into() }, text: text.to_string() }
    }

    fn policy(name: &str, generation: i64, section: &str) -> ClusterObject {
        let metadata = json!({"name": name, "namespace": "shop", "generation": generation});
        let spec = json!({"endpointSelector": {}, section: [{}]});
        let (version, kind) = ("cilium.io/v2", "CiliumNetworkPolicy");
        object(kind, name, json!({"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec}))
    }

    fn stored(name: &str) -> (StoredCluster, std::path::PathBuf) {
        let directory = std::env::temp_dir().join(format!("nexin-stored-{name}-{}", std::process::id()));
        std::fs::create_dir_all(directory.join("cluster")).unwrap();
        (StoredCluster::load(&Paths::new(&directory, "test"), "n1").unwrap().0, directory)
    }

    #[test]
    fn an_invalid_object_that_may_have_been_valid_is_not_passed_over() {
        let (mut stored, directory) = stored("invalid");
        let invalid = stored.replace(vec![policy("a", 1, "ingress"), policy("b", 2, "ingres")]).unwrap_err();
        assert!(invalid[0].contains("ingres") && stored.is_empty(), "{invalid:?}");
        stored.replace(vec![policy("a", 3, "ingress"), policy("b", 1, "ingres")]).unwrap();
        let sources: Vec<&String> = stored.texts.keys().collect();
        assert_eq!(sources, ["kubernetes:CiliumNetworkPolicy/shop/a"], "b never was valid");
        assert!(stored.is_unsaved());
        std::fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn nodes_that_are_read_again_have_the_blocks_of_their_cilium_nodes() {
        let (mut stored, directory) = stored("nodes");
        let header = |version: &str, kind: &str| json!({"apiVersion": version, "kind": kind, "metadata": {"name": "n2"}});
        let mut blocks = header("cilium.io/v2", "CiliumNode");
        blocks["spec"] = json!({"ipam": {"podCIDRs": ["10.1.2.0/24"]}});
        let node = object("Node", "n2", header("v1", "Node"));
        stored.replace(vec![node, object("CiliumNode", "n2", blocks)]).unwrap();
        assert!(stored.texts["kubernetes:Node/n2"].contains("10.1.2.0/24"), "{:?}", stored.texts);
        std::fs::remove_dir_all(directory).unwrap();
    }
}
