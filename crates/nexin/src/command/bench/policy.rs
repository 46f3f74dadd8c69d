//! `nexin bench policy`: measures how fast policies are compiled to map entries, and the cost of a large world.

use super::churn::{self, Churn};
use super::cold_start::{self, ColdStart};
use super::compile::{self, Compilation};
use super::machine::{Machine, Memory};
use super::tables::Tables;
use super::world::LargeWorld;
use crate::outcome::Outcome;
use crate::session::{Session, Tone};
use crate::table::Table;
use clap::Args;
use serde::Serialize;
use std::io;
use std::num::NonZeroUsize;

/// Measure how fast policies are compiled to map entries, and the cost of a large world
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  nexin bench policy --check -o json\n\nMap entries are written to kernel maps created for \
                        the benchmark, which no program uses; without root or BPF, to a table in memory. The \
                        figures are explained in docs/benchmarks.md."
)]
pub(crate) struct PolicyBenchmark {
    /// Exit with 1 if a target is missed
    #[arg(long)]
    check: bool,
    /// Namespaces of the large world; targets are for the default
    #[arg(long, value_name = "N", default_value = "1000")]
    namespaces: NonZeroUsize,
    /// Number of random changes of each kind
    #[arg(long, value_name = "N", default_value = "1000")]
    changes: NonZeroUsize,
}

/// All figures of one run.
#[derive(Debug, Serialize)]
struct Report {
    machine: Machine,
    /// Where map entries were written: `kernel` or `memory`.
    tables: &'static str,
    /// Why not to the kernel.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    compile: [Compilation; 3],
    cold_start: ColdStart,
    changes: Vec<Churn>,
    memory: MemoryFigure,
}

/// Memory of the process after all changes, and its peak.
#[derive(Debug, Serialize)]
struct MemoryFigure {
    #[serde(flatten)]
    end: Memory,
    target_peak_mb: f64,
    met: bool,
}

/// Target of the process's peak memory.
const TARGET_PEAK_MB: f64 = 150.0;

impl PolicyBenchmark {
    pub(crate) fn run(self, session: &Session) -> anyhow::Result<Outcome> {
        let large = LargeWorld::new(self.namespaces.get());
        let machine = Machine::current();
        let (mut tables, reason) = Tables::open();
        session.print_error_line(&format!(
            "cold start: {} policies, {} pods",
            large.policies(),
            large.pods()
        ));
        // First, so that no other benchmark contributes to its memory.
        let (cold_start, mut world) = cold_start::measure(&large, &mut tables)?;
        session.print_error_line(&format!("changes: {} of each kind", self.changes));
        let changes = churn::measure(&large, &mut world, &mut tables, self.changes.get())?;
        let end = Memory::now()?;
        drop(world);
        session.print_error_line("one subject's policies");
        let report = Report {
            machine,
            tables: if reason.is_none() { "kernel" } else { "memory" },
            reason,
            compile: compile::measure(),
            cold_start,
            changes,
            memory: MemoryFigure { end, target_peak_mb: TARGET_PEAK_MB, met: end.peak_mb < TARGET_PEAK_MB },
        };
        if session.is_json() {
            session.print_json(&report)?
        } else {
            report.print(session)?
        }
        Ok(if self.check && !report.is_met() { Outcome::Fails } else { Outcome::Holds })
    }
}

impl Report {
    fn is_met(&self) -> bool {
        self.compile.iter().all(|case| case.met)
            && self.changes.iter().all(|churn| churn.met)
            && self.memory.met
    }

