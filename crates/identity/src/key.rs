//! Label keys with a meaning in Kubernetes, Cilium or Nexin.

/// The name of the workload's namespace.
pub const NAMESPACE: &str = "io.kubernetes.pod.namespace";
/// The prefix of the labels of the workload's namespace.
pub const NAMESPACE_LABELS: &str = "io.cilium.k8s.namespace.labels.";
/// The name of the workload's cluster.
pub const CLUSTER: &str = "io.cilium.k8s.policy.cluster";
/// The reserved label of the API servers of Kubernetes.
pub const KUBE_APISERVER: &str = "kube-apiserver";
/// The name of the workload's service account.
pub const SERVICE_ACCOUNT: &str = "io.cilium.k8s.policy.serviceaccount";
/// The name of clusters and service accounts without another name.
pub const DEFAULT: &str = "default";
/// The label that Kubernetes puts on every namespace.
pub const METADATA_NAME: &str = "kubernetes.io/metadata.name";
/// That label among the labels of a workload.
pub(crate) const NAMESPACE_METADATA_NAME: &str = "io.cilium.k8s.namespace.labels.kubernetes.io/metadata.name";
