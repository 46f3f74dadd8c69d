//! Where to look: in which network namespace, and at whose pinned maps.

use crate::session::Session;
use anyhow::Context;
use api::Request;
use api::view::Status;
use clap::Args;
use loader::Pinned;
use loader::inspect::{self, Attachment};
use std::path::PathBuf;
use workload::Namespace;

/// The maps of one node.
#[derive(Debug, Args)]
pub(super) struct Pins {
    /// Directory that the maps are pinned under [default: the agent's, else that of an agent as it is by default]
    #[arg(long, value_name = "DIRECTORY")]
    pins: Option<PathBuf>,
}

/// The interfaces of one node.
#[derive(Debug, Args)]
pub(super) struct Place {
    /// Network namespace to look in, as `ip netns` names it [default: the one this command runs in]
    #[arg(long, value_name = "NAME")]
    netns: Option<String>,
}

impl Pins {
    /// Opens the maps.
    pub(super) fn open(self, session: &Session) -> anyhow::Result<Pinned> {
        let told = || {
            let status: Status = session.agent().ok()?.call(Request::Status).ok()?;
            Some(PathBuf::from(status.pins))
        };
        let default = || agent::Config::default().paths().pins();
        let directory = self.pins.or_else(told).unwrap_or_else(default);
        Pinned::open(&directory).with_context(|| {
            let place = directory.display();
            format!(
                "no maps can be opened under {place}; has an agent run here? --pins names another directory"
            )
        })
    }
}

impl Place {
    /// The programs at its interfaces.
    pub(super) fn attachments(&self) -> anyhow::Result<Vec<Attachment>> {
        let Some(name) = &self.netns else { return Ok(inspect::attachments()?) };
        Ok(Namespace::open(name)?.enter(inspect::attachments)??)
    }
}
