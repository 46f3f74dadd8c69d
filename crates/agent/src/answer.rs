//! The answers to requests of the API.

use api::{Cause, Failure};
use serde::Serialize;
use serde_json::Value;

/// The answer to a request.
pub(crate) type Answer = Result<Value, Failure>;

/// A view as an answer.
pub(crate) fn value(view: &impl Serialize) -> Answer {
    serde_json::to_value(view).map_err(|error| internal(error.into()))
}

/// The failure of the agent.
pub(crate) fn internal(error: anyhow::Error) -> Failure {
    Failure::new(Cause::Internal, api::sentence(error.as_ref()))
}

/// The failure for an invalid request.
pub(crate) fn invalid(error: anyhow::Error) -> Failure {
    Failure::new(Cause::Invalid, api::sentence(error.as_ref()))
}
