//! Completes an attachment by its pod: labels, named ports, and annotations that are refused by name.

use crate::node_pods::{NodePods, PodQuery};
use api::{AttachmentSpec, Cause, Failure};
use std::time::Duration;

/// How long an attachment waits for its pod. A runtime waits longer, and tries again after the failure.
const WAIT: Duration = Duration::from_secs(10);

/// Annotations that limit a pod's traffic.
const BANDWIDTH: [&str; 2] = ["kubernetes.io/ingress-bandwidth", "kubernetes.io/egress-bandwidth"];

/// Takes over what the API server shows of the attachment's pod. Called on the client's thread, which may wait.
pub(crate) fn complete(spec: &mut AttachmentSpec, pods: &NodePods) -> Result<(), Failure> {
    let Some(pod) = &mut spec.pod else { return Ok(()) };
    let query = PodQuery { namespace: &pod.namespace, name: &pod.name, uid: pod.uid.as_deref() };
    let found = pods.await_pod(query, WAIT);
    let found = found.map_err(|error| Failure::new(Cause::Unavailable, error.to_string()))?;
    let Some(found) = found else { return Ok(()) };
    if let Some(annotation) = BANDWIDTH.into_iter().find(|name| found.annotations.contains_key(*name)) {
        let message = format!("annotation {annotation} is not supported; remove it from the pod");
        return Err(Failure::new(Cause::Invalid, message));
    }
    pod.uid = Some(found.uid.clone());
    spec.labels.clone_from(&found.labels);
    spec.named_ports.clone_from(&found.named_ports);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node_pods::NodePod;
    use api::{AttachmentName, PodIdentifier};

    fn spec() -> AttachmentSpec {
        AttachmentSpec {
            name: AttachmentName { container: "c".into(), interface: "eth0".into() },
            network: "nexin".into(),
            network_namespace: "/run/netns/c".into(),
            pod: Some(PodIdentifier { namespace: "shop".into(), name: "web".into(), uid: None }),
            labels: [("app".to_owned(), "given".to_owned())].into(),
            named_ports: Default::default(),
            addresses: Vec::new(),
            chained: false,
            host_ports: Vec::new(),
        }
    }

    fn pod() -> NodePod {
        let labels = [("app".to_owned(), "web".to_owned())].into();
        NodePod {
            namespace: "shop".into(),
            name: "web".into(),
            uid: "1".into(),
            labels,
            ..NodePod::default()
        }
    }

    #[test]
    fn an_attachment_takes_the_labels_of_its_pod_where_pods_are_known() {
        let (pods, mut spec) = (NodePods::default(), spec());
        complete(&mut spec, &pods).unwrap();
        assert_eq!(spec.labels["app"], "given");
        pods.follow();
        pods.put(pod());
        complete(&mut spec, &pods).unwrap();
        assert_eq!((&*spec.labels["app"], spec.pod.unwrap().uid.as_deref()), ("web", Some("1")));
    }

    #[test]
    fn a_pod_whose_traffic_is_limited_is_refused_by_the_name_of_its_annotation() {
        let pods = NodePods::default();
        let annotations = [("kubernetes.io/egress-bandwidth".to_owned(), "1M".to_owned())].into();
        pods.put(NodePod { annotations, ..pod() });
        let failure = complete(&mut spec(), &pods).unwrap_err();
        assert_eq!(failure.cause, Cause::Invalid);
        assert!(failure.messages[0].contains("kubernetes.io/egress-bandwidth"), "{failure:?}");
    }
}
