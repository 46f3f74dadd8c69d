//! The configuration that a runtime writes to the plugin's standard input.

use crate::environment::{Operation, is_identifier};
use crate::failure::{CniFailure, ErrorCode};
use crate::previous::{PreviousResult, parse_address};
use crate::version::SpecVersion;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// A network configuration for this plugin.
#[derive(Clone, Debug, PartialEq)]
pub struct NetworkConfig {
    /// The version of the specification.
    pub version: SpecVersion,
    /// Name of the network.
    pub name: String,
    /// The plugin that the runtime means to run.
    pub plugin: String,
    /// The agent's socket; none for the default one.
    pub socket: Option<String>,
    /// What the runtime adds for one container.
    pub runtime: RuntimeConfig,
    /// Labels of the container (`args.cni.labels`).
    pub labels: BTreeMap<String, String>,
    /// The addresses that the container wants (`runtimeConfig.ips`, `args.cni.ips`).
    pub addresses: Vec<IpAddr>,
    /// The result of the plugin before, or of the ADD that CHECK and DEL refer to.
    pub previous: Option<PreviousResult>,
    /// GC: the attachments that still exist.
    pub valid_attachments: Option<Vec<ValidAttachment>>,
}

/// What the runtime adds for one container, by the capabilities of the configuration.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RuntimeConfig {
    /// Ports of the node that lead to the container.
    pub port_mappings: Vec<PortMapping>,
    /// Limits of the container's traffic; none where there is no limit.
    pub bandwidth: Option<Value>,
    /// The annotations of the pod.
    pub annotations: BTreeMap<String, String>,
}

/// A port of the node that leads to the container. containerd begins the names of the fields with capital letters.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PortMapping {
    /// The port of the node.
    #[serde(alias = "HostPort")]
    pub host_port: u16,
    /// The port of the container.
    #[serde(alias = "ContainerPort")]
    pub container_port: u16,
    /// `tcp`, `udp` or `sctp`.
    #[serde(default, alias = "Protocol")]
    pub protocol: String,
    /// The address of the node; empty for all.
    #[serde(default, rename = "hostIP", alias = "HostIP")]
    pub host_ip: String,
}

/// A container and its interface.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ValidAttachment {
    /// The container.
    #[serde(rename = "containerID")]
    pub container: String,
    /// The interface.
    #[serde(rename = "ifname")]
    pub interface: String,
}

