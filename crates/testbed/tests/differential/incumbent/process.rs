//! The program that asks the incumbent's library: worlds go in, verdicts come out, one a line.

use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// The running program. It ends when this is dropped.
pub(super) struct Incumbent {
    child: Child,
    to: Option<ChildStdin>,
    from: BufReader<ChildStdout>,
}

/// What it says of a world.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Reply {
    /// Why it could not be asked at all.
    #[serde(default)]
    pub(super) error: String,
    /// Why it refuses documents, by their place.
    #[serde(default)]
    pub(super) refused: BTreeMap<usize, String>,
    /// What it says of each probe; nothing where documents are refused.
    #[serde(default)]
    pub(super) verdicts: Vec<Heard>,
}

/// What the policies of both ends of a probe say.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
pub(super) struct Heard {
    pub(super) egress: Word,
    pub(super) ingress: Word,
}

/// What one end says.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(super) enum Word {
    /// It is let through.
    Allow,
    /// It is let through to a proxy, which decides on requests.
    Proxy,
    /// It is refused.
    Deny,
    /// No policy of this end is asked.
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

    /// Asks about all probes of a world, whose documents it can read.
    pub(super) fn ask(&mut self, spec: &Value) -> io::Result<Reply> {
        let to = self.to.as_mut().expect("it is open until it is dropped");
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
        // It ends when there is no more to read.
        self.to = None;
        if let Err(error) = self.child.wait() {
            eprintln!("the incumbent's program: {error}");
        }
    }
}
