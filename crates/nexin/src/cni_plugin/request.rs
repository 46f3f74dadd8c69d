//! The operations, as requests to the agent.

use super::answer;
use agent::DeletionQueue;
use api::{
    ApiRequest, AttachmentName, AttachmentReadiness, AttachmentSpec, AttachmentSummary, CallError, Client,
};
use api::{AttachmentPort, Cause, Failure, PodIdentifier};
use cni::{CniFailure, ErrorCode, Invocation, NetworkConfig, Operation, PortMapping};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long the agent may take for each answer: less than a runtime waits, so that the pod's events show this error.
const LIMIT: Duration = Duration::from_secs(20);

/// How long a deletion waits for the agent before it is queued.
const DELETION_LIMIT: Duration = Duration::from_secs(10);

/// Performs an operation; returns what it prints.
pub(super) fn perform(invocation: &Invocation, config: &NetworkConfig) -> Result<Option<Value>, CniFailure> {
    match invocation.operation {
        Operation::Add => add(invocation, config).map(Some),
        Operation::Delete => delete(invocation, config).map(|()| None),
        Operation::Check => check(invocation, config).map(|()| None),
        Operation::CollectGarbage => collect(config).map(|()| None),
        Operation::Status => status(config).map(|()| None),
        Operation::Version => Ok(Some(cni::versions())),
    }
}

fn add(invocation: &Invocation, config: &NetworkConfig) -> Result<Value, CniFailure> {
    refuse_unsupported(config)?;
    let namespace = invocation.network_namespace.clone().unwrap_or_default();
    let arguments = &invocation.arguments;
    let addresses = match &config.previous {
        Some(previous) => previous.addresses(&invocation.interface)?,
        None => config.addresses.clone(),
    };
    let mut labels = config.labels.clone();
    labels.extend(arguments.labels.clone());
    let spec = AttachmentSpec {
        name: name(invocation),
        network: config.name.clone(),
        network_namespace: PathBuf::from(&namespace),
        pod: arguments.pod.as_ref().map(|pod| PodIdentifier {
            namespace: pod.namespace.clone(),
            name: pod.name.clone(),
            uid: pod.uid.clone(),
        }),
        labels,
        named_ports: Default::default(),
        addresses,
        chained: config.previous.is_some(),
        host_ports: host_ports(config)?,
    };
    let summary: AttachmentSummary = ask(config, ApiRequest::Attach(Box::new(spec)), LIMIT)?;
    Ok(answer::added(&summary, invocation, config))
}

/// A deletion succeeds also without an agent, which carries it out when it starts: a runtime that cannot delete a sandbox keeps
/// its pod for ever.
fn delete(invocation: &Invocation, config: &NetworkConfig) -> Result<(), CniFailure> {
    let name = name(invocation);
    let request = ApiRequest::Detach { name: name.clone() };
    match ask::<Value>(config, request, DELETION_LIMIT) {
        Ok(_) => Ok(()),
        Err(failure) => DeletionQueue::beside(&socket(config)).put(&name).map_err(|error| {
            let message = format!("{failure}; and the deletion cannot be queued for the agent: {error}");
            CniFailure::new(ErrorCode::Io, message)
        }),
    }
}

fn check(invocation: &Invocation, config: &NetworkConfig) -> Result<(), CniFailure> {
    let addresses = match &config.previous {
        Some(previous) => previous.addresses(&invocation.interface)?,
        None => Vec::new(),
    };
    let request = ApiRequest::CheckAttachment { name: name(invocation), addresses };
    let differences: Vec<String> = ask(config, request, LIMIT)?;
    if differences.is_empty() {
        return Ok(());
    }
    let message = format!("the network of container {} is not as it was made", invocation.container);
    Err(CniFailure::new(ErrorCode::Different, message).with_details(differences.join("; ")))
}

