//! The commands of clients: requests that change something, checked and parsed before they wait for the agent's thread.

use crate::objects::{Named, parse};
use api::{ApiRequest, Cause, Failure, WorkloadSpec};

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
    /// Changes the settings of a workload.
    ConfigureWorkload {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// Whether audit mode is on.
        audit: bool,
    },
    /// Reads the state.
    Read(ApiRequest),
    /// Stops the agent.
    Stop,
}

/// A request to apply or delete objects, all or none.
#[derive(Debug)]
pub(crate) enum ObjectsCommand {
    /// Applies the objects of a text.
    Apply(ParsedManifest),
    /// Deletes the objects with these names.
    Delete(Vec<String>),
}

/// A text with its objects.
#[derive(Debug)]
pub(crate) struct ParsedManifest {
    /// Name of the file that contained it, for messages.
    pub(crate) file: String,
    /// The text.
    pub(crate) text: String,
    /// Its objects.
    pub(crate) objects: Vec<Named>,
    /// Whether the answer lists what was done to each object, and not only the names.
    pub(crate) results: bool,
}

impl Command {
    /// Parses a request. Called on the client's thread: a long text delays no other client.
    pub(crate) fn parse(request: ApiRequest) -> Result<Self, Failure> {
        Ok(match request {
            ApiRequest::Apply { file, text, results } => {
                let invalid = |messages| Failure { cause: Cause::Invalid, messages };
                let objects = parse(&file, &text).map_err(invalid)?;
                Self::Objects(ObjectsCommand::Apply(ParsedManifest { file, text, objects, results }))
            }
            ApiRequest::Delete { names } => Self::Objects(ObjectsCommand::Delete(names)),
            ApiRequest::CreateWorkload(wanted) => Self::CreateWorkload(wanted),
            ApiRequest::RemoveWorkload { namespace, name } => Self::RemoveWorkload { namespace, name },
            ApiRequest::ConfigureWorkload { namespace, name, audit } => {
                Self::ConfigureWorkload { namespace, name, audit }
            }
            ApiRequest::Stop => Self::Stop,
            read => Self::Read(read),
        })
    }

    /// Whether both commands can take effect together: a change of many objects or workloads takes hardly longer than a
    /// change of one.
    pub(crate) fn is_alike(&self, other: &Self) -> bool {
        matches!(
            (self, other),
            (Self::Objects(_), Self::Objects(_))
                | (Self::CreateWorkload(_), Self::CreateWorkload(_))
                | (Self::RemoveWorkload { .. }, Self::RemoveWorkload { .. })
        )
    }
}

impl ObjectsCommand {
    /// The names of the objects that it applies or deletes.
    pub(crate) fn names(&self) -> Vec<String> {
        match self {
            Self::Apply(manifest) => manifest.objects.iter().map(|(name, _)| name.to_string()).collect(),
            Self::Delete(names) => names.clone(),
        }
    }
}