#[derive(Debug, Deserialize)]
struct Written {
    #[serde(rename = "cniVersion", default)]
    version: String,
    #[serde(default)]
    name: String,
    #[serde(rename = "type", default)]
    plugin: String,
    socket: Option<String>,
    #[serde(rename = "runtimeConfig", default)]
    runtime: Option<WrittenRuntime>,
    #[serde(default)]
    args: Option<WrittenArgs>,
    #[serde(rename = "prevResult")]
    previous: Option<Value>,
    #[serde(rename = "cni.dev/valid-attachments")]
    valid_attachments: Option<Vec<ValidAttachment>>,
    /// The name that libcni gave the field first; it still writes both.
    #[serde(rename = "cni.dev/attachments")]
    attachments: Option<Vec<ValidAttachment>>,
    /// Capabilities that a runtime did not replace by `runtimeConfig`, such as a runtime that runs the plugin directly.
    #[serde(rename = "capabilities")]
    _capabilities: Option<Value>,
    #[serde(flatten)]
    unknown: BTreeMap<String, Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct WrittenRuntime {
    #[serde(rename = "portMappings")]
    port_mappings: Option<Vec<PortMapping>>,
    bandwidth: Option<Value>,
    ips: Option<Vec<String>>,
    #[serde(rename = "io.kubernetes.cri.pod-annotations")]
    annotations: Option<BTreeMap<String, String>>,
    #[serde(flatten)]
    unknown: BTreeMap<String, Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct WrittenArgs {
    cni: Option<WrittenCniArgs>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct WrittenCniArgs {
    labels: Vec<WrittenLabel>,
    ips: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct WrittenLabel {
    key: String,
    value: String,
}

impl NetworkConfig {
    /// Parses a configuration for an operation. What an undo does not need is not checked for one.
    pub fn parse(text: &[u8], operation: Operation) -> Result<Self, CniFailure> {
        let undecodable = |error: serde_json::Error| {
            CniFailure::new(ErrorCode::Undecodable, format!("the network configuration: {error}"))
        };
        let value: Value = serde_json::from_slice(text).map_err(undecodable)?;
        if !value.is_object() {
            let message = "the network configuration should be a JSON object";
            return Err(CniFailure::new(ErrorCode::Undecodable, message));
        }
        let written = Written::deserialize(value).map_err(undecodable)?;
        let version = supported(&written.version, operation)?;
        if !is_identifier(&written.name) {
            return Err(CniFailure::new(
                ErrorCode::InvalidConfig,
                format!(
                    "name: {:?} should begin with a letter or digit; letters, digits, '_', '.' and '-' may follow",
                    written.name
                ),
            ));
        }
        let is_checked = matches!(operation, Operation::Add | Operation::Check);
        if is_checked && let Some((field, value)) = written.unknown.iter().next() {
            return Err(unsupported(field, value));
        }
        let runtime = written.runtime.unwrap_or_default();
        if is_checked && let Some((field, value)) = runtime.unknown.iter().next() {
            return Err(unsupported(&format!("runtimeConfig.{field}"), value));
        }
        let arguments = written.args.and_then(|args| args.cni).unwrap_or_default();
        let mut addresses = Vec::new();
        let wanted =
            [("runtimeConfig.ips", runtime.ips.unwrap_or_default()), ("args.cni.ips", arguments.ips)];
        for (field, texts) in wanted.iter().filter(|_| is_checked) {
            for text in texts {
                addresses.push(parse_address(field, text)?);
            }
        }
        Ok(Self {
            version,
            name: written.name,
            plugin: written.plugin,
            socket: written.socket.filter(|socket| !socket.is_empty()),
            runtime: RuntimeConfig {
                port_mappings: runtime.port_mappings.unwrap_or_default(),
                bandwidth: runtime.bandwidth.filter(limits),
                annotations: runtime.annotations.unwrap_or_default(),
            },
            labels: arguments.labels.into_iter().map(|label| (label.key, label.value)).collect(),
            addresses,
            previous: match written.previous {
                Some(previous) if is_checked && !previous.is_null() => Some(PreviousResult::parse(previous)?),
                _ => None,
            },
            valid_attachments: written.valid_attachments.or(written.attachments),
        })
    }
}

/// Parses `cniVersion`, and refuses an operation that the version does not have.
fn supported(text: &str, operation: Operation) -> Result<SpecVersion, CniFailure> {
    let incompatible = |message: String| CniFailure::new(ErrorCode::IncompatibleVersion, message);
    let version = SpecVersion::parse(text).ok_or_else(|| {
        let known = SpecVersion::names().join(", ");
        incompatible(format!("cniVersion {text:?} is not supported; use one of {known}"))
    })?;
    let since = operation.since();
    if version < since {
        return Err(incompatible(format!(
            "cniVersion {version} has no {operation}; it exists since {since}"
        )));
    }
    Ok(version)
}

/// Whether a bandwidth entry limits anything: runtimes write zeros for pods without annotations.
fn limits(bandwidth: &Value) -> bool {
    let entries = bandwidth.as_object().into_iter().flat_map(|entries| entries.values());
    entries.into_iter().any(|value| value.as_f64().is_some_and(|value| value != 0.0))
}

fn unsupported(field: &str, value: &Value) -> CniFailure {
    let message =
        format!("the field {field} of the network configuration is not supported (value {value}); remove it");
    CniFailure::new(ErrorCode::UnsupportedField, message)
}
