//! The pods of CiliumEndpointSlices. A pod with a CiliumEndpoint is known by that, which its node writes and which is never older.

use super::peers::{PeerText, removal};
use control::Change;
use identity::Labels;
use kubernetes::{CiliumEndpointSlice, EndpointNetworking, NamedPortStatus, ResourceName, SliceEndpoint};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

/// The endpoints of all slices.
#[derive(Debug, Default)]
pub(crate) struct PeerSlices {
    /// The endpoints of each pod, by the names of their slices: a pod that moves to another slice is in both for a while.
    pods: BTreeMap<ResourceName, BTreeMap<String, SliceEndpoint>>,
    /// The pods of each slice.
    slices: BTreeMap<String, BTreeSet<ResourceName>>,
    /// The pods with a CiliumEndpoint, and those of slices that had one: a slice is behind its endpoints, and its pod may have ended.
    with_endpoint: BTreeMap<ResourceName, EndpointState>,
    /// The pods whose peers are not as the slices show them yet.
    changed: BTreeSet<ResourceName>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum EndpointState {
    Present,
    Gone,
}

impl PeerSlices {
    /// Takes over that a pod has a CiliumEndpoint, or none any more.
    pub(crate) fn put_endpoint(&mut self, pod: &ResourceName, is_present: bool) {
        if is_present {
            self.with_endpoint.insert(pod.clone(), EndpointState::Present);
        } else if self.pods.contains_key(pod) {
            self.with_endpoint.insert(pod.clone(), EndpointState::Gone);
        } else {
            self.with_endpoint.remove(pod);
        }
    }

    /// Takes over the text of a slice, or that it is gone.
    ///
    /// # Errors
    /// What is wrong with the text. The endpoints of its earlier text stay.
    pub(crate) fn put(&mut self, slice: &str, text: Option<&str>) -> Result<(), String> {
        let CiliumEndpointSlice { namespace, endpoints, .. } = match text {
            Some(text) => serde_json::from_str(text).map_err(|error| error.to_string())?,
            None => CiliumEndpointSlice::default(),
        };
        let name = |endpoint: &SliceEndpoint| ResourceName {
            namespace: Some(namespace.clone()),
            name: endpoint.name.clone(),
        };
        let pods: BTreeSet<ResourceName> = endpoints.iter().map(name).collect();
        let before = self.slices.remove(slice).unwrap_or_default();
        for pod in before.difference(&pods) {
            self.remove(slice, pod);
        }
        for endpoint in endpoints {
            let pod = name(&endpoint);
            let known = self.pods.entry(pod.clone()).or_default();
            if known.get(slice) != Some(&endpoint) {
                known.insert(slice.to_owned(), endpoint);
                self.changed.insert(pod);
            }
        }
        if !pods.is_empty() {
            self.slices.insert(slice.to_owned(), pods);
        }
        Ok(())
    }

    fn remove(&mut self, slice: &str, pod: &ResourceName) {
        self.changed.insert(pod.clone());
        let Some(known) = self.pods.get_mut(pod) else { return };
        known.remove(slice);
        if known.is_empty() {
            self.pods.remove(pod);
            if self.with_endpoint.get(pod) == Some(&EndpointState::Gone) {
                self.with_endpoint.remove(pod);
            }
        }
    }

    /// Takes over that the cluster assigned these identities: pods may have labels now.
    pub(crate) fn put_identities(&mut self, assigned: &BTreeSet<u32>) {
        let is_assigned = |endpoint: &SliceEndpoint| assigned.contains(&endpoint.identity);
        let pods = self.pods.iter().filter(|(_, endpoints)| endpoints.values().any(is_assigned));
        self.changed.extend(pods.map(|(pod, _)| pod.clone()));
    }

    /// The pods that changed since the last call.
    pub(crate) fn take_changed(&mut self) -> BTreeSet<ResourceName> {
        std::mem::take(&mut self.changed)
    }

    /// Puts pods back whose changes could not be applied.
    pub(crate) fn retry(&mut self, pods: BTreeSet<ResourceName>) {
        self.changed.extend(pods);
    }

    /// The change that makes the peer of a pod as the slices show it; none for a pod that is known by its CiliumEndpoint, and for a pod whose
    /// identity has no labels any more.
    ///
    /// # Errors
    /// What is wrong with the endpoint.
    pub(crate) fn change<'a>(
        &self,
        pod: &ResourceName,
        labels_of: impl Fn(u32) -> Option<&'a Arc<Labels>>,
        node_of: impl Fn(IpAddr) -> Option<String>,
        is_here: impl Fn(IpAddr) -> bool,
    ) -> Result<Option<Change>, String> {
        if self.with_endpoint.contains_key(pod) {
            return Ok(None);
        }
        let endpoints = self.pods.get(pod).into_iter().flatten().map(|(_, endpoint)| endpoint);
        for SliceEndpoint { identity, networking, named_ports, .. } in endpoints {
            let Some((labels, networking)) = labels_of(*identity).zip(networking.as_ref()) else { continue };
            let peer = (&**labels, networking, named_ports.as_slice());
            if let Some(peer) = workload(pod, peer, &node_of, &is_here)? {
                return Ok(Some(peer));
            }
        }
        Ok(Some(removal(pod)))
    }
}

