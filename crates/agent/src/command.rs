//! The requests of clients, parsed on their threads: queries, and commands, which wait for the agent's thread.

use crate::objects::{ParsedText, parse_described};
use crate::step_times::StepTimes;
use api::{
    ApiRequest, AttachmentName, AttachmentSpec, Cause, ExplainProbe, Failure, PodIdentifier, WorkloadSpec,
};
use std::net::IpAddr;

/// A request of a client, except for flows.
#[derive(Debug)]
pub(crate) enum Request {
    /// Reads what is in force.
    Query(Query),
    /// Changes something.
    Command(Command),
}

/// A request that changes nothing; the fields and answers are those of [`ApiRequest`].
#[derive(Debug)]
pub(crate) enum Query {
    /// The state of the agent.
    Status,
    /// The workloads.
    Endpoints,
    /// The identities.
    Identities,
    /// The services.
    Services,
    /// The policies.
    Policies,
    /// The rules.
    Rules,
    /// The verdict on a connection.
    Explain(Box<ExplainProbe>),
    /// Whether attachments can be made.
    Readiness,
}

/// A request that the agent's thread carries out.
#[derive(Debug)]
pub(crate) enum Command {
    /// Applies or deletes objects.
    Objects(ObjectsCommand),
    /// Creates a workload.
    CreateWorkload(WorkloadSpec),
    /// Removes a workload.
    RemoveWorkload {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// Makes, removes or compares attachments.
    Attachment(AttachmentCommand),
    /// Changes the settings of a workload.
    ConfigureWorkload {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// Whether audit mode is on.
        audit: bool,
    },
    /// Changes settings of the agent until it ends.
    ChangeSettings {
        /// The level of monitor aggregation; none to leave it as it is.
        monitor_aggregation: Option<String>,
    },
    /// Stops the agent.
    Stop,
}

/// A request about attachments; the fields and answers are those of [`ApiRequest`].
#[derive(Debug)]
pub(crate) enum AttachmentCommand {
    /// Attaches a container.
    Attach {
        /// What to attach, and how.
        spec: Box<AttachmentSpec>,
        /// The steps since the request.
        times: StepTimes,
    },
    /// Removes an attachment.
    Detach(AttachmentName),
    /// Compares an attachment with the container's network.
    Check {
        /// Its name.
        name: AttachmentName,
        /// The addresses that the caller expects.
        addresses: Vec<IpAddr>,
    },
    /// Removes the attachments of a network that do not exist any more.
    Collect {
        /// Name of the network configuration.
        network: String,
        /// The attachments that still exist.
        valid: Vec<AttachmentName>,
    },
}

/// A request to apply or delete objects, all or none.
#[derive(Debug)]
pub(crate) enum ObjectsCommand {
    /// Applies the objects of a text.
    Apply(ParsedManifest),
    /// Deletes the objects with these names.
    Delete(Vec<String>),
}

/// A text to apply.
#[derive(Debug)]
pub(crate) struct ParsedManifest {
    /// Its objects.
    pub(crate) text: ParsedText,
    /// Whether the answer lists what was done to each object and the warnings, and not only the names.
    pub(crate) results: bool,
}

impl Request {
    /// Parses a request. Called on the client's thread: a long text delays no other client.
    pub(crate) fn parse(request: ApiRequest) -> Result<Self, Failure> {
        Ok(Self::Command(match request {
            ApiRequest::Status => return Ok(Self::Query(Query::Status)),
            ApiRequest::Endpoints => return Ok(Self::Query(Query::Endpoints)),
            ApiRequest::Identities => return Ok(Self::Query(Query::Identities)),
            ApiRequest::Services => return Ok(Self::Query(Query::Services)),
            ApiRequest::Policies => return Ok(Self::Query(Query::Policies)),
            ApiRequest::Rules => return Ok(Self::Query(Query::Rules)),
            ApiRequest::Explain(probe) => return Ok(Self::Query(Query::Explain(probe))),
            ApiRequest::Apply { file, text, results } => {
                let invalid = |messages| Failure { cause: Cause::Invalid, messages };
                let text = parse_described(&file, &text).map_err(invalid)?;
                Command::Objects(ObjectsCommand::Apply(ParsedManifest { text, results }))
            }
            ApiRequest::Delete { names } => Command::Objects(ObjectsCommand::Delete(names)),
            ApiRequest::CreateWorkload(wanted) => Command::CreateWorkload(wanted),
            ApiRequest::RemoveWorkload { namespace, name } => Command::RemoveWorkload { namespace, name },
            ApiRequest::Attach(spec) => {
                Command::Attachment(AttachmentCommand::Attach { spec, times: StepTimes::begin() })
            }
            ApiRequest::Detach { name } => Command::Attachment(AttachmentCommand::Detach(name)),
            ApiRequest::CheckAttachment { name, addresses } => {
                Command::Attachment(AttachmentCommand::Check { name, addresses })
            }
            ApiRequest::CollectAttachments { network, valid } => {
                Command::Attachment(AttachmentCommand::Collect { network, valid })
            }
            ApiRequest::Readiness => return Ok(Self::Query(Query::Readiness)),
            ApiRequest::ConfigureWorkload { namespace, name, audit } => {
                Command::ConfigureWorkload { namespace, name, audit }
            }
            ApiRequest::ChangeSettings { monitor_aggregation } => {
                Command::ChangeSettings { monitor_aggregation }
            }
            ApiRequest::Stop => Command::Stop,
            ApiRequest::Observe { .. } => {
                return Err(Failure::new(Cause::Internal, "flows are answered by a stream"));
            }
        }))
    }
}

impl Command {
    /// The pod that the command attaches.
    pub(crate) fn attached_pod(&self) -> Option<&PodIdentifier> {
        match self {
            Self::Attachment(AttachmentCommand::Attach { spec, .. }) => spec.pod.as_ref(),
            _ => None,
        }
    }

    /// Whether both commands can take effect together: a change of many objects or workloads takes hardly longer than a
    /// change of one.
    pub(crate) fn is_alike(&self, other: &Self) -> bool {
        matches!(
            (self, other),
            (Self::Objects(_), Self::Objects(_))
                | (Self::CreateWorkload(_), Self::CreateWorkload(_))
                | (Self::RemoveWorkload { .. }, Self::RemoveWorkload { .. })
                | (Self::Attachment(_), Self::Attachment(_))
        )
    }
}

impl ObjectsCommand {
    /// The names of the objects that it applies or deletes.
    pub(crate) fn names(&self) -> Vec<String> {
        match self {
            Self::Apply(manifest) => {
                manifest.text.objects.iter().map(|one| one.named.0.to_string()).collect()
            }
            Self::Delete(names) => names.clone(),
        }
    }
}