    fn print(&self, session: &Session) -> io::Result<()> {
        let Machine { processor, cpus, kernel, load, is_optimised, command } = &self.machine;
        session.print_line(&format!("Linux {kernel}, {processor}, CPUs: {cpus}, load: {load}"))?;
        session.print_line(command)?;
        if !is_optimised {
            session.print_line(&session.paint(Tone::Bad, "a debug build: the figures are meaningless"))?;
        }
        session.print_line(&match &self.reason {
            None => "map entries are written to kernel maps".to_owned(),
            Some(reason) => {
                format!("map entries are written to a table, which is part of the memory figures: {reason}")
            }
        })?;
        heading(session, "One subject's policies, resolved and compiled to rows")?;
        session.print_table(&compilations(&self.compile))?;
        let submitting = self.compile.each_ref().map(|case| format!("{:.1}", case.submit_ms)).join(", ");
        session.print_line(&format!("not counted: submitting the policies, once: {submitting} ms"))?;
        self.print_world(session)?;
        heading(session, "One change of it, to the last map write")?;
        session.print_table(&churns(&self.changes))
    }

    fn print_world(&self, session: &Session) -> io::Result<()> {
        let start = &self.cold_start;
        heading(session, "The large world")?;
        let mut table = Table::new(["what", "figure", "target", "met"]);
        let mut push = |what: &str, figure: String| table.push([what.into(), figure, "".into(), "".into()]);
        push("namespaces", start.namespaces.to_string());
        push("policies", start.policies.to_string());
        push("pods, all on this node", start.pods.to_string());
        push("identities", start.identities.to_string());
        push("cold start, from changes to writes", format!("{:.0} ms", start.compute_ms));
        push("cold start, map writes", format!("{:.0} ms", start.write_ms));
        push("not counted: reading the manifests", format!("{:.0} ms", start.read_ms));
        for (map, rows) in &start.rows {
            push(&format!("rows of {map}"), rows.to_string());
        }
        push("resident memory before", format!("{:.1} MB", start.before.resident_mb));
        push("resident memory after the start", format!("{:.1} MB", start.after.resident_mb));
        push("its peak until then", format!("{:.1} MB", start.after.peak_mb));
        push("resident memory after all changes", format!("{:.1} MB", self.memory.end.resident_mb));
        table.push([
            "its peak over all".into(),
            format!("{:.1} MB", self.memory.end.peak_mb),
            format!("< {TARGET_PEAK_MB:.0} MB"),
            yes_or_no(self.memory.met),
        ]);
        session.print_table(&table)
    }
}

fn heading(session: &Session, text: &str) -> io::Result<()> {
    session.print_line(&format!("\n{}", session.paint(Tone::Strong, text)))
}

fn compilations(cases: &[Compilation]) -> Table<10> {
    let mut table = Table::new([
        "case",
        "median",
        "min",
        "p99",
        "rows",
        "address rows",
        "incumbent",
        "ratio",
        "target",
        "met",
    ]);
    for case in cases {
        let rows = case.incumbent_rows.map(|rows| format!(", {rows} rows")).unwrap_or_default();
        table.push([
            case.case.into(),
            format!("{:.3} ms", case.median_ms),
            format!("{:.3} ms", case.min_ms),
            format!("{:.3} ms", case.p99_ms),
            case.rows.to_string(),
            case.address_rows.to_string(),
            format!("{:.1} ms{rows}", case.incumbent_ms),
            format!("{:.1}x", case.ratio),
            format!("{:.2} ms", case.target_ms),
            yes_or_no(case.met),
        ]);
    }
    table
}

fn churns(kinds: &[Churn]) -> Table<8> {
    let mut table =
        Table::new(["change", "p50", "p99", "max", "p50 of writes", "rows p50/p99/max", "target p99", "met"]);
    for kind in kinds {
        table.push([
            kind.change.into(),
            format!("{:.3} ms", kind.p50_ms),
            format!("{:.3} ms", kind.p99_ms),
            format!("{:.3} ms", kind.max_ms),
            format!("{:.3} ms", kind.write_p50_ms),
            format!("{}/{}/{}", kind.rows_p50, kind.rows_p99, kind.rows_max),
            format!("< {:.0} ms", kind.target_p99_ms),
            yes_or_no(kind.met),
        ]);
    }
    table
}

fn yes_or_no(met: bool) -> String {
    if met { "yes" } else { "no" }.to_owned()
}
