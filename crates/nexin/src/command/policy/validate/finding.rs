//! One finding of `nexin policy validate`, as text and JSON.

use manifest::{Diagnostic, PolicyPositions, Position, Severity};
use policy::lint::Lint;
use policy::rule::{PolicyId, Rule};
use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};
use service::API_SERVER;
use std::fmt;

/// An error or warning, with its place.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) diagnostic: Diagnostic,
    /// The code of the finding, which is stable.
    pub(super) code: &'static str,
    /// The policy, if it could be parsed.
    pub(super) policy: Option<String>,
}

impl Finding {
    /// A lint at its place; the place of the other rule is appended to the message.
    pub(super) fn of_lint(lint: &Lint, positions: &PolicyPositions) -> Self {
        let other = lint.flaw.other().and_then(|other| positions.position_of(&other.policy, &other.place));
        let other = other.map(|place| format!(" ({place})")).unwrap_or_default();
        let place = positions.position_of(&lint.at.policy, &lint.at.place);
        let (code, message) = (lint.flaw.code(), format!("{}{other}", lint.flaw));
        let mut finding = Self::warning(&lint.at.policy, place, code, message);
        finding.diagnostic.field = lint.at.place.to_string();
        finding
    }

    /// A policy with an earlier definition at `before`.
    pub(super) fn repeated(policy: &PolicyId, place: &Position, before: &str) -> Self {
        let message = format!("{policy} is defined already{before}; the last definition counts");
        Self::warning(policy, Some(place), "repeated", message)
    }

    /// A rule that names API servers without a known address.
    pub(super) fn without_api_server(policy: &PolicyId, rule: &Rule, positions: &PolicyPositions) -> Self {
        let (namespace, name) = API_SERVER;
        let message = format!(
            "kube-apiserver matches no peer: no address is listed for service {namespace}/{name} here; give its Endpoints or \
             EndpointSlice, too"
        );
        let place = positions.position_of(policy, &rule.place);
        let mut finding = Self::warning(policy, place, "no-api-server", message);
        finding.diagnostic.field = rule.place.to_string();
        finding
    }

    fn warning(policy: &PolicyId, place: Option<&Position>, code: &'static str, message: String) -> Self {
        let diagnostic = Diagnostic {
            file: place.map(|place| place.file.to_string()).unwrap_or_default(),
            line: place.map_or(0, |place| place.line),
            column: place.map_or(0, |place| place.column),
            severity: Severity::Warning,
            field: String::new(),
            message,
        };
        Self { diagnostic, code, policy: Some(policy.to_string()) }
    }
}

impl From<Diagnostic> for Finding {
    fn from(diagnostic: Diagnostic) -> Self {
        let code = match diagnostic.severity {
            Severity::Warning => "unusual",
            Severity::NotSupportedYet => "not-supported-yet",
            Severity::Error => "invalid",
        };
        Self { diagnostic, code, policy: None }
    }
}

impl fmt::Display for Finding {
    /// One line, as editors parse it; a warning ends with its code.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.diagnostic.fmt(f)?;
        match self.diagnostic.severity {
            Severity::Warning => write!(f, " [{}]", self.code),
            Severity::NotSupportedYet | Severity::Error => Ok(()),
        }
    }
}

impl Serialize for Finding {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Diagnostic { file, line, column, field, message, severity } = &self.diagnostic;
        let mut fields = serializer.serialize_struct("Finding", 8)?;
        fields.serialize_field("file", file)?;
        fields.serialize_field("line", line)?;
        fields.serialize_field("column", column)?;
        fields.serialize_field("severity", severity_name(*severity))?;
        fields.serialize_field("code", self.code)?;
        fields.serialize_field("policy", &self.policy)?;
        fields.serialize_field("field", field)?;
        fields.serialize_field("message", message)?;
        fields.end()
    }
}

fn severity_name(severity: Severity) -> &'static str {
    match severity {
        Severity::Warning => "warning",
        Severity::NotSupportedYet => "not-supported-yet",
        Severity::Error => "error",
    }
}
