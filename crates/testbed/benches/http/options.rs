//! What the command line selects.

use anyhow::{Context, Result, bail, ensure};
use std::path::PathBuf;
use std::time::Duration;

/// How the bench is called.
const USAGE: &str = "it takes --nexin PATH (which may be repeated), --envoy PATH, --connections N, --rounds N and --seconds S";

/// What is measured, and how long.
pub(crate) struct Options {
    /// The binaries whose agent and proxy are measured.
    pub(crate) binaries: Vec<PathBuf>,
    pub(crate) envoy: PathBuf,
    pub(crate) connections: usize,
    pub(crate) rounds: usize,
    /// Time of a row in a round.
    pub(crate) time: Duration,
    /// The arguments as they were typed.
    pub(crate) arguments: String,
}

impl Options {
    /// Parses the arguments; none unless cargo says that this is a benchmark.
    pub(crate) fn parse(arguments: impl Iterator<Item = String>) -> Result<Option<Self>> {
        let mut options = Self {
            binaries: Vec::new(),
            envoy: "envoy".into(),
            connections: 64,
            rounds: 10,
            time: Duration::from_millis(500),
            arguments: String::new(),
        };
        let mut is_bench = false;
        let arguments: Vec<String> = arguments.collect();
        options.arguments =
            arguments.iter().filter(|text| *text != "--bench").cloned().collect::<Vec<_>>().join(" ");
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().with_context(|| format!("{argument}: a value should follow"));
            match argument.as_str() {
                "--bench" => is_bench = true,
                "--nexin" => options.binaries.push(value()?.into()),
                "--envoy" => options.envoy = value()?.into(),
                "--connections" => {
                    options.connections = value()?.parse().context("--connections takes a whole number")?
                }
                "--rounds" => options.rounds = value()?.parse().context("--rounds takes a whole number")?,
                "--seconds" => {
                    let seconds = value()?.parse().context("--seconds takes a number")?;
                    options.time = Duration::try_from_secs_f64(seconds)
                        .context("--seconds takes a time that can be waited")?;
                }
                other => bail!("{other}: {USAGE}"),
            }
        }
        if !is_bench {
            return Ok(None);
        }
        ensure!(!options.binaries.is_empty(), "no binary to measure: {USAGE}");
        ensure!(
            options.rounds > 0 && options.connections > 0 && !options.time.is_zero(),
            "there should be something to do"
        );
        Ok(Some(options))
    }
}
