//! PolicyTest documents: worlds, policies and what is expected of probes between parties.

mod probe;
mod step;

pub use probe::{Expect, HttpRequest, Party, Probe, Question};
pub use step::{External, Step, WorkloadName, WorkloadState};

/// One PolicyTest document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyTest {
    /// Its name.
    pub name: String,
    /// The steps, in order. `policies` and `probes` without `steps` are one step; namespaces, workloads and externals
    /// given beside `steps` are part of the first.
    pub steps: Vec<Step>,
}
