//! The pods of this node, as the API server describes them: an attachment waits here until its pod is known.
//!
//! The source that follows the API server calls [`NodePods::follow`] once at the start, and [`NodePods::put`] and
//! [`NodePods::remove`] for each change. Without such a source no attachment waits.

use api::PodIdentifier;
use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How many failures wait for the source that reports them.
const MOST_FAILURES: usize = 100;

/// A pod of this node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct NodePod {
    /// Its namespace.
    pub(crate) namespace: String,
    /// Its name.
    pub(crate) name: String,
    /// Its UID, which distinguishes it from a later pod with the same name.
    pub(crate) uid: String,
    /// Its labels.
    pub(crate) labels: BTreeMap<String, String>,
    /// Its annotations.
    pub(crate) annotations: BTreeMap<String, String>,
    /// The ports of its containers by name: `http` to `80/TCP`.
    pub(crate) named_ports: BTreeMap<String, String>,
}

/// Namespace, name and UID of a pod, as a runtime names it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PodQuery<'a> {
    /// Its namespace.
    pub(crate) namespace: &'a str,
    /// Its name.
    pub(crate) name: &'a str,
    /// Its UID; none matches every pod with the name.
    pub(crate) uid: Option<&'a str>,
}

/// The pods of this node; all clones are one set. Any thread may change it and look a pod up.
#[derive(Clone, Debug, Default)]
pub(crate) struct NodePods(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    known: Mutex<KnownPods>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct KnownPods {
    /// Whether a source follows the pods of an API server.
    is_followed: bool,
    /// By namespace and name.
    pods: BTreeMap<(String, String), Arc<NodePod>>,
    /// Until when attachments of a pod wait for its identity.
    unassigned: BTreeMap<(String, String), Instant>,
    /// Attachments that failed since the source last took them, at most [`MOST_FAILURES`].
    failures: Vec<(PodIdentifier, String)>,
}

/// The pod did not become known in time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the API server has not shown pod {0} to this node's agent yet")]
pub(crate) struct UnknownPod(String);

impl NodePods {
    /// From now on an attachment of a pod waits until its pod is known.
    pub(crate) fn follow(&self) {
        self.lock().is_followed = true;
    }

    /// Adds a pod, or replaces the one with its name. The caller also calls [`crate::workloads::relabel`].
    pub(crate) fn put(&self, pod: NodePod) {
        self.put_unassigned(pod, None);
    }

    /// The same; attachments of the pod wait for its identity up to this time, if there is one.
    pub(crate) fn put_unassigned(&self, pod: NodePod, until: Option<Instant>) {
        let name = (pod.namespace.clone(), pod.name.clone());
        let mut known = self.lock();
        match until {
            Some(until) => drop(known.unassigned.insert(name.clone(), until)),
            None => drop(known.unassigned.remove(&name)),
        }
        known.pods.insert(name, Arc::new(pod));
        drop(known);
        self.0.changed.notify_all();
    }

    /// The identity of a pod is known, or attachments do not wait for it any more.
    pub(crate) fn end_wait(&self, namespace: &str, name: &str) {
        self.lock().unassigned.remove(&(namespace.to_owned(), name.to_owned()));
        self.0.changed.notify_all();
    }

    /// Reports that a pod could not be attached, if a source follows pods.
    pub(crate) fn report_failure(&self, pod: PodIdentifier, why: String) {
        let mut known = self.lock();
        if known.is_followed && known.failures.len() < MOST_FAILURES {
            known.failures.push((pod, why));
        }
    }

    /// Takes the failures that were reported.
    pub(crate) fn take_failures(&self) -> Vec<(PodIdentifier, String)> {
        std::mem::take(&mut self.lock().failures)
    }

    /// Removes a pod.
    pub(crate) fn remove(&self, namespace: &str, name: &str) {
        let name = (namespace.to_owned(), name.to_owned());
        let mut known = self.lock();
        known.unassigned.remove(&name);
        known.pods.remove(&name);
    }

    /// The pod, if it is known now.
    pub(crate) fn known(&self, query: PodQuery<'_>) -> Option<Arc<NodePod>> {
        self.lock().find(query)
    }

    /// The pod; waits this long for it, and for its identity as long as its source allows. None if no source follows pods.
    pub(crate) fn await_pod(
        &self,
        query: PodQuery<'_>,
        wait: Duration,
    ) -> Result<Option<Arc<NodePod>>, UnknownPod> {
        let until = Instant::now() + wait;
        let mut known = self.lock();
        loop {
            let now = Instant::now();
            let rest = match known.find(query) {
                Some(pod) => match known.wait_for_identity(query).filter(|until| *until > now) {
                    Some(until) => until - now,
                    None => return Ok(Some(pod)),
                },
                None if !known.is_followed => return Ok(None),
                None => until
                    .checked_duration_since(now)
                    .ok_or_else(|| UnknownPod(format!("{}/{}", query.namespace, query.name)))?,
            };
            known = self.0.changed.wait_timeout(known, rest).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, KnownPods> {
        // Each change is a single call, so a panic cannot leave it inconsistent.
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl KnownPods {
    fn wait_for_identity(&self, query: PodQuery<'_>) -> Option<Instant> {
        self.unassigned.get(&(query.namespace.to_owned(), query.name.to_owned())).copied()
    }

    fn find(&self, query: PodQuery<'_>) -> Option<Arc<NodePod>> {
        let pod = self.pods.get(&(query.namespace.to_owned(), query.name.to_owned()))?;
        query.uid.is_none_or(|uid| uid == pod.uid).then(|| Arc::clone(pod))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(5);

    fn pod(uid: &str) -> NodePod {
        NodePod { namespace: "shop".into(), name: "web".into(), uid: uid.into(), ..NodePod::default() }
    }

    fn query(uid: Option<&str>) -> PodQuery<'_> {
        PodQuery { namespace: "shop", name: "web", uid }
    }

    #[test]
    fn an_attachment_waits_for_its_pod_only_where_pods_are_followed() {
        let pods = NodePods::default();
        assert_eq!(pods.await_pod(query(None), Duration::from_secs(60)), Ok(None));
        pods.follow();
        assert_eq!(pods.await_pod(query(None), SHORT), Err(UnknownPod("shop/web".into())));
        let other = pods.clone();
        let source = std::thread::spawn(move || other.put(pod("1")));
        let found = pods.await_pod(query(Some("1")), Duration::from_secs(60)).unwrap();
        assert_eq!(found.as_deref(), Some(&pod("1")));
        source.join().unwrap();
        pods.remove("shop", "web");
        assert_eq!(pods.known(query(None)), None);
    }

    #[test]
    fn an_attachment_waits_for_the_identity_of_its_pod_as_long_as_the_source_allows() {
        let pods = NodePods::default();
        pods.put_unassigned(pod("1"), Some(Instant::now() + SHORT));
        let begin = Instant::now();
        assert!(pods.await_pod(query(None), Duration::from_secs(60)).is_ok_and(|pod| pod.is_some()));
        assert!(begin.elapsed() < Duration::from_secs(30));
        pods.put_unassigned(pod("1"), Some(Instant::now() + Duration::from_secs(60)));
        let other = pods.clone();
        let source = std::thread::spawn(move || other.end_wait("shop", "web"));
        assert!(pods.await_pod(query(None), Duration::from_secs(60)).is_ok_and(|pod| pod.is_some()));
        source.join().unwrap();
        assert!(begin.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn an_earlier_pod_with_the_same_name_is_another_pod() {
        let pods = NodePods::default();
        pods.follow();
        pods.put(pod("1"));
        assert!(pods.await_pod(query(Some("2")), SHORT).is_err());
        pods.put(pod("2"));
        assert!(pods.await_pod(query(Some("2")), SHORT).is_ok_and(|pod| pod.is_some()));
    }
}
