//! Measures the packet path: nanoseconds per packet, and TCP between two workloads, beside routing and nftables.
#![forbid(unsafe_code)]

mod cases;
mod figures;
mod judging;
mod machine;
mod population;
mod stage;
mod traffic;

use anyhow::{Context, Result, bail, ensure};
use figures::{Table, grouped, median, ratios, spread};
use machine::{Machine, Places, Strain, stay_on};
use stage::{Between, Stage};
use std::process::ExitCode;
use std::time::Duration;
use traffic::Exchange;

/// How much is measured.
struct Effort {
    rounds: usize,
    time: Duration,
}

fn main() -> ExitCode {
    let effort = match effort(std::env::args().skip(1)) {
        Ok(Some(effort)) => effort,
        Ok(None) => {
            println!("nothing is measured: this is for `cargo bench`");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            return ExitCode::from(2);
        }
    };
    match run(&effort) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Reads `--rounds N` and `--seconds S`; nothing is to be done unless cargo says that this is a benchmark.
fn effort(mut arguments: impl Iterator<Item = String>) -> Result<Option<Effort>> {
    let mut effort = Effort { rounds: 20, time: Duration::from_millis(250) };
    let mut is_bench = false;
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().with_context(|| format!("{argument}: a number should follow"));
        match argument.as_str() {
            "--bench" => is_bench = true,
            "--rounds" => effort.rounds = value()?.parse().context("--rounds takes a whole number")?,
            "--seconds" => {
                let seconds = value()?.parse().context("--seconds takes a number")?;
                effort.time = Duration::try_from_secs_f64(seconds)
                    .context("--seconds takes a time that can be waited")?;
            }
            other => bail!("{other}: it takes --rounds N and --seconds S"),
        }
    }
    ensure!(effort.rounds > 0 && !effort.time.is_zero(), "there should be a round, and time for it");
    Ok(is_bench.then_some(effort))
}

fn run(effort: &Effort) -> Result<()> {
    ensure!(
        rustix::process::geteuid().is_root(),
        "this makes network namespaces and loads programs: it takes root"
    );
    let machine = Machine::current()?;
    let before = Strain::now()?;
    println!("{machine}");
    println!("cargo bench -p nexin-testbed --bench path\n");
    let stages = stages()?;
    judge(&stages, &machine)?;
    carry(&stages, &machine, effort)?;
    let after = Strain::now()?;
    println!(
        "Tasks ready to run, on average of a minute: {:.1} before, {:.1} after (this makes 1 to 2 itself). CPU time \
         that the hypervisor gave to others meanwhile: {:.1} s.",
        before.ready,
        after.ready,
        after.stolen - before.stolen
    );
    Ok(())
}

/// A stage for each set-up; nftables may be missing, nothing else may.
fn stages() -> Result<Vec<Stage>> {
    let mut stages = Vec::new();
    for between in Between::ALL {
        match Stage::new(between) {
            Ok(stage) => stages.push(stage),
            Err(error) if between == Between::Nftables => println!("left out: {error:#}\n"),
            Err(error) => return Err(error),
        }
    }
    Ok(stages)
}

fn judge(stages: &[Stage], machine: &Machine) -> Result<()> {
    let stage = |between| {
        let stage = stages.iter().find(|stage| stage.between == between);
        stage.expect("there is no bench without this stage")
    };
    let (enforced, unenforced) = (stage(Between::Policy), stage(Between::NoPolicy));
    let cpu = machine.together().client;
    let measured = enforced.node.enter(|| {
        stay_on(cpu)?;
        judging::measure(enforced, unenforced)
    });
    println!("{}", judging::explanation());
    print(&measured??);
    Ok(())
}

/// Measures traffic on every stage in turn, round by round, so that a slow phase of the machine affects all of them.
fn carry(stages: &[Stage], machine: &Machine, effort: &Effort) -> Result<()> {
    println!(
        "TCP over IPv4 between two workloads, {} rounds of {} s each; medians, and ratios to the first of the same \
         round (the half in the middle).\nNexin judges twice, at the sender's and at the receiver's interface; its events are \
         read meanwhile.\n",
        effort.rounds,
        effort.time.as_secs_f64()
    );
    let apart = machine.apart().unwrap_or(machine.together());
    for (exchange, places) in [
        (Exchange::RoundTrips, machine.together()),
        (Exchange::RoundTrips, apart),
        (Exchange::Bytes, apart),
        (Exchange::Connections, apart),
    ] {
        let rates = rates(stages, exchange, places, effort)?;
        println!("{}; {places}", exchange.name());
        let (unit, scale) = exchange.unit();
        let mut table = Table::new(&["between them", unit, "ratio"]);
        for (stage, measured) in stages.iter().zip(&rates) {
            let ratio = spread(&ratios(measured, &rates[0]));
            table.push([stage.between.name().into(), grouped(median(measured) * scale), ratio]);
        }
        print(&table);
    }
    Ok(())
}

/// What each stage carried in each round.
fn rates(stages: &[Stage], exchange: Exchange, places: Places, effort: &Effort) -> Result<Vec<Vec<f64>>> {
    let mut rates = vec![Vec::new(); stages.len()];
    for round in 0..effort.rounds {
        // Each round begins with another stage: to be the first may be an advantage.
        for turn in 0..stages.len() {
            let index = (round + turn) % stages.len();
            let rate = traffic::measure(&stages[index], exchange, places, effort.time);
            rates[index].push(rate.with_context(|| stages[index].between.name())?);
        }
    }
    Ok(rates)
}

fn print(table: &Table) {
    table.lines().iter().for_each(|line| println!("{line}"));
    println!();
}
