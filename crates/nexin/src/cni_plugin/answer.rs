//! The result of ADD.

use api::{AttachmentAddress, AttachmentSummary};
use cni::{AddResult, AssignedAddress, Invocation, NetworkConfig, ResultInterface, ResultRoute};
use serde_json::Value;

/// The result as the plugin prints it. Behind another plugin it is that plugin's result.
pub(super) fn added(summary: &AttachmentSummary, invocation: &Invocation, config: &NetworkConfig) -> Value {
    if let Some(previous) = &config.previous {
        let mut whole = previous.whole.clone();
        whole["cniVersion"] = config.version.text().into();
        return whole;
    }
    let interface = |name: &str, mac: &str, sandbox: Option<String>| ResultInterface {
        name: name.to_owned(),
        mac: mac.to_owned(),
        mtu: Some(summary.mtu),
        sandbox,
    };
    let inside = invocation.network_namespace.clone();
    let result = AddResult {
        interfaces: vec![
            interface(&summary.host_interface, &summary.host_mac, None),
            interface(&invocation.interface, &summary.mac, inside),
        ],
        addresses: summary.addresses.iter().map(assigned).collect(),
        routes: summary.addresses.iter().map(route).collect(),
    };
    result.to_json(config.version)
}

/// An address of the interface in the container, the second of the result.
fn assigned(one: &AttachmentAddress) -> AssignedAddress {
    let length = if one.address.is_ipv4() { 32 } else { 128 };
    AssignedAddress { address: one.address, length, gateway: Some(one.gateway), interface: 1 }
}

fn route(one: &AttachmentAddress) -> ResultRoute {
    let destination = if one.address.is_ipv4() { "0.0.0.0/0" } else { "::/0" };
    ResultRoute { destination: destination.into(), gateway: one.gateway }
}
