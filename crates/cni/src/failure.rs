//! Errors, as a plugin reports them to the runtime.

use crate::version::SpecVersion;
use serde_json::{Value, json};
use std::fmt;

/// An error of a plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CniFailure {
    /// Its code.
    pub code: ErrorCode,
    /// What is wrong, and what to do about it.
    pub message: String,
    /// More about it; may be empty.
    pub details: String,
}

/// The codes of errors. Codes from 100 on are the plugin's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorCode {
    /// The version of the configuration is not supported.
    IncompatibleVersion = 1,
    /// A field of the configuration is not supported; the message names it.
    UnsupportedField = 2,
    /// The container does not exist; the runtime need not clean up.
    UnknownContainer = 3,
    /// An environment variable is missing or invalid.
    InvalidEnvironment = 4,
    /// Reading or writing failed.
    Io = 5,
    /// The configuration cannot be decoded.
    Undecodable = 6,
    /// The configuration is invalid.
    InvalidConfig = 7,
    /// The runtime should try again later.
    TryAgainLater = 11,
    /// STATUS: the plugin cannot carry out ADD.
    Unavailable = 50,
    /// STATUS: the plugin cannot carry out ADD, and existing containers may lack connectivity.
    UnavailableAndLimited = 51,
    /// The agent failed to carry the request out.
    AgentFailed = 100,
    /// CHECK: the container's network is not as ADD left it.
    Different = 101,
}

impl CniFailure {
    /// An error without details.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), details: String::new() }
    }

    /// The same error with details.
    #[must_use]
    pub fn with_details(self, details: impl Into<String>) -> Self {
        Self { details: details.into(), ..self }
    }

    /// The error as the plugin prints it.
    pub fn to_json(&self, version: SpecVersion) -> Value {
        let mut json = json!({ "cniVersion": version.text(), "code": self.code as u32, "msg": self.message });
        if !self.details.is_empty() {
            json["details"] = self.details.as_str().into();
        }
        json
    }
}

impl fmt::Display for CniFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for CniFailure {}
