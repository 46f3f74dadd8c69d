//! Measures the agent: drives `nexin` programs from outside, each case on a fresh node, several programs in turn.
#![forbid(unsafe_code)]

mod bystander;
mod case;
mod changes;
mod endings;
mod exchanges;
#[path = "../path/figures.rs"]
#[expect(dead_code, reason = "the benchmark of the packet path takes ratios, too")]
mod figures;
mod idle;
#[path = "../path/machine.rs"]
#[expect(dead_code, reason = "the benchmark of the packet path chooses CPUs, too")]
mod machine;
mod node;
mod options;
mod policies;
mod report;
mod restarts;
mod sandbox;
#[path = "../path/start.rs"]
mod start;
mod starts;
mod traffic;

use anyhow::{Result, ensure};
use case::{CASES, Measured};
use machine::{Machine, Strain};
use options::{Mode, Options};
use report::Report;
use start::start;
use std::process::ExitCode;

fn main() -> ExitCode {
    start(options::parse(std::env::args().skip(1)), |mode| match mode {
        Mode::Inside(inside) => sandbox::measure(inside),
        Mode::All(options) => run(options),
    })
}

/// Runs each case for each program in turn, round by round, so that a slow phase of the machine affects all programs.
fn run(options: &Options) -> Result<()> {
    ensure!(
        rustix::process::geteuid().is_root(),
        "this makes network namespaces and loads programs: it takes root"
    );
    let (machine, before) = (Machine::current()?, Strain::now()?);
    let mut report = Report::new(options);
    for case in CASES.iter().filter(|case| options.includes(case.name)) {
        for round in 0..options.rounds {
            for turn in 0..options.programs.len() {
                let program = (round + turn) % options.programs.len();
                eprintln!("{}: {}", case.name, options.programs[program].display());
                let measured: Vec<Measured> = sandbox::run(case, &options.programs[program], options)?;
                report.add(case, program, measured);
            }
        }
    }
    report.print(&machine, (before, Strain::now()?))
}
