//! `nexin version`: the versions of the program and of the kernel.

use crate::outcome::Outcome;
use crate::session::Session;
use clap::Args;
use serde::Serialize;

/// Show the versions of this program and of the kernel
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  nexin version -o json")]
pub(crate) struct Version {}

#[derive(Serialize)]
struct Versions {
    version: &'static str,
    api: u32,
    kernel: String,
}

impl Version {
    pub(crate) fn run(self, session: &Session) -> anyhow::Result<Outcome> {
        let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
        let versions = Versions { version: env!("CARGO_PKG_VERSION"), api: api::VERSION, kernel };
        if session.is_json() {
            session.print_json(&versions)?;
        } else {
            session.print_line(&format!("nexin {} (api {})", versions.version, versions.api))?;
            session.print_line(&format!("kernel {}", versions.kernel))?;
        }
        Ok(Outcome::Holds)
    }
}
