//! The outcome of a command, and its exit code.

use crate::inside::NotStarted;
use crate::interrupt::Interrupted;
use crate::session::Session;
use std::fmt;
use std::io;
use std::process::ExitCode;

/// The outcome of a command that could do its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Success, or the answer is yes: exit code 0.
    Holds,
    /// The answer is no, and the output has reported it: exit code 1.
    Fails,
    /// The input is invalid, and the output has reported it: exit code 2.
    Refuses,
    /// The user's command ended with this exit code.
    Passes(u8),
}

/// An invalid command line or file: exit code 2.
#[derive(Debug)]
pub(crate) struct BadInput(pub(crate) String);

impl fmt::Display for BadInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadInput {}

/// The exit code of a result; prints an error first.
pub(crate) fn exit_code(result: anyhow::Result<Outcome>, session: &Session) -> ExitCode {
    ExitCode::from(match result {
        Ok(Outcome::Holds) => 0,
        Ok(Outcome::Fails) => 1,
        Ok(Outcome::Refuses) => 2,
        Ok(Outcome::Passes(code)) => code,
        // The reader of the output has closed the pipe.
        Err(error) if is_broken_pipe(&error) => 0,
        Err(error) if error.is::<Interrupted>() => Interrupted::EXIT_CODE,
        Err(error) => {
            session.print_error(&api::sentence(error.as_ref()));
            match error.downcast_ref::<NotStarted>() {
                Some(error) => error.exit_code(),
                None if is_bad_input(&error) => 2,
                None => 1,
            }
        }
    })
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}

fn is_bad_input(error: &anyhow::Error) -> bool {
    error.downcast_ref::<BadInput>().is_some()
        || error.downcast_ref::<api::CallError>().is_some_and(api::CallError::is_invalid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn bad_input_is_distinguished_from_other_failures() {
        let check =
            |error: anyhow::Error, expected: bool| assert_eq!(is_bad_input(&error), expected, "{error}");
        check(BadInput("no such port".into()).into(), true);
        check(Err::<(), _>(BadInput("no such port".into())).context("--port").unwrap_err(), true);
        check(io::Error::other("disk").into(), false);
        let invalid = api::Failure::new(api::Cause::Invalid, "line 3");
        check(api::CallError::Refused(invalid).into(), true);
        let missing = api::Failure::new(api::Cause::NotFound, "no policy x");
        check(api::CallError::Refused(missing).into(), false);
    }

    #[test]
    fn a_closed_pipe_is_not_an_error() {
        let left = io::Error::from(io::ErrorKind::BrokenPipe);
        assert!(is_broken_pipe(&anyhow::Error::from(left).context("printing")));
        assert!(!is_broken_pipe(&io::Error::from(io::ErrorKind::NotFound).into()));
    }
}
