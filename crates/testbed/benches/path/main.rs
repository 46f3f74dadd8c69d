//! Measures the packet path: nanoseconds per packet, and TCP between two workloads, beside routing and nftables.
#![forbid(unsafe_code)]

mod cases;
mod figures;
mod judging;
mod machine;
mod nftables;
mod population;
mod setup;
mod start;
mod traffic;

use anyhow::{Context, Result, bail, ensure};
use figures::{Table, grouped, median, ratios, spread};
use machine::{Machine, Places, Strain, stay_on};
use setup::{Between, Setup};
use start::start;
use std::process::ExitCode;
use std::time::Duration;
use traffic::{Carried, TrafficPattern};

/// How much is measured.
struct Effort {
    rounds: usize,
    time: Duration,
    /// The only traffic that is measured; none where everything is.
    only: Option<TrafficPattern>,
}

fn main() -> ExitCode {
    start(effort(std::env::args().skip(1)), run)
}

/// Reads `--rounds N`, `--seconds S` and `--traffic NAME`; nothing is to be done unless cargo says that this is a benchmark.
fn effort(mut arguments: impl Iterator<Item = String>) -> Result<Option<Effort>> {
    let mut effort = Effort { rounds: 20, time: Duration::from_millis(250), only: None };
    let mut is_bench = false;
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().with_context(|| format!("{argument}: a value should follow"));
        match argument.as_str() {
            "--bench" => is_bench = true,
            "--rounds" => effort.rounds = value()?.parse().context("--rounds takes a whole number")?,
            "--seconds" => {
                let seconds = value()?.parse().context("--seconds takes a number")?;
                effort.time = Duration::try_from_secs_f64(seconds)
                    .context("--seconds takes a time that can be waited")?;
            }
            "--traffic" => {
                let name = value()?;
                let pattern = TrafficPattern::from_option(&name);
                effort.only = Some(pattern.with_context(|| format!("--traffic has no {name}"))?);
            }
            other => bail!("{other}: it takes --rounds N, --seconds S and --traffic NAME"),
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
    let setups = setups()?;
    if effort.only.is_none() {
        judge(&setups, &machine)?;
    }
    carry(&setups, &machine, effort)?;
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

/// The nodes of all set-ups; nftables may be missing, nothing else may.
fn setups() -> Result<Vec<Setup>> {
    let mut setups = Vec::new();
    for between in Between::ALL {
        match Setup::new(between) {
            Ok(setup) => setups.push(setup),
            Err(error) if between == Between::Nftables => println!("left out: {error:#}\n"),
            Err(error) => return Err(error),
        }
    }
    Ok(setups)
}

fn judge(setups: &[Setup], machine: &Machine) -> Result<()> {
    let setup = |between| {
        let setup = setups.iter().find(|setup| setup.between == between);
        setup.expect("there is no bench without this set-up")
    };
    let (enforced, unenforced) = (setup(Between::Policy), setup(Between::NoPolicy));
    let cpu = machine.together().client;
    let measured = enforced.node.enter(|| {
        stay_on(cpu)?;
        judging::measure(enforced, unenforced)
    });
    println!("{}", judging::explanation());
    print(&measured??);
    Ok(())
}

/// Measures traffic on every set-up in turn, round by round, so that a slow phase of the machine affects all of them.
fn carry(setups: &[Setup], machine: &Machine, effort: &Effort) -> Result<()> {
    println!(
        "TCP over IPv4 between two workloads, {} rounds of {} s each; medians, and ratios to the first of the same \
         round (the half in the middle).\nNexin judges twice, at the sender's and at the receiver's interface; its events are \
         read and kept meanwhile, as by the agent. CPU time is that of client, server and the reader of events, for each \
         connection, round trip or byte.\n",
        effort.rounds,
        effort.time.as_secs_f64()
    );
    let apart = machine.apart().unwrap_or(machine.together());
    for (pattern, places) in [
        (TrafficPattern::RoundTrips, machine.together()),
        (TrafficPattern::RoundTrips, apart),
        (TrafficPattern::Bytes, apart),
        (TrafficPattern::Connections, apart),
    ] {
        if effort.only.is_some_and(|only| only != pattern) {
            continue;
        }
        let carried = carried(setups, pattern, places, effort)?;
        println!("{}; {places}", pattern.name());
        let (unit, scale) = pattern.unit();
        let mut table = Table::new(&["between them", unit, "ratio", "CPU time each"]);
        for (setup, measured) in setups.iter().zip(&carried) {
            let (rate, cost) = (rates(measured), costs(measured));
            let [rate_ratio, cost_ratio] = [(&rate, rates(&carried[0])), (&cost, costs(&carried[0]))]
                .map(|(own, first)| spread(&ratios(own, &first)));
            table.push([setup.between.name().into(), grouped(median(&rate) * scale), rate_ratio, cost_ratio]);
        }
        print(&table);
    }
    Ok(())
}

fn rates(carried: &[Carried]) -> Vec<f64> {
    carried.iter().map(|carried| carried.rate).collect()
}

fn costs(carried: &[Carried]) -> Vec<f64> {
    carried.iter().map(|carried| carried.cost).collect()
}

/// What each set-up carried in each round.
fn carried(
    setups: &[Setup],
    pattern: TrafficPattern,
    places: Places,
    effort: &Effort,
) -> Result<Vec<Vec<Carried>>> {
    let mut carried = vec![Vec::new(); setups.len()];
    for round in 0..effort.rounds {
        // Each round begins with another set-up: to be the first may be an advantage.
        for turn in 0..setups.len() {
            let index = (round + turn) % setups.len();
            let measured = traffic::measure(&setups[index], pattern, places, effort.time);
            carried[index].push(measured.with_context(|| setups[index].between.name())?);
        }
    }
    Ok(carried)
}

fn print(table: &Table) {
    table.lines().iter().for_each(|line| println!("{line}"));
    println!();
}
