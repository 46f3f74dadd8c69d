//! Options for the network namespace and the pinned maps to show.

use crate::session::Session;
use abi::map::MapId;
use anyhow::Context;
use api::ApiRequest;
use api::view::Status;
use clap::Args;
use loader::Pinned;
use loader::inspect::{self, Attachment};
use std::path::PathBuf;
use workload::NetworkNamespace;

/// The pinned maps of one node.
#[derive(Debug, Args)]
pub(super) struct Pins {
    /// Directory of the pinned maps [default: the running agent's, else that of a default agent]
    #[arg(long, value_name = "DIRECTORY")]
    pins: Option<PathBuf>,
}

/// The interfaces of one node.
#[derive(Debug, Args)]
pub(super) struct Place {
    /// Network namespace, as in `ip netns` [default: that of this command]
    #[arg(long, value_name = "NAME")]
    netns: Option<String>,
}

impl Pins {
    /// Opens these maps.
    pub(super) fn open(self, session: &Session, maps: &[MapId]) -> anyhow::Result<Pinned> {
        let of_agent = || {
            let status: Status = session.agent().ok()?.call(ApiRequest::Status).ok()?;
            Some(PathBuf::from(status.pins))
        };
        let default = || agent::AgentConfig::default().paths().pins();
        let directory = self.pins.or_else(of_agent).unwrap_or_else(default);
        Pinned::open(&directory, maps).with_context(|| {
            let place = directory.display();
            format!(
                "no maps can be opened under {place}; has an agent run here? --pins sets another directory"
            )
        })
    }
}

impl Place {
    /// The programs attached to its interfaces.
    pub(super) fn attachments(&self) -> anyhow::Result<Vec<Attachment>> {
        let Some(name) = &self.netns else { return Ok(inspect::attachments()?) };
        Ok(NetworkNamespace::open(name)?.enter(inspect::attachments)??)
    }
}
