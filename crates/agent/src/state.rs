//! What an agent must find again after a restart, in one file that is replaced whole.

use crate::storage;
use anyhow::Context;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::Path;

/// The file's contents. Rows, flows and links live in the kernel and are not repeated here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    /// The workloads of the node.
    pub workloads: Vec<Workload>,
    /// Identity numbers and the labels they stand for.
    pub identities: Vec<(u32, Vec<StoredLabel>)>,
    /// The identity number that is tried next.
    pub next_identity: Option<u32>,
    /// Addresses of services, by `namespace/name`.
    pub services: BTreeMap<String, Vec<IpAddr>>,
    /// The highest endpoint number that was given out.
    pub last_endpoint: u32,
    /// The highest number that a layer-7 rule set was given: the proxy may still know what it stood for.
    #[serde(default)]
    pub last_rule_set: u32,
}

/// Source, key and value of a label.
pub(crate) type StoredLabel = (String, String, String);

/// A workload and how it is wired.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Workload {
    /// Number on this node.
    pub id: u32,
    /// As it was asked for, with all its addresses.
    pub wanted: api::Workload,
    /// Name of the host-side interface.
    pub interface: String,
    /// Name of its network namespace.
    pub network_namespace: String,
    /// Link-layer address of its own end.
    pub mac: [u8; 6],
    /// The process whose end removes it, where there is one.
    pub owner: Option<Owner>,
    /// Whether what policy refuses is let through and reported.
    #[serde(default)]
    pub audit: bool,
}

/// A process, by number and start time, so that a reused number is not mistaken for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Owner {
    /// Process number.
    pub process: u32,
    /// When it started, in clock ticks since boot.
    pub started: u64,
}

impl State {
    /// Reads the file; where there is none, nothing is remembered.
    pub(crate) fn load(path: &Path) -> anyhow::Result<Self> {
        match fs::read(path) {
            Ok(bytes) => serde_json::from_slice(&bytes).with_context(|| {
                format!("{} is damaged; move it away to start with no workloads", path.display())
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    /// Replaces the file: whoever reads it, after a crash too, finds the old or the new.
    pub(crate) fn save(&self, path: &Path) -> anyhow::Result<()> {
        let bytes = serde_json::to_vec_pretty(self)?;
        storage::replace(path, &bytes).with_context(|| format!("cannot write {}", path.display()))
    }
}

impl Owner {
    /// The process with this number as it runs now.
    pub(crate) fn of(process: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
        // Fields count after the command's closing parenthesis; the 22nd of the file is the 20th there (proc(5)).
        let started = stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(19)?.parse().ok()?;
        let zombie = stat.rsplit_once(')')?.1.trim_start().starts_with('Z');
        (!zombie).then_some(Self { process, started })
    }

    /// Whether it still runs.
    pub(crate) fn is_alive(self) -> bool {
        Self::of(self.process) == Some(self)
    }
}
