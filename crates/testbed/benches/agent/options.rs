//! What to measure, from the command line.

use anyhow::{Context, Result, bail, ensure};
use std::path::{Path, PathBuf};

/// What this process does.
pub(crate) enum Mode {
    /// Runs cases, each in a sandbox.
    All(Options),
    /// Runs one case; this process is in its sandbox.
    Inside(Inside),
}

/// The options of a whole run.
pub(crate) struct Options {
    /// The programs that are compared.
    pub(crate) programs: Vec<PathBuf>,
    /// The names of the cases to run; empty for all.
    pub(crate) cases: Vec<String>,
    /// The share of the full size of each case.
    pub(crate) scale: f64,
    /// How often each case runs for each program.
    pub(crate) rounds: usize,
    /// Whether to print JSON instead of a table.
    pub(crate) is_json: bool,
}

/// The options of one case in its sandbox.
pub(crate) struct Inside {
    pub(crate) case: String,
    pub(crate) program: PathBuf,
    pub(crate) directory: PathBuf,
    pub(crate) scale: f64,
}

impl Options {
    /// Whether a case is to run.
    pub(crate) fn includes(&self, case: &str) -> bool {
        self.cases.is_empty() || self.cases.iter().any(|name| name == case)
    }
}

const USAGE: &str = "it takes --nexin PATH (may be repeated), --case NAME (may be repeated), --scale SHARE, --rounds N, -o json";

/// Parses the arguments; nothing is to be done unless cargo says that this is a benchmark.
pub(crate) fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Option<Mode>> {
    let mut options =
        Options { programs: Vec::new(), cases: Vec::new(), scale: 1.0, rounds: 1, is_json: false };
    let (mut is_bench, mut inside) = (false, None);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().with_context(|| format!("{argument}: a value should follow"));
        match argument.as_str() {
            "--bench" => is_bench = true,
            "--nexin" => options.programs.push(program(Path::new(&value()?))?),
            "--case" => options.cases.push(value()?),
            "--scale" => options.scale = value()?.parse().context("--scale takes a number, as in 0.1")?,
            "--rounds" => options.rounds = value()?.parse().context("--rounds takes a whole number")?,
            "--inside" => inside = Some(PathBuf::from(value()?)),
            "-o" | "--output" => {
                let format = value()?;
                ensure!(matches!(&*format, "json" | "text"), "-o {format}: it is text or json");
                options.is_json = format == "json";
            }
            other => bail!("{other}: {USAGE}"),
        }
    }
    ensure!(options.scale > 0.0 && options.scale <= 1.0, "--scale is above 0 and at most 1");
    ensure!(options.rounds > 0, "--rounds is at least 1");
    if let Some(directory) = inside {
        let (Some(case), Some(program)) = (options.cases.pop(), options.programs.pop()) else {
            bail!("--inside takes a case and a program");
        };
        return Ok(Some(Mode::Inside(Inside { case, program, directory, scale: options.scale })));
    }
    if !is_bench {
        return Ok(None);
    }
    let known: Vec<&str> = crate::case::CASES.iter().map(|case| case.name).collect();
    if let Some(unknown) = options.cases.iter().find(|name| !known.contains(&name.as_str())) {
        bail!("--case {unknown}: there are {}", known.join(", "));
    }
    ensure!(!options.programs.is_empty(), "no program is given; {USAGE}");
    Ok(Some(Mode::All(options)))
}

fn program(path: &Path) -> Result<PathBuf> {
    path.canonicalize().with_context(|| format!("--nexin {}", path.display()))
}
