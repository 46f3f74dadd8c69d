//! Why a request to the API server failed, and what that means for the next one.

use serde::Deserialize;
use std::error::Error;
use std::iter;
use std::time::Duration;

/// A failed request, or a stream of events that ended by an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) cause: FailureCause,
    /// What happened, as the server or the operating system says it.
    pub(crate) why: String,
    /// When the server wants the next attempt.
    pub(crate) retry_after: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FailureCause {
    /// The version or the continuation of a list is too old (410).
    Expired,
    /// The server does not serve the kind in this version (404).
    NotServed,
    /// The client may not do this (401, 403).
    Forbidden,
    /// The client sent too much, or the server has a fault (429, 5xx).
    Overloaded,
    /// No answer, an answer that ended early, or no server behind the one that answers.
    Connection,
    /// The answer is not what the API promises.
    Garbled,
}

/// The error of the API: `kind: Status`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ErrorStatus {
    code: u16,
    message: String,
    reason: String,
    details: Option<ErrorDetails>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ErrorDetails {
    retry_after_seconds: u64,
}

impl Failure {
    /// The connection failed, for this reason: the innermost cause of the error.
    pub(crate) fn connection(error: impl Error) -> Self {
        let causes = iter::successors(error.source(), |&cause| cause.source());
        let why = causes.last().map_or_else(|| error.to_string(), ToString::to_string);
        Self { cause: FailureCause::Connection, why, retry_after: None }
    }

    /// There was no answer, or no event, for this long.
    pub(crate) fn silence(what: &str, time: Duration) -> Self {
        let why = format!("{what} within {} s", time.as_secs());
        Self { cause: FailureCause::Connection, why, retry_after: None }
    }

    pub(crate) fn garbled(why: impl ToString) -> Self {
        Self { cause: FailureCause::Garbled, why: why.to_string(), retry_after: None }
    }

    /// Whether the failure ends when the server answers others again: it is away, or does not serve anything yet.
    pub(crate) fn may_end_with_others(&self) -> bool {
        let is_servers = matches!(self.cause, FailureCause::Connection | FailureCause::Overloaded);
        is_servers && self.retry_after.is_none()
    }

    /// The failure that an HTTP answer or the object of an ERROR event describes.
    pub(crate) fn from_answer(code: Option<u16>, retry_after: Option<&str>, body: &[u8]) -> Self {
        let status: ErrorStatus = serde_json::from_slice(body).unwrap_or_default();
        let code = code.unwrap_or(status.code);
        let header = retry_after.and_then(|seconds| seconds.trim().parse().ok());
        let details = status.details.as_ref().map(|details| details.retry_after_seconds);
        let asked = header.or(details.filter(|seconds| *seconds > 0)).map(Duration::from_secs);
        let cause = match code {
            410 => FailureCause::Expired,
            // A list of a version that this server has not reached: it has an older store than the one before.
            504 if status.message.contains("Too large resource version") => FailureCause::Expired,
            404 => FailureCause::NotServed,
            401 | 403 => FailureCause::Forbidden,
            // A server that starts, or a load balancer without a server.
            502 | 503 if asked.is_none() => FailureCause::Connection,
            429 | 500..=599 => FailureCause::Overloaded,
            _ if status.reason == "Expired" || status.reason == "Gone" => FailureCause::Expired,
            _ => FailureCause::Garbled,
        };
        let why = match status.message.as_str() {
            "" => format!("the API server answered {code}"),
            message => format!("the API server answered {code}: {message}"),
        };
        Self { cause, why, retry_after: asked }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_classified() {
        let check = |code: u16, header, body: &str, cause, seconds: Option<u64>| {
            let failure = Failure::from_answer(Some(code), header, body.as_bytes());
            assert_eq!(
                (failure.cause, failure.retry_after),
                (cause, seconds.map(Duration::from_secs)),
                "{failure:?}"
            );
        };
        check(410, None, r#"{"reason": "Expired", "code": 410}"#, FailureCause::Expired, None);
        check(404, None, "404 page not found", FailureCause::NotServed, None);
        check(429, Some("7"), "", FailureCause::Overloaded, Some(7));
        check(503, None, r#"{"details": {"retryAfterSeconds": 3}}"#, FailureCause::Overloaded, Some(3));
        check(503, None, "no server", FailureCause::Connection, None);
        check(403, None, r#"{"message": "nodes is forbidden"}"#, FailureCause::Forbidden, None);
        let ahead = r#"{"message": "Timeout: Too large resource version: 900, current: 12"}"#;
        check(504, None, ahead, FailureCause::Expired, None);
        check(418, None, "", FailureCause::Garbled, None);
        let event =
            Failure::from_answer(None, None, br#"{"kind": "Status", "code": 410, "message": "too old"}"#);
        assert_eq!(
            (event.cause, event.why.as_str()),
            (FailureCause::Expired, "the API server answered 410: too old")
        );
    }
}
