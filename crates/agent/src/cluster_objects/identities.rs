//! The CiliumIdentities of the cluster, and the pods of this node that wait for one.

use crate::node_pods::NodePod;
use control::{Change, World};
use identity::from_security_labels;
use kubernetes::{CiliumIdentity, ResourceName};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long after its first sight a pod waits for the identity of its labels. The operator allocates it while the kubelet
/// prepares the pod; without an operator the pod gets a number of the node then.
pub(crate) const WAIT: Duration = Duration::from_secs(1);

/// The change that the text of a CiliumIdentity makes, or that follows if the object is gone.
///
/// # Errors
/// What is wrong with the object.
pub(crate) fn identity_change(name: &ResourceName, text: Option<&str>) -> Result<Change, String> {
    let number = name.name.parse().map_err(|_| "its name is no number".to_owned())?;
    let Some(text) = text else { return Ok(Change::RemoveIdentity(number)) };
    let object: CiliumIdentity = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let written = object.security_labels.iter().map(|(key, value)| (&**key, &**value));
    match from_security_labels(written) {
        Some(labels) if !labels.is_empty() => Ok(Change::Identity { number, labels: Arc::new(labels) }),
        Some(_) => Err("security-labels: has no label".to_owned()),
        None => Err("security-labels: a key has no source, as in `k8s:app`".to_owned()),
    }
}

/// The number that a change assigns.
pub(crate) fn assigned_number(change: &Change) -> Option<u32> {
    match change {
        Change::Identity { number, .. } => Some(*number),
        _ => None,
    }
}

/// The pods of this node whose labels have no identity of the cluster yet.
#[derive(Debug, Default)]
pub(crate) struct AwaitedIdentities {
    pods: BTreeMap<ResourceName, AwaitingPod>,
    /// A pod waited in vain, and no identity came since: no operator runs, so that pods do not wait.
    is_away: bool,
}

#[derive(Debug)]
struct AwaitingPod {
    uid: String,
    labels: BTreeMap<String, String>,
    until: Instant,
    is_late: bool,
}

/// What became of pods that waited.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct EndedWaits {
    /// Pods whose identity came.
    pub(crate) assigned: Vec<ResourceName>,
    /// Pods whose time is over, with their UIDs.
    pub(crate) late: Vec<(ResourceName, String)>,
}

impl AwaitedIdentities {
    /// The API server shows a pod. Returns until when its attachment waits for an identity; none if it must not wait.
    pub(crate) fn put(&mut self, pod: &NodePod, world: &World, now: Instant) -> Option<Instant> {
        let name = name_of(pod);
        let known = self.pods.remove(&name).filter(|known| known.uid == pod.uid);
        if world.assigned_identity(&pod.namespace, &pod.labels).is_some() {
            return None;
        }
        let (until, is_late) = known.map_or((now + WAIT, false), |known| (known.until, known.is_late));
        let (uid, labels) = (pod.uid.clone(), pod.labels.clone());
        self.pods.insert(name, AwaitingPod { uid, labels, until, is_late });
        Some(until).filter(|until| !self.is_away && *until > now)
    }

    /// A pod is gone.
    pub(crate) fn remove(&mut self, name: &ResourceName) {
        self.pods.remove(name);
    }

    /// An identity came from the cluster: an operator runs.
    pub(crate) fn came(&mut self) {
        self.is_away = false;
    }

    /// Ends the waits whose identity came, or whose time is over.
    pub(crate) fn settle(&mut self, world: &World, now: Instant) -> EndedWaits {
        let mut ended = EndedWaits::default();
        self.pods.retain(|name, pod| {
            let namespace = name.namespace.as_deref().unwrap_or_default();
            let is_assigned = world.assigned_identity(namespace, &pod.labels).is_some();
            if is_assigned {
                ended.assigned.push(name.clone());
            } else if !pod.is_late && pod.until <= now {
                pod.is_late = true;
                ended.late.push((name.clone(), pod.uid.clone()));
            }
            !is_assigned
        });
        self.is_away |= !ended.late.is_empty();
        ended
    }

    /// When the time of the next pod is over.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.pods.values().filter(|pod| !pod.is_late).map(|pod| pod.until).min()
    }
}

fn name_of(pod: &NodePod) -> ResourceName {
    ResourceName { namespace: Some(pod.namespace.clone()), name: pod.name.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use identity::Labels;

    fn pod(name: &str, app: &str) -> NodePod {
        NodePod {
            namespace: "shop".into(),
            name: name.into(),
            uid: format!("uid-of-{name}"),
            labels: [("app".to_owned(), app.to_owned())].into(),
            ..NodePod::default()
        }
    }

    fn name(text: &str) -> ResourceName {
        ResourceName { namespace: Some("shop".into()), name: text.into() }
    }

    fn assigned(number: u32, app: &str) -> Change {
        let labels = Arc::new(Labels::of_workload("shop", [], [("app", app)]));
        Change::Identity { number, labels }
    }

    #[test]
    fn an_identity_is_read_by_its_name_and_its_labels() {
        let text = r#"{"apiVersion": "cilium.io/v2", "kind": "CiliumIdentity", "metadata": {"name": "4711"},
            "security-labels": {"k8s:app": "web", "k8s:io.kubernetes.pod.namespace": "shop"}}"#;
        let name = |name: &str| ResourceName { namespace: None, name: name.into() };
        let Ok(Change::Identity { number, labels }) = identity_change(&name("4711"), Some(text)) else {
            panic!("no identity")
        };
        assert_eq!((number, labels.value(None, "app")), (4711, Some("web")));
        assert_eq!(identity_change(&name("4711"), None), Ok(Change::RemoveIdentity(4711)));
        assert!(identity_change(&name("web"), Some(text)).is_err());
        assert!(identity_change(&name("4711"), Some(&text.replace("k8s:app", "app"))).is_err());
    }

    #[test]
    fn a_pod_waits_until_its_identity_comes() {
        let (mut awaited, mut world, now) = (AwaitedIdentities::default(), World::new(), Instant::now());
        world.apply([assigned(70_000, "web")]);
        assert_eq!(awaited.put(&pod("a", "web"), &world, now), None);
        assert_eq!(awaited.put(&pod("b", "db"), &world, now), Some(now + WAIT));
        let later = now + WAIT / 2;
        assert_eq!(awaited.put(&pod("b", "db"), &world, later), Some(now + WAIT), "since its first sight");
        assert_eq!(awaited.settle(&world, later), EndedWaits::default());
        world.apply([assigned(70_001, "db")]);
        assert_eq!(awaited.settle(&world, later).assigned, [name("b")]);
        assert_eq!(awaited.due(), None);
    }

    #[test]
    fn without_an_operator_one_pod_waits_once() {
        let (mut awaited, mut world, now) = (AwaitedIdentities::default(), World::new(), Instant::now());
        awaited.put(&pod("a", "web"), &world, now);
        assert_eq!(awaited.due(), Some(now + WAIT));
        let ended = awaited.settle(&world, now + WAIT);
        assert_eq!(ended.late, [(name("a"), "uid-of-a".to_owned())]);
        assert_eq!(awaited.settle(&world, now + WAIT * 2), EndedWaits::default(), "reported once");
        assert_eq!(awaited.put(&pod("b", "db"), &world, now + WAIT), None);
        world.apply([assigned(70_000, "other")]);
        awaited.came();
        assert_eq!(awaited.put(&pod("c", "cache"), &world, now + WAIT), Some(now + WAIT * 2));
    }
}
