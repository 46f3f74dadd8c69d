//! The paths of an agent's files.

use std::path::{Path, PathBuf};

/// The paths of one agent: files that a reboot may delete, files that outlast it, and pinned BPF objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    directory: PathBuf,
    lasting: PathBuf,
    instance: String,
}

impl Paths {
    /// The paths of the agent with this name, all under this directory.
    pub fn new(directory: impl Into<PathBuf>, instance: impl Into<String>) -> Self {
        let directory = directory.into();
        Self { lasting: directory.clone(), directory, instance: instance.into() }
    }

    /// The same paths, with files that outlast a reboot under `lasting`.
    #[must_use]
    pub fn with_lasting(self, lasting: impl Into<PathBuf>) -> Self {
        Self { lasting: lasting.into(), ..self }
    }

    /// The directory of files that outlast a reboot.
    pub(crate) fn lasting(&self) -> &Path {
        &self.lasting
    }

    /// The directory of files that a reboot may delete.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The agent's name.
    pub fn instance(&self) -> &str {
        &self.instance
    }

    /// The socket of the API.
    pub fn socket(&self) -> PathBuf {
        self.directory.join("agent.sock")
    }

    /// The socket that the proxy reports to.
    pub fn request_events(&self) -> PathBuf {
        self.directory.join("requests.sock")
    }

    /// The state that outlasts a restart.
    pub fn state(&self) -> PathBuf {
        self.lasting.join("state.log")
    }

    /// The state as earlier releases stored it.
    pub(crate) fn earlier_state(&self) -> PathBuf {
        self.lasting.join("state.json")
    }

    /// The lock of the running agent.
    pub fn lock(&self) -> PathBuf {
        self.directory.join("agent.lock")
    }

    /// The record of the proxy's process.
    pub fn proxy(&self) -> PathBuf {
        self.directory.join("proxy.json")
    }

    /// The name of the proxy's control group, where it has one of its own.
    pub(crate) fn proxy_group(&self) -> PathBuf {
        Path::new("nexin").join(&self.instance).join("proxy")
    }

    /// The proxy's output.
    pub fn proxy_log(&self) -> PathBuf {
        self.directory.join("proxy.log")
    }

    /// The proxy's report on its confinement.
    pub fn proxy_report(&self) -> PathBuf {
        self.directory.join("proxy-report.json")
    }

    /// The layer-7 rule sets.
    pub fn rule_sets(&self) -> PathBuf {
        self.directory.join("rule-sets")
    }

    /// The journal of applied manifests.
    pub fn applied(&self) -> PathBuf {
        self.lasting.join("applied")
    }

    /// The copies of valid policy files.
    pub fn copies(&self) -> PathBuf {
        self.lasting.join("kept")
    }

    /// The stored objects of the API server.
    pub(crate) fn cluster(&self) -> PathBuf {
        self.lasting.join("cluster")
    }

    /// The marker that exists while RCU is expedited for the removal of many workloads.
    pub fn hurry(&self) -> PathBuf {
        self.directory.join("hurry")
    }

    /// The directory of pinned maps and links.
    pub fn pins(&self) -> PathBuf {
        loader::pin_directory(&self.instance)
    }
}
