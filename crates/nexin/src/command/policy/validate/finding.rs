//! One finding of `nexin policy validate`, for people, editors and machines.

use manifest::{Diagnostic, Places, Position, Severity};
use policy::lint::Lint;
use policy::rule::PolicyId;
use serde::{Serialize, Serializer};
use std::fmt;

/// Something worth knowing, or wrong, and where; its fields are those of its JSON.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    pub(super) file: String,
    pub(super) line: u32,
    pub(super) column: u32,
    #[serde(serialize_with = "severity_name")]
    pub(super) severity: Severity,
    /// What kind of finding; machines can rely on it.
    pub(super) code: &'static str,
    /// The policy, where it was read as one.
    pub(super) policy: Option<String>,
    pub(super) field: String,
    pub(super) message: String,
}

impl Finding {
    /// A lint at its place; the place of the other rule follows the sentence that names it.
    pub(super) fn of_lint(lint: &Lint, places: &Places) -> Self {
        let other = lint.flaw.other().and_then(|other| places.of(&other.policy, &other.place));
        let other = other.map(|place| format!(" ({place})")).unwrap_or_default();
        let place = places.of(&lint.at.policy, &lint.at.place);
        Self {
            field: lint.at.place.to_string(),
            ..Self::warning(&lint.at.policy, place, lint.flaw.code(), format!("{}{other}", lint.flaw))
        }
    }

    /// A policy that is given again; `before` says where it was.
    pub(super) fn repeated(policy: &PolicyId, place: &Position, before: &str) -> Self {
        let message = format!("{policy} is given already{before}; only the last counts");
        Self::warning(policy, Some(place), "repeated", message)
    }

    fn warning(policy: &PolicyId, place: Option<&Position>, code: &'static str, message: String) -> Self {
        Self {
            file: place.map(|place| place.file.to_string()).unwrap_or_default(),
            line: place.map_or(0, |place| place.line),
            column: place.map_or(0, |place| place.column),
            severity: Severity::Warning,
            code,
            policy: Some(policy.to_string()),
            field: String::new(),
            message,
        }
    }
}

impl From<Diagnostic> for Finding {
    fn from(diagnostic: Diagnostic) -> Self {
        let Diagnostic { file, line, column, field, message, severity } = diagnostic;
        let code = match severity {
            Severity::Warning => "unusual",
            Severity::NotSupportedYet => "not-supported-yet",
            Severity::Error => "invalid",
        };
        Self { file, line, column, severity, code, policy: None, field, message }
    }
}

impl fmt::Display for Finding {
    /// One line, as editors read it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: ", self.file, self.line, self.column)?;
        if self.severity == Severity::Warning {
            f.write_str("warning: ")?;
        }
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        f.write_str(&self.message)
    }
}

fn severity_name<S: Serializer>(severity: &Severity, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(match severity {
        Severity::Warning => "warning",
        Severity::NotSupportedYet => "not-supported-yet",
        Severity::Error => "error",
    })
}
