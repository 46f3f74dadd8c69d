//! Nanoseconds per packet: frames through the loaded programs by the kernel's test-run.

use crate::cases::{Case, FlowCase, ProxyConnection, cases};
use crate::figures::{Table, grouped, median};
use crate::population::WORKLOADS;
use crate::setup::{ALLOWED_PORT, CLIENT, SERVER, Setup};
use anyhow::{Context, Result, ensure};
use datapath::craft;
use loader::{Baseline, EventRings, ProgramAction};
use std::time::Duration;

/// The number of passes; each measures every kind of packet, so that a slow phase of the machine affects all kinds.
const PASSES: u16 = 10;
/// Calls of one run each, in a pass.
const SINGLE_RUNS: u16 = 500;
/// Calls of many runs each, in a pass.
const ROWS: usize = 20;
/// Runs of such a call. A program that forwards takes one off the hop limit, so that one frame lasts for 254 runs.
const RUNS_IN_A_ROW: u32 = 200;
/// The event ring is emptied after this many calls: a report that finds no room would cost less than it does.
const CALLS_BETWEEN_READS: usize = 100;

/// What single runs took.
#[derive(Default)]
struct Times {
    /// Each in a call of its own.
    alone: Vec<Duration>,
    /// Among many of the same frame; nothing where the second run would not be like the first.
    in_a_row: Vec<Duration>,
}

/// What the figures are of.
pub(crate) fn explanation() -> String {
    format!(
        "Nanoseconds per packet, as the kernel's test-run (BPF_PROG_TEST_RUN) tells them, pinned to one CPU; a node \
         of {WORKLOADS} workloads.\n\
         alone: one run in a call, median of {}; each new flow has a source port of its own.\n\
         in a row: {RUNS_IN_A_ROW} runs of the same frame in a call, median of {}.\n\
         All hold the test-run's own loop and clock, which is what a program that does nothing takes.\n\
         New and denied flows are reported to the event ring, which is emptied between calls.\n",
        PASSES * SINGLE_RUNS,
        usize::from(PASSES) * ROWS
    )
}

/// Measures every kind of packet; the calling thread must be in the namespace of the node that `enforced` is.
pub(crate) fn measure(enforced: &Setup, unenforced: &Setup) -> Result<Table> {
    let loaded = enforced.loaded.as_ref().context("there are no programs to run")?;
    let proxy = ProxyConnection::each()?;
    let mut events = loaded.events()?;
    let baseline = Baseline::load()?;
    let mut nothing = Times::default();
    let mut cases: Vec<_> =
        cases(enforced, unenforced, &proxy)?.into_iter().map(|case| (case, Times::default())).collect();
    for pass in 0..PASSES {
        nothing.add_baseline(&baseline)?;
        for (case, times) in &mut cases {
            case.run(pass, times, &mut events)?;
        }
    }
    let mut table = Table::new(&["packet", "alone", "in a row"]);
    table.push(nothing.cells("a program that does nothing".into()));
    cases.iter().for_each(|(case, times)| table.push(times.cells(case.to_string())));
    Ok(table)
}

impl Case<'_> {
    /// Measures once.
    fn run(&self, pass: u16, times: &mut Times, events: &mut EventRings) -> Result<()> {
        self.establish()?;
        for run in 0..SINGLE_RUNS {
            let frame = self.segment(pass * SINGLE_RUNS + run).frame();
            times.alone.push(self.test_run(&frame)?);
            if usize::from(run).is_multiple_of(CALLS_BETWEEN_READS) {
                events.batch().for_each(drop);
            }
        }
        if self.flow != FlowCase::New {
            let frame = self.segment(0).frame();
            for _ in 0..ROWS {
                let run = self.loaded.run(self.hook, &frame, self.packet, RUNS_IN_A_ROW)?;
                times.in_a_row.push(run.duration);
                events.batch().for_each(drop);
            }
        }
        Ok(())
    }

    /// Sends the first segment of the flow that is established, and its answer.
    fn establish(&self) -> Result<()> {
        for (hook, segment) in self.opening().into_iter().flatten() {
            let run = self.loaded.run(hook, &segment.frame(), self.packet, 1)?;
            ensure!(run.action != ProgramAction::Drop, "{self}: {hook} drops a segment of the handshake");
        }
        Ok(())
    }

    fn test_run(&self, frame: &[u8]) -> Result<Duration> {
        let run = self.loaded.run(self.hook, frame, self.packet, 1)?;
        let expected = self.expected();
        ensure!(run.action == expected, "{self}: {:?} should be {expected:?}", run.action);
        Ok(run.duration)
    }
}

impl Times {
    fn add_baseline(&mut self, baseline: &Baseline) -> Result<()> {
        let frame = craft::tcp((CLIENT[0], ALLOWED_PORT).into(), (SERVER[0], ALLOWED_PORT).into()).frame();
        for _ in 0..SINGLE_RUNS {
            self.alone.push(baseline.measure(&frame, 1)?);
        }
        for _ in 0..ROWS {
            self.in_a_row.push(baseline.measure(&frame, RUNS_IN_A_ROW)?);
        }
        Ok(())
    }

    fn cells(&self, name: String) -> [String; 3] {
        let cell = |times: &[Duration]| {
            let nanoseconds: Vec<_> = times.iter().map(|time| time.as_nanos() as f64).collect();
            if nanoseconds.is_empty() { "-".into() } else { grouped(median(&nanoseconds)) }
        };
        [name, cell(&self.alone), cell(&self.in_a_row)]
    }
}
