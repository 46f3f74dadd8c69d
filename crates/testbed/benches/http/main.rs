//! Measures HTTP policy: CPU time of proxy and agent per request, beside Envoy with the same rules and beside a policy of ports.
#![forbid(unsafe_code)]

mod envoy;
#[path = "../path/figures.rs"]
mod figures;
mod load;
#[path = "../path/machine.rs"]
mod machine;
#[path = "../path/nftables.rs"]
mod nftables;
mod node;
mod options;
mod process;
mod rows;
mod rules;
#[path = "../path/start.rs"]
mod start;

use anyhow::{Result, ensure};
use envoy::Mode;
use figures::{Table, grouped, median, ratios, spread};
use machine::{Machine, Strain, stay_on};
use options::Options;
use rows::{Kind, Row, Sample, Stage};
use start::start;
use std::process::ExitCode;

fn main() -> ExitCode {
    start(Options::parse(std::env::args().skip(1)), run)
}

fn run(options: &Options) -> Result<()> {
    ensure!(
        rustix::process::geteuid().is_root(),
        "this makes network namespaces and starts agents: it takes root"
    );
    let machine = Machine::current()?;
    let before = Strain::now()?;
    println!("{machine}\ncargo bench -p nexin-testbed --bench http -- {}\n", options.arguments);
    let places = machine.apart().unwrap_or(machine.together());
    stay_on(places.server)?;
    let mut stage = Stage::new(options)?;
    explain(options);
    let spots = [("all on one CPU", places.server), ("the proxy on a CPU of its own", places.client)];
    for (name, cpu) in spots.into_iter().take(if places.client == places.server { 1 } else { 2 }) {
        println!("{} connections; {name}", options.connections);
        stage.place(cpu)?;
        let samples = measure(&mut stage, options, Row::requests)?;
        print(&requests(&stage.rows, &samples));
    }
    println!("New connections, one after another, each with one request; all on one CPU");
    stage.place(places.server)?;
    let samples = measure(&mut stage, options, Row::new_connections)?;
    print(&connections(&stage.rows, &samples));
    for line in stage.observed()? {
        println!("{line}");
    }
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

fn explain(options: &Options) {
    println!(
        "GET with a response of 21 bytes, one request at a time on each connection, {} rounds of {} s for each row, rows in \
         turn; medians, and in brackets the half of the rounds in the middle.\nCPU is the time on the processes' clocks per \
         request (clock_getcpuclockid).\nEnvoy has one worker, the same rules (RBAC) and no access log. It is measured \
         in two modes. Transparent: it has the original destination (nftables, TPROXY) and the client's address, and one \
         connection to the server for each of the client's, as Nexin's proxy has, which keeps the client's port too. \
         Reverse proxy: clients connect to Envoy itself, which has a pool of connections to the server and less work.\nThe ratios are requests per CPU-second of proxy and agent together, by Envoy's with as many rules in the \
         same round.\n",
        options.rounds,
        options.time.as_secs_f64()
    );
}

/// Samples of each row, by row and round. Each round begins with another row: to be the first may be an advantage.
fn measure(
    stage: &mut Stage,
    options: &Options,
    sample: impl Fn(&mut Row, &Options) -> Result<Sample>,
) -> Result<Vec<Vec<Sample>>> {
    let count = stage.rows.len();
    let mut samples = vec![Vec::new(); count];
    // The first round warms up, and is thrown away.
    for round in 0..=options.rounds {
        for turn in 0..count {
            let index = (round + turn) % count;
            let measured = stage.measure(index, options, &sample)?;
            if round > 0 {
                samples[index].push(measured);
            }
        }
    }
    Ok(samples)
}

fn requests(rows: &[Row], samples: &[Vec<Sample>]) -> Table {
    let mut table = Table::new(&[
        "between client and server",
        "requests/s",
        "by ports",
        "p50 us",
        "p99 us",
        "proxy us",
        "agent us",
        "both us",
        "of transparent",
        "of reverse proxy",
    ]);
    for (index, (row, measured)) in rows.iter().zip(samples).enumerate() {
        let ports = rows.iter().position(|row| row.kind == Kind::Ports).map(|index| &samples[index]);
        let by_ports =
            ports.map(|ports| spread(&ratios(&each(measured, Sample::rate), &each(ports, Sample::rate))));
        table.push([
            row.name.clone(),
            grouped(middle(measured, Sample::rate)),
            by_ports.unwrap_or_default(),
            grouped(middle(measured, |sample| sample.median)),
            grouped(middle(measured, |sample| sample.tail)),
            decimal(middle(measured, Sample::proxy)),
            decimal(middle(measured, Sample::agent)),
            decimal(middle(measured, Sample::both)),
            by_envoy(rows, samples, index, Mode::Transparent),
            by_envoy(rows, samples, index, Mode::Reverse),
        ]);
    }
    table
}

fn connections(rows: &[Row], samples: &[Vec<Sample>]) -> Table {
    let mut table = Table::new(&[
        "between client and server",
        "connections/s",
        "proxy us",
        "agent us",
        "both us",
        "of transparent",
        "of reverse proxy",
    ]);
    for (index, (row, measured)) in rows.iter().zip(samples).enumerate() {
        table.push([
            row.name.clone(),
            grouped(middle(measured, Sample::rate)),
            decimal(middle(measured, Sample::proxy)),
            decimal(middle(measured, Sample::agent)),
            decimal(middle(measured, Sample::both)),
            by_envoy(rows, samples, index, Mode::Transparent),
            by_envoy(rows, samples, index, Mode::Reverse),
        ]);
    }
    table
}

/// Requests per CPU-second of a row, by those of Envoy in this mode with as many rules.
fn by_envoy(rows: &[Row], samples: &[Vec<Sample>], index: usize, mode: Mode) -> String {
    let row = &rows[index];
    let peer = rows.iter().position(|peer| peer.kind == Kind::Envoy(mode) && peer.rules == row.rules);
    let (Some(peer), Kind::Nexin | Kind::Observed) = (peer, row.kind) else { return String::new() };
    spread(&ratios(&each(&samples[peer], Sample::both), &each(&samples[index], Sample::both)))
}

fn each(samples: &[Sample], value: impl Fn(&Sample) -> f64) -> Vec<f64> {
    samples.iter().map(value).collect()
}

fn middle(samples: &[Sample], value: impl Fn(&Sample) -> f64) -> f64 {
    median(&each(samples, value))
}

fn decimal(value: f64) -> String {
    if value == 0.0 { String::new() } else { format!("{value:.1}") }
}

fn print(table: &Table) {
    table.lines().iter().for_each(|line| println!("{line}"));
    println!();
}
