//! The objects of the API server that were last known, on disk: a start uses them while the API server is away.

use super::identities::identity_change;
use super::kinds::{ObjectRole, watched_kinds};
use super::names::object_of;
use super::{peers, pods};
use crate::entry_log::Durability;
use crate::files::Copies;
use crate::node_pods::NodePod;
use crate::objects::{FileState, FileStates, Objects};
use crate::paths::Paths;
use anyhow::Context;
use control::Change;
use kubernetes::{KnownObjects, ResourceName, WatchRequest, WatchedKind, text_hash};
use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;

/// The watched kinds, and their objects on disk.
#[derive(Debug)]
pub(crate) struct StoredCluster {
    kinds: Vec<(ObjectRole, WatchedKind)>,
    copies: Copies,
    /// The stored texts by source, until the watches know them.
    texts: BTreeMap<String, String>,
    /// What is not on disk yet.
    unsaved: BTreeMap<String, Option<String>>,
}

impl StoredCluster {
    /// Reads what an earlier agent of this node stored.
    ///
    /// # Errors
    /// It is damaged. The agent must not start then: the maps of the earlier agent stay in force.
    pub(crate) fn load(paths: &Paths, node: &str) -> anyhow::Result<Self> {
        let directory = paths.cluster();
        let (copies, texts, damaged) =
            Copies::load(&directory).with_context(|| format!("{} cannot be read", directory.display()))?;
        if let Some(first) = damaged.first() {
            anyhow::bail!(
                "{} is damaged: {}; remove it to start without what the API server last showed: until its objects are \
                 listed again, no policy of the cluster is in force",
                first.copy.display(),
                first.why
            );
        }
        Ok(Self { kinds: watched_kinds(node), copies, texts, unsaved: BTreeMap::new() })
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
        for (source, text) in self.texts_of(ObjectRole::Identity) {
            let Some((_, name)) = object_of(source) else { continue };
            match identity_change(&name, Some(text)) {
                Ok(change) => changes.push(change),
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
        Ok(changes)
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

    /// Writes what was kept. Changes of pods alone cost no fsync: there are many, on the agent's thread, while pods are born. What cannot be written is written by the next call.
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
    !matches!(kind, Some("Pod" | "CiliumEndpoint" | "CiliumIdentity" | "EndpointSlice"))
}
