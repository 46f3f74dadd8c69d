//! Nanoseconds per packet: frames through the loaded programs by the kernel's test-run.

use crate::figures::{Table, grouped, median};
use crate::population::WORKLOADS;
use crate::stage::{ALLOWED_PORT, CLIENT, DENIED_PORT, Door, SERVER, Stage};
use abi::Hook;
use anyhow::{Context, Result, ensure};
use datapath::craft::{self, Craft, flag};
use loader::{Baseline, EventRing, Loaded, ProgramAction};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// The number of passes; each measures every kind of packet, so that a slow phase of the machine affects all kinds.
const PASSES: u16 = 10;
/// Calls of one run each, in a pass.
const SINGLE_RUNS: u16 = 500;
/// Calls of many runs each, in a pass.
const ROWS: usize = 20;
/// Runs of such a call. A program that forwards takes one off the hop limit, so that one frame lasts for 254 runs.
const RUNS_IN_A_ROW: u32 = 200;
/// Hop limit of frames.
const HOP_LIMIT: u8 = 255;
/// The event ring is emptied after this many calls: a report that finds no room would cost less than it does.
const CALLS_BETWEEN_READS: usize = 100;
/// Source port of the flow that is established.
const KNOWN_PORT: u16 = 10_000;
/// Source ports of new flows begin here.
const FIRST_NEW_PORT: u16 = 20_000;

/// A kind of packet from client to server, at a program of one of their interfaces.
struct Case<'a> {
    loaded: &'a Loaded,
    hook: Hook,
    interface: u32,
    client: IpAddr,
    server: IpAddr,
    flow: Flow,
}

/// The conntrack state of a packet's flow.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
    /// Established: both ends have sent.
    Established,
    /// No conntrack entry, and policy allows the packet: policy lookup, a new entry, a reported flow.
    New,
    /// No conntrack entry, and policy refuses the packet: policy lookup, a reported drop.
    Denied,
}

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

/// Measures every kind of packet; the calling thread must be in the node's namespace.
pub(crate) fn measure(stage: &Stage) -> Result<Table> {
    let loaded = stage.loaded.as_ref().context("there are no programs to run")?;
    let mut events = loaded.events()?;
    let baseline = Baseline::load()?;
    let mut nothing = Times::default();
    let mut cases: Vec<_> = cases(stage, loaded).into_iter().map(|case| (case, Times::default())).collect();
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

fn cases<'a>(stage: &Stage, loaded: &'a Loaded) -> Vec<Case<'a>> {
    let mut cases = Vec::new();
    for (hook, door) in [(Hook::FromWorkload, &stage.client), (Hook::ToWorkload, &stage.server)] {
        let Door { interface, .. } = *door;
        for (client, server) in CLIENT.into_iter().zip(SERVER) {
            let flows = [Flow::Established, Flow::New, Flow::Denied];
            cases.extend(flows.map(|flow| Case { loaded, hook, interface, client, server, flow }));
        }
    }
    cases
}

impl Case<'_> {
    /// Measures once.
    fn run(&self, pass: u16, times: &mut Times, events: &mut EventRing) -> Result<()> {
        if self.flow == Flow::Established {
            self.establish()?;
        }
        for run in 0..SINGLE_RUNS {
            let frame = self.segment(pass * SINGLE_RUNS + run).frame();
            times.alone.push(self.test_run(&frame, self.expected())?);
            if usize::from(run).is_multiple_of(CALLS_BETWEEN_READS) {
                events.for_each(drop);
            }
        }
        if self.flow != Flow::New {
            let frame = self.segment(0).frame();
            for _ in 0..ROWS {
                let time = self.loaded.measure(self.hook, &frame, self.interface, RUNS_IN_A_ROW)?;
                times.in_a_row.push(time);
                events.for_each(drop);
            }
        }
        Ok(())
    }

    /// Sends the first segment of the flow that is established, and its answer.
    fn establish(&self) -> Result<()> {
        let [client, server] = self.ends(KNOWN_PORT, ALLOWED_PORT);
        self.test_run(&craft::tcp(client, server).frame(), self.expected())?;
        let back = if self.hook == Hook::FromWorkload { Hook::ToWorkload } else { Hook::FromWorkload };
        let answer = craft::tcp(server, client).flags(flag::SYN | flag::ACK).frame();
        let run = self.loaded.test_run(back, &answer, 0, self.interface)?;
        ensure!(run.action != ProgramAction::Drop, "{self}: the answer is dropped");
        Ok(())
    }

    fn test_run(&self, frame: &[u8], expected: ProgramAction) -> Result<Duration> {
        let run = self.loaded.test_run(self.hook, frame, 0, self.interface)?;
        ensure!(run.action == expected, "{self}: {:?} should be {expected:?}", run.action);
        Ok(run.duration)
    }

    /// The packet; a new flow has a number of its own.
    fn segment(&self, number: u16) -> Craft {
        let ([client, server], flags) = match self.flow {
            Flow::Established => (self.ends(KNOWN_PORT, ALLOWED_PORT), flag::ACK),
            Flow::New => (self.ends(FIRST_NEW_PORT + number, ALLOWED_PORT), flag::SYN),
            Flow::Denied => (self.ends(KNOWN_PORT, DENIED_PORT), flag::SYN),
        };
        craft::tcp(client, server).flags(flags).hop_limit(HOP_LIMIT)
    }

    fn ends(&self, client: u16, server: u16) -> [SocketAddr; 2] {
        [(self.client, client).into(), (self.server, server).into()]
    }

    /// What becomes of the packet; one that is allowed goes from the sender's program to the receiver's interface.
    fn expected(&self) -> ProgramAction {
        match (self.flow, self.hook) {
            (Flow::Denied, _) => ProgramAction::Drop,
            (_, Hook::FromWorkload) => ProgramAction::Redirect,
            _ => ProgramAction::Pass,
        }
    }
}

impl Times {
    fn add_baseline(&mut self, baseline: &Baseline) -> Result<()> {
        let frame = craft::tcp((CLIENT[0], KNOWN_PORT).into(), (SERVER[0], ALLOWED_PORT).into()).frame();
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

impl fmt::Display for Case<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let family = if self.client.is_ipv4() { "IPv4" } else { "IPv6" };
        let flow = match self.flow {
            Flow::Established => "established flow",
            Flow::New => "new allowed flow",
            Flow::Denied => "denied flow",
        };
        write!(f, "{}, {family}, {flow}", self.hook)
    }
}
