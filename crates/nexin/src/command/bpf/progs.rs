//! `nexin bpf progs`: the programs, their attach points and their cost.

use super::place::Place;
use crate::listing;
use crate::outcome::{BadInput, Outcome};
use crate::session::Session;
use abi::Hook;
use clap::Args;
use loader::inspect::{self, Attachment, Program, RunStatistics};
use serde::Serialize;
use std::time::Duration;

/// Show the programs: attach points, size, number of runs and run time
///
/// The kernel counts runs only while statistics are enabled, which costs time: see --measure.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  nexin bpf progs\n  nexin bpf progs --measure 5\n  nexin bpf progs --all -o json"
)]
pub(super) struct Progs {
    /// Show all other programs, too
    #[arg(long)]
    all: bool,
    /// Enable run statistics for this many seconds first
    #[arg(long, value_name = "SECONDS")]
    measure: Option<f64>,
    #[command(flatten)]
    place: Place,
}

/// A program, as it is printed.
#[derive(Serialize)]
struct Row {
    id: u32,
    name: String,
    kind: String,
    tag: String,
    attached: Vec<String>,
    verified_instructions: Option<u32>,
    machine_bytes: u32,
    runs: u64,
    average_nanoseconds: Option<u64>,
    maps: Vec<u32>,
}

impl Progs {
    pub(super) fn run(self, session: &Session) -> anyhow::Result<Outcome> {
        if let Some(seconds) = self.measure {
            let duration = Duration::try_from_secs_f64(seconds)
                .map_err(|error| BadInput(format!("--measure {seconds}: {error}")))?;
            let _counting = RunStatistics::start()?;
            std::thread::sleep(duration);
        }
        let attachments = self.place.attachments()?;
        let ours = |program: &Program| self.all || Hook::from_name(&program.name).is_some();
        let programs = inspect::programs()?.into_iter().filter(ours);
        let rows: Vec<Row> = programs.map(|program| Row::new(program, &attachments)).collect();
        let header = ["id", "name", "kind", "tag", "verified", "machine code", "runs", "ns", "attached"];
        listing::print(session, &rows, header, |row| {
            let known = |number: Option<u64>| number.map_or("-".into(), |number| number.to_string());
            [
                row.id.to_string(),
                row.name.clone(),
                row.kind.clone(),
                row.tag.clone(),
                known(row.verified_instructions.map(u64::from)),
                format!("{} B", row.machine_bytes),
                row.runs.to_string(),
                known(row.average_nanoseconds),
                row.attached.join(","),
            ]
        })
    }
}

impl Row {
    fn new(program: Program, attachments: &[Attachment]) -> Self {
        let here = attachments.iter().filter(|attachment| attachment.program == program.id);
        let average = |runs| u64::try_from(program.run_time.as_nanos() / u128::from(runs)).ok();
        Self {
            attached: here.map(|attachment| format!("{} {}", attachment.name, attachment.point)).collect(),
            average_nanoseconds: Some(program.runs).filter(|runs| *runs > 0).and_then(average),
            id: program.id,
            name: program.name,
            kind: program.kind,
            tag: program.tag,
            verified_instructions: program.verified_instructions,
            machine_bytes: program.machine_bytes,
            runs: program.runs,
            maps: program.maps,
        }
    }
}