fn workload(
    pod: &ResourceName,
    (labels, networking, named_ports): (&Labels, &EndpointNetworking, &[NamedPortStatus]),
    node_of: impl Fn(IpAddr) -> Option<String>,
    is_here: impl Fn(IpAddr) -> bool,
) -> Result<Option<Change>, String> {
    let labels = identity::security_labels(labels);
    let labels: Vec<String> = labels.into_iter().map(|(key, value)| format!("{key}={value}")).collect();
    let peer = PeerText { labels: &labels, networking, named_ports };
    Ok(peer.workload(pod, node_of, is_here)?.map(Change::RemoteWorkload))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: &str = "192.0.2.1";

    fn slice(endpoints: &[(&str, u32, &str)]) -> String {
        let endpoints: Vec<_> = endpoints
            .iter()
            .map(|(name, identity, address)| {
                serde_json::json!({"name": name, "id": identity,
                    "networking": {"addressing": [{"ipv4": address}], "node": "192.0.2.2"}})
            })
            .collect();
        serde_json::json!({"metadata": {"name": "s"}, "namespace": "shop", "endpoints": endpoints})
            .to_string()
    }

    fn pod(name: &str) -> ResourceName {
        ResourceName { namespace: Some("shop".into()), name: name.into() }
    }

    /// The changed pods, each as `name=address`, or `-name` for one that is no peer. Identity 300 has labels.
    fn changes(slices: &mut PeerSlices) -> Vec<String> {
        let labels = Arc::new(Labels::of_workload("shop", [], [("app", "web")]));
        let here: IpAddr = HERE.parse().unwrap();
        let pods = slices.take_changed();
        let change = |pod: &ResourceName| {
            let labels_of = |identity| (identity == 300).then_some(&labels);
            match slices.change(pod, labels_of, |_| Some("n2".into()), |node| node == here).unwrap()? {
                Change::RemoteWorkload(peer) => {
                    assert_eq!(peer.workload.labels["app"], "web");
                    Some(format!("{}={}", pod.name, peer.workload.addresses[0]))
                }
                Change::RemoveRemoteWorkload { name, .. } => Some(format!("-{name}")),
                other => panic!("{other:?}"),
            }
        };
        pods.iter().filter_map(change).collect()
    }

    #[test]
    fn a_pod_of_a_slice_is_a_peer_as_soon_as_its_identity_has_labels() {
        let mut slices = PeerSlices::default();
        slices.put("s", Some(&slice(&[("a", 300, "10.0.0.1"), ("b", 301, "10.0.0.2")]))).unwrap();
        assert_eq!(changes(&mut slices), ["a=10.0.0.1", "-b"]);
        slices.put_identities(&[301, 302].into());
        assert_eq!(slices.take_changed(), [pod("b")].into());
        slices.put("s", Some(&slice(&[("a", 300, "10.0.0.1"), ("b", 300, "10.0.0.2")]))).unwrap();
        assert_eq!(changes(&mut slices), ["b=10.0.0.2"]);
        slices.put("s", None).unwrap();
        assert_eq!(changes(&mut slices), ["-a", "-b"]);
    }

    #[test]
    fn a_pod_that_moves_to_another_slice_stays_a_peer() {
        let mut slices = PeerSlices::default();
        let text = slice(&[("a", 300, "10.0.0.1")]);
        slices.put("s", Some(&text)).unwrap();
        slices.put("t", Some(&text)).unwrap();
        slices.put("s", Some(&slice(&[]))).unwrap();
        assert_eq!(changes(&mut slices), ["a=10.0.0.1"]);
    }

    #[test]
    fn a_pod_with_an_endpoint_is_not_known_by_a_slice_and_does_not_return_with_it() {
        let mut slices = PeerSlices::default();
        slices.put_endpoint(&pod("a"), true);
        slices.put("s", Some(&slice(&[("a", 300, "10.0.0.1")]))).unwrap();
        assert_eq!(changes(&mut slices), [""; 0]);
        slices.put_endpoint(&pod("a"), false);
        slices.put("s", Some(&slice(&[("a", 300, "10.0.0.1"), ("b", 300, "10.0.0.1")]))).unwrap();
        assert_eq!(changes(&mut slices), ["b=10.0.0.1"], "the slice is behind");
        slices.put("s", None).unwrap();
        slices.put("s", Some(&slice(&[("a", 300, "10.0.0.3")]))).unwrap();
        assert_eq!(changes(&mut slices), ["a=10.0.0.3", "-b"], "another pod of this name");
    }

    #[test]
    fn a_slice_that_cannot_be_read_changes_nothing() {
        let mut slices = PeerSlices::default();
        slices.put("s", Some(&slice(&[("a", 300, "10.0.0.1")]))).unwrap();
        slices.take_changed();
        assert!(slices.put("s", Some(r#"{"endpoints": 1}"#)).is_err());
        assert!(slices.take_changed().is_empty());
    }
}
