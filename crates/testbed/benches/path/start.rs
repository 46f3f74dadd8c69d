//! Starts a benchmark: reads its options, measures, and returns the exit code.

use anyhow::Result;
use std::process::ExitCode;

/// Measures by the options. Without options nothing is measured: cargo starts a benchmark in a test run, too. Options that
/// are wrong end with 2, and a failed measurement with 1.
pub(crate) fn start<O>(options: Result<Option<O>>, measure: impl FnOnce(&O) -> Result<()>) -> ExitCode {
    let failed = |error: anyhow::Error, code: u8| {
        eprintln!("error: {error:#}");
        ExitCode::from(code)
    };
    match options {
        Ok(Some(options)) => measure(&options).map_or_else(|error| failed(error, 1), |()| ExitCode::SUCCESS),
        Ok(None) => {
            println!("nothing is measured: this is for `cargo bench`");
            ExitCode::SUCCESS
        }
        Err(error) => failed(error, 2),
    }
}
