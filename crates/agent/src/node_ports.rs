//! Notes on ports of the node: whether the senders of packets are known that kube-proxy gives the node's address, as those to a
//! NodePort, and whether hostPorts lead processes of the node to pods.

use crate::config::AgentConfig;
use crate::host_ports;

/// Notes on ports of the node that do not lead to pods for all clients.
pub(crate) fn notes(config: &AgentConfig) -> impl Iterator<Item = String> {
    note(config).into_iter().chain(host_ports::note(config))
}

/// A note if the kernel hides from the packet path who sent such packets.
fn note(config: &AgentConfig) -> Option<String> {
    config.kubernetes.as_ref()?;
    let error = loader::tracking_offsets().as_ref().err()?;
    Some(format!(
        "{error}: pods with an ingress policy drop what kube-proxy sends them from outside under the node's address \
         (NodePort); services with externalTrafficPolicy Local are not affected"
    ))
}
