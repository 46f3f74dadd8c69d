//! How a command ends, and the exit code that says so.

use crate::inside::NotStarted;
use crate::interrupt::Interrupted;
use crate::session::Session;
use std::fmt;
use std::io;
use std::process::ExitCode;

/// How a command ended that could do its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// What was asked holds, or was done: exit code 0.
    Holds,
    /// What was asked does not hold, and the output says so already: exit code 1.
    Fails,
    /// The input is wrong, and the output says so already: exit code 2.
    Refuses,
    /// A command was run for the user, and ended with this code.
    Passes(u8),
}

/// An error of whoever typed the command: exit code 2.
#[derive(Debug)]
pub(crate) struct BadInput(pub(crate) String);

impl fmt::Display for BadInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadInput {}

/// The exit code for a result; an error is printed first.
pub(crate) fn exit_code(result: anyhow::Result<Outcome>, session: &Session) -> ExitCode {
    ExitCode::from(match result {
        Ok(Outcome::Holds) => 0,
        Ok(Outcome::Fails) => 1,
        Ok(Outcome::Refuses) => 2,
        Ok(Outcome::Passes(code)) => code,
        // Whoever read the output has seen enough.
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
    fn bad_input_is_told_from_what_merely_failed() {
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
    fn a_reader_that_left_is_no_error() {
        let left = io::Error::from(io::ErrorKind::BrokenPipe);
        assert!(is_broken_pipe(&anyhow::Error::from(left).context("printing")));
        assert!(!is_broken_pipe(&io::Error::from(io::ErrorKind::NotFound).into()));
    }
}
