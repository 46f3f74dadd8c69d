//! Label keys that Kubernetes, Cilium or Nexin itself gives a meaning.

/// Name of the namespace that a workload is in.
pub const NAMESPACE: &str = "io.kubernetes.pod.namespace";
/// Prefix of the labels of that namespace.
pub const NAMESPACE_LABELS: &str = "io.cilium.k8s.namespace.labels.";
/// Name of the cluster that a workload is in.
pub const CLUSTER: &str = "io.cilium.k8s.policy.cluster";
/// The reserved label of the API servers of Kubernetes.
pub const KUBE_APISERVER: &str = "kube-apiserver";
/// Name of the service account that a workload runs as.
pub const SERVICE_ACCOUNT: &str = "io.cilium.k8s.policy.serviceaccount";
/// What clusters and service accounts are called that are given no name.
pub const DEFAULT: &str = "default";
/// The label that Kubernetes puts on every namespace.
pub const METADATA_NAME: &str = "kubernetes.io/metadata.name";
/// The same as a label of the namespace's workloads.
pub(crate) const NAMESPACE_METADATA_NAME: &str = "io.cilium.k8s.namespace.labels.kubernetes.io/metadata.name";
