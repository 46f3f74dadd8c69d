//! The program with the incumbent's library: worlds go in, verdicts come out, one a line.

use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// The running program, which ends when this is dropped.
pub(super) struct Incumbent {
    child: Child,
    to: Option<ChildStdin>,
    from: BufReader<ChildStdout>,
}

/// The program's reply to a world.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Reply {
    /// Why the program gave no verdict.
    #[serde(default)]
    pub(super) error: String,
    /// Why the library refuses documents, by their index.
    #[serde(default)]
    pub(super) refused: BTreeMap<usize, String>,
    /// The verdict on each probe; empty where documents are refused.
    #[serde(default)]
    pub(super) verdicts: Vec<Heard>,
}

/// The verdicts of both ends of a probe.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
pub(super) struct Heard {
    pub(super) egress: Word,
    pub(super) ingress: Word,
}

/// The verdict of one end.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(super) enum Word {
    /// The end allows the connection.
    Allow,
    /// The end allows the connection to a proxy, which judges the requests.
    Proxy,
    /// The end refuses the connection.
    Deny,
    /// No policy applies to the end.
    #[serde(rename = "")]
    Unasked,
}

impl Incumbent {
    /// Starts the program.
    pub(super) fn open(program: &Path) -> io::Result<Self> {
        let mut child = Command::new(program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let to = child.stdin.take();
        let from = child.stdout.take().map(BufReader::new).expect("its output is piped");
        Ok(Self { child, to, from })
    }

    /// Returns the verdicts on all probes of a world, if the library can read its documents.
    pub(super) fn ask(&mut self, spec: &Value) -> io::Result<Reply> {
        let to = self.to.as_mut().expect("the pipe is open until the process is dropped");
        writeln!(to, "{spec}")?;
        to.flush()?;
        let mut line = String::new();
        if self.from.read_line(&mut line)? == 0 {
            return Err(io::Error::other("the program ended"));
        }
        serde_json::from_str(&line).map_err(|error| io::Error::other(format!("{error}: {line}")))
    }
}

impl Drop for Incumbent {
    fn drop(&mut self) {
        // The program ends at the end of its input.
        self.to = None;
        if let Err(error) = self.child.wait() {
            eprintln!("the incumbent's program: {error}");
        }
    }
}
