//! The loopback plugin, for runtimes that need one and hosts that have none: sets `lo` of the container up.

use cni::{
    AddResult, AssignedAddress, CniFailure, ErrorCode, Invocation, NetworkConfig, Operation, ResultInterface,
};
use serde_json::Value;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;
use workload::{NetworkNamespace, set_up_loopback};

/// Performs an operation, without the agent; returns what it prints.
pub(super) fn perform(invocation: &Invocation, config: &NetworkConfig) -> Result<Option<Value>, CniFailure> {
    if invocation.operation != Operation::Add {
        return Ok(None);
    }
    let path = invocation.network_namespace.clone().unwrap_or_default();
    let failed = |error: String| CniFailure::new(ErrorCode::Io, format!("{path}: {error}"));
    let namespace = NetworkNamespace::at(Path::new(&path)).map_err(|error| failed(error.to_string()))?;
    let namespace = namespace.ok_or_else(|| failed("there is no network namespace".into()))?;
    set_up_loopback(&namespace).map_err(|error| failed(error.to_string()))?;
    if let Some(previous) = &config.previous {
        return Ok(Some(previous.whole.clone()));
    }
    let address = |address, length| AssignedAddress { address, length, gateway: None, interface: 0 };
    let interface = ResultInterface {
        name: "lo".into(),
        mac: "00:00:00:00:00:00".into(),
        mtu: None,
        sandbox: Some(path.clone()),
    };
    let result = AddResult {
        interfaces: vec![interface],
        addresses: vec![address(Ipv4Addr::LOCALHOST.into(), 8), address(Ipv6Addr::LOCALHOST.into(), 128)],
        routes: Vec::new(),
    };
    Ok(Some(result.to_json(config.version)))
}
