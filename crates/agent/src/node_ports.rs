//! Packets from outside that kube-proxy gives the node's address, as those to a NodePort: whether their senders are known.

use crate::config::AgentConfig;

/// A note if the kernel hides from the packet path who sent such packets.
pub(crate) fn note(config: &AgentConfig) -> Option<String> {
    config.kubernetes.as_ref()?;
    let error = loader::tracking_offsets().as_ref().err()?;
    Some(format!(
        "{error}: pods with an ingress policy drop what kube-proxy sends them from outside under the node's address \
         (NodePort); services with externalTrafficPolicy Local are not affected"
    ))
}
