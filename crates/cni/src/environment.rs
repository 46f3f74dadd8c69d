//! The environment variables of a plugin.

use crate::arguments::RuntimeArguments;
use crate::failure::{CniFailure, ErrorCode};
use crate::version::SpecVersion;
use std::fmt;

/// Longest name of an interface in Linux.
const MAX_INTERFACE: usize = 15;

/// What the runtime wants of the plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Attach a container to the network.
    Add,
    /// Undo ADD.
    Delete,
    /// Compare the container's network with the result of ADD.
    Check,
    /// Remove what belongs to attachments that do not exist any more.
    CollectGarbage,
    /// Report whether ADD would succeed.
    Status,
    /// List the supported versions.
    Version,
}

/// The parsed environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invocation {
    /// What the runtime wants.
    pub operation: Operation,
    /// The container; empty where the operation concerns none.
    pub container: String,
    /// Path of the container's network namespace; none where the container has none any more.
    pub network_namespace: Option<String>,
    /// The interface in the container; empty where the operation concerns none.
    pub interface: String,
    /// The runtime's arguments.
    pub arguments: RuntimeArguments,
}

impl Operation {
    fn parse(text: &str) -> Result<Self, CniFailure> {
        Ok(match text {
            "ADD" => Self::Add,
            "DEL" => Self::Delete,
            "CHECK" => Self::Check,
            "GC" => Self::CollectGarbage,
            "STATUS" => Self::Status,
            "VERSION" => Self::Version,
            _ => {
                let known = "ADD, DEL, CHECK, GC, STATUS or VERSION";
                return Err(invalid(format!("CNI_COMMAND is {text:?}; it should be {known}")));
            }
        })
    }

    /// The first version of the specification that has the operation.
    pub(crate) fn since(self) -> SpecVersion {
        match self {
            Self::Add | Self::Delete | Self::Version => SpecVersion::V0_3_1,
            Self::Check => SpecVersion::V0_4_0,
            Self::CollectGarbage | Self::Status => SpecVersion::V1_1_0,
        }
    }

    /// Whether the operation concerns a container.
    fn has_container(self) -> bool {
        matches!(self, Self::Add | Self::Delete | Self::Check)
    }

    /// Whether the container must have a network namespace.
    fn needs_namespace(self) -> bool {
        matches!(self, Self::Add | Self::Check)
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Add => "ADD",
            Self::Delete => "DEL",
            Self::Check => "CHECK",
            Self::CollectGarbage => "GC",
            Self::Status => "STATUS",
            Self::Version => "VERSION",
        })
    }
}

impl Invocation {
    /// Parses the variables; an empty variable counts as a missing one.
    pub fn parse(variable: impl Fn(&str) -> Option<String>) -> Result<Self, CniFailure> {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let needed = |name: &str| {
            set(name).ok_or_else(|| invalid(format!("the environment variable {name} is missing")))
        };
        let operation = Operation::parse(&needed("CNI_COMMAND")?)?;
        let (mut container, mut interface) = (String::new(), String::new());
        if operation.has_container() {
            container = needed("CNI_CONTAINERID")?;
            check_container(&container)?;
            interface = needed("CNI_IFNAME")?;
            check_interface(&interface)?;
        }
        let network_namespace = set("CNI_NETNS");
        if operation.needs_namespace() && network_namespace.is_none() {
            return Err(invalid("the environment variable CNI_NETNS is missing".into()));
        }
        let arguments = match operation {
            // What a runtime writes there must not keep it from cleaning up.
            Operation::Add | Operation::Check => {
                RuntimeArguments::parse(&set("CNI_ARGS").unwrap_or_default())?
            }
            _ => RuntimeArguments::default(),
        };
        Ok(Self { operation, container, network_namespace, interface, arguments })
    }
}

/// A container's identifier begins with a letter or digit; letters, digits, `_`, `.` and `-` follow.
fn check_container(text: &str) -> Result<(), CniFailure> {
    if is_identifier(text) {
        return Ok(());
    }
    Err(invalid(format!(
        "CNI_CONTAINERID is {text:?}; it should begin with a letter or digit, and have letters, digits, '_', '.' and '-'"
    )))
}

fn check_interface(text: &str) -> Result<(), CniFailure> {
    let is_valid = text.len() <= MAX_INTERFACE
        && text != "."
        && text != ".."
        && !text.chars().any(|one| one == '/' || one == ':' || one.is_whitespace() || one == '\0');
    if is_valid {
        return Ok(());
    }
    Err(invalid(format!(
        "CNI_IFNAME is {text:?}; the name of an interface has at most {MAX_INTERFACE} bytes, without '/', ':' and spaces"
    )))
}

/// Whether a text is an identifier, as names of containers and networks are.
pub(crate) fn is_identifier(text: &str) -> bool {
    text.starts_with(|one: char| one.is_ascii_alphanumeric())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
}

fn invalid(message: String) -> CniFailure {
    CniFailure::new(ErrorCode::InvalidEnvironment, message)
}
