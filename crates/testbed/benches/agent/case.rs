//! The cases: what each measures, the targets, and how long it may take.

use crate::node::Node;
use crate::{changes, endings, idle, policies, restarts, starts};
use anyhow::Result;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A case, run on a fresh node.
pub(crate) struct Case {
    /// Its name on the command line.
    pub(crate) name: &'static str,
    /// What happens.
    pub(crate) about: &'static str,
    /// When the case is given up.
    pub(crate) limit: Duration,
    /// What it measures.
    pub(crate) figures: &'static [Figure],
    /// Measures; each figure is recorded as soon as it is known, since the case may be given up.
    pub(crate) measure: fn(&mut Node, f64, &mut Recorder<'_>) -> Result<()>,
}

/// A figure of a case.
pub(crate) struct Figure {
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    /// The value that the figure should not exceed.
    pub(crate) target: Option<f64>,
}

/// The value of a figure.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Measured {
    pub(crate) name: String,
    /// The value, or why there is none.
    pub(crate) value: Result<f64, String>,
}

/// Takes the values of figures.
pub(crate) type Recorder<'a> = dyn FnMut(&str, f64) + 'a;

/// At most this many of something, at a scale; at least one.
pub(crate) fn scaled(count: usize, scale: f64) -> usize {
    ((count as f64 * scale).round() as usize).max(1)
}

const fn figure(name: &'static str, unit: &'static str, target: Option<f64>) -> Figure {
    Figure { name, unit, target }
}

/// All cases, in the order in which they run.
pub(crate) const CASES: &[Case] = &[
    Case {
        name: "files",
        about: "5,000 policy files are copied into the watched directory",
        limit: Duration::from_secs(60),
        figures: &[
            figure("all in force after the copy", "s", Some(2.0)),
            figure("slowest status meanwhile", "ms", Some(50.0)),
            figure("CPU time of the agent", "s", None),
        ],
        measure: policies::files,
    },
    Case {
        name: "apply",
        about: "`policy apply -f` of one file with 5,000 policies, and the next start",
        limit: Duration::from_secs(120),
        figures: &[
            figure("apply", "s", Some(2.0)),
            figure("on disk, times the file", "", Some(2.0)),
            figure("next start until ready", "s", Some(2.0)),
        ],
        measure: policies::apply,
    },
    Case {
        name: "run",
        about: "100 `nexin run` at once",
        limit: Duration::from_secs(60),
        figures: &[figure("all run their commands", "s", Some(1.5))],
        measure: starts::run,
    },
    Case {
        name: "end",
        about: "the owners of 1,000 workloads are killed together",
        limit: Duration::from_secs(400),
        figures: &[
            figure("endpoint and address rows gone", "s", Some(1.0)),
            figure("namespaces, interfaces and groups gone", "s", None),
            figure("slowest status meanwhile", "ms", None),
            figure("making a workload, on average", "ms", None),
        ],
        measure: endings::end,
    },
    Case {
        name: "idle",
        about: "500 workloads, 5,000 policy files, and no change",
        limit: Duration::from_secs(400),
        figures: &[figure("CPU of the agent", "%", Some(0.2)), figure("CPU of the proxy", "%", None)],
        measure: idle::idle,
    },
    Case {
        name: "change",
        about: "one HTTP rule among 5,000 is changed by `policy apply`, over and over",
        limit: Duration::from_secs(180),
        figures: &[
            figure("command begun to effect on a live connection, median", "ms", Some(20.0)),
            figure("the same, longest change", "ms", None),
            figure("wait of a bystander's request, median", "ms", None),
            figure("the same, 99.9 of a hundred", "ms", None),
            figure("the same, longest", "ms", None),
            figure("longest between the changes", "ms", None),
            figure("longest without waits for a CPU", "ms", Some(2.0)),
            figure("longest between the changes without waits for a CPU", "ms", None),
            figure("waits above 2 ms, of 100,000", "", None),
            figure("waits above 2 ms between the changes, of 100,000", "", None),
        ],
        measure: changes::change,
    },
    Case {
        name: "restarts",
        about: "200 ends of agent (KILL, TERM, INT) and proxy (KILL, TERM) in turn, under TCP, UDP, HTTP and new connections",
        limit: Duration::from_secs(900),
        figures: &[
            figure("exchanges", "", None),
            figure("exchanges lost or wrong", "", Some(0.0)),
            figure("HTTP requests repeated, since their proxy ended", "", None),
            figure("idle HTTP connections that ended with their proxy", "", None),
            figure("attempts that policy denies", "", None),
            figure("of these, passed", "", Some(0.0)),
            figure("slowest exchange", "ms", None),
        ],
        measure: restarts::restarts,
    },
];
