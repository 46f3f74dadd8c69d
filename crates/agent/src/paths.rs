//! Where an agent keeps its files.

use std::path::{Path, PathBuf};

/// The files of one agent: those that end with the machine's run, those that outlast it, and what is pinned in the BPF
/// file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    directory: PathBuf,
    lasting: PathBuf,
    instance: String,
}

impl Paths {
    /// The files of the agent with this name, all under this directory.
    pub fn new(directory: impl Into<PathBuf>, instance: impl Into<String>) -> Self {
        let directory = directory.into();
        Self { lasting: directory.clone(), directory, instance: instance.into() }
    }

    /// Those that outlast the machine's run under this directory.
    #[must_use]
    pub fn with_lasting(self, lasting: impl Into<PathBuf>) -> Self {
        Self { lasting: lasting.into(), ..self }
    }

    /// The directory of what outlasts the machine's run.
    pub(crate) fn lasting(&self) -> &Path {
        &self.lasting
    }

    /// The directory itself.
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

    /// What must be found again after a restart.
    pub fn state(&self) -> PathBuf {
        self.lasting.join("state.json")
    }

    /// Held by the one agent that runs.
    pub fn lock(&self) -> PathBuf {
        self.directory.join("agent.lock")
    }

    /// Process number of the proxy.
    pub fn proxy(&self) -> PathBuf {
        self.directory.join("proxy.json")
    }

    /// What the proxy says.
    pub fn proxy_log(&self) -> PathBuf {
        self.directory.join("proxy.log")
    }

    /// What could not be taken from the proxy.
    pub fn proxy_report(&self) -> PathBuf {
        self.directory.join("proxy-report.json")
    }

    /// The layer-7 rule sets.
    pub fn rule_sets(&self) -> PathBuf {
        self.directory.join("rule-sets")
    }

    /// Manifests that were applied through the API.
    pub fn applied(&self) -> PathBuf {
        self.lasting.join("applied")
    }

    /// What watched files said when they were last right.
    pub fn copies(&self) -> PathBuf {
        self.lasting.join("kept")
    }

    /// There while the kernel is made to hurry, for as long as many workloads are removed.
    pub fn hurry(&self) -> PathBuf {
        self.directory.join("hurry")
    }

    /// Where maps and links are pinned.
    pub fn pins(&self) -> PathBuf {
        loader::pin_directory(&self.instance)
    }
}