fn collect(config: &NetworkConfig) -> Result<(), CniFailure> {
    let Some(valid) = &config.valid_attachments else {
        let message = "cni.dev/valid-attachments is missing; nothing is removed without it";
        return Err(CniFailure::new(ErrorCode::InvalidConfig, message));
    };
    let valid = valid
        .iter()
        .map(|one| AttachmentName { container: one.container.clone(), interface: one.interface.clone() });
    let request = ApiRequest::CollectAttachments { network: config.name.clone(), valid: valid.collect() };
    ask::<Value>(config, request, LIMIT).map(drop)
}

fn status(config: &NetworkConfig) -> Result<(), CniFailure> {
    let unavailable = |why: String| CniFailure::new(ErrorCode::Unavailable, why);
    let readiness: AttachmentReadiness =
        ask(config, ApiRequest::Readiness, LIMIT).map_err(|failure| unavailable(failure.message))?;
    if readiness.reasons.is_empty() { Ok(()) } else { Err(unavailable(readiness.reasons.join("; "))) }
}

/// Refuses by name what would otherwise be ignored.
fn refuse_unsupported(config: &NetworkConfig) -> Result<(), CniFailure> {
    let unsupported = |message: String| Err(CniFailure::new(ErrorCode::UnsupportedField, message));
    if config.runtime.bandwidth.is_some() {
        return unsupported(
            "runtimeConfig.bandwidth is not supported; remove the annotations kubernetes.io/ingress-bandwidth and \
             kubernetes.io/egress-bandwidth from the pod"
                .into(),
        );
    }
    Ok(())
}

/// The ports of the node that lead to the container. A mapping without a port of the node opens none.
fn host_ports(config: &NetworkConfig) -> Result<Vec<AttachmentPort>, CniFailure> {
    let mappings = config.runtime.port_mappings.iter().filter(|mapping| mapping.host_port != 0);
    let parse = |mapping: &PortMapping| {
        let invalid = || {
            let message =
                format!("runtimeConfig.portMappings: hostIP {:?} should be an address", mapping.host_ip);
            CniFailure::new(ErrorCode::InvalidConfig, message)
        };
        let address = match &*mapping.host_ip {
            "" => None,
            text => Some(text.parse().map_err(|_| invalid())?),
        };
        let protocol = if mapping.protocol.is_empty() { "TCP" } else { &mapping.protocol };
        Ok(AttachmentPort {
            address,
            port: mapping.host_port,
            protocol: protocol.to_ascii_uppercase(),
            container_port: mapping.container_port,
        })
    };
    mappings.map(parse).collect()
}

fn name(invocation: &Invocation) -> AttachmentName {
    AttachmentName { container: invocation.container.clone(), interface: invocation.interface.clone() }
}

fn socket(config: &NetworkConfig) -> PathBuf {
    config.socket.as_deref().map_or_else(|| Path::new(api::DEFAULT_SOCKET).to_owned(), PathBuf::from)
}

fn ask<T: DeserializeOwned>(
    config: &NetworkConfig,
    request: ApiRequest,
    limit: Duration,
) -> Result<T, CniFailure> {
    let client = Client::connect(&socket(config)).and_then(|client| client.with_limit(limit));
    client.and_then(|mut client| client.call(request)).map_err(failure)
}

/// The error for the runtime. While no agent answers, a later attempt may succeed.
fn failure(error: CallError) -> CniFailure {
    let code = match &error {
        // An answer that ends early, or is another release's, comes from an agent that stops or was replaced.
        CallError::Unreachable { .. } | CallError::Silent { .. } | CallError::Garbled { .. } => {
            let message = "the agent of this node does not answer; its pod or service must run (nexin agent)";
            return CniFailure::new(ErrorCode::TryAgainLater, message).with_details(error.to_string());
        }
        CallError::Refused(Failure { cause, .. }) => match cause {
            Cause::Unavailable | Cause::Conflict => ErrorCode::TryAgainLater,
            Cause::NotFound => ErrorCode::UnknownContainer,
            Cause::Invalid => ErrorCode::InvalidConfig,
            Cause::Internal => ErrorCode::AgentFailed,
        },
    };
    CniFailure::new(code, error.to_string())
}
