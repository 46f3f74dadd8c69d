//! A third opinion: this implementation and the incumbent's policy library read random documents, and their verdicts are
//! compared.
#![cfg_attr(
    not(feature = "incumbent"),
    expect(dead_code, reason = "the comparison needs a program in Go: make differential-incumbent")
)]

mod difference;
mod documents;
mod opinions;
mod process;
mod readings;
mod smallest;
mod tally;
mod world;

use datapath::native::Tables;
use difference::{Between, modern};
use opinions::IncumbentVerdict;
use process::Incumbent;
use serde_json::Value;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tally::Tally;
use testbed::{CompiledRows, Engine, Model};

/// Probes of each world.
const PROBES: usize = 60;
/// The number of differences that are reduced and shown, unless the environment names another.
const SHOWN: u64 = 5;

/// The number in a variable of the environment.
fn number(variable: &str, otherwise: u64) -> u64 {
    let asked = std::env::var(variable).ok();
    asked.map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{variable} is a number")))
}

#[cfg_attr(feature = "incumbent", test)]
fn the_incumbent_agrees_but_where_we_differ_on_purpose() {
    let program = std::env::var_os("NEXIN_INCUMBENT").map(PathBuf::from);
    let program = program.expect("NEXIN_INCUMBENT is the program that scripts/incumbent builds");
    let incumbent = Incumbent::open(&program).expect("the program runs");
    let (first, worlds) = (number("NEXIN_SEED", 0), number("NEXIN_WORLDS", 10_000));
    eprintln!("{worlds} worlds from seed {first} on");
    let most = number("NEXIN_DIFFERENCES", SHOWN) as usize;
    let mut comparison = Comparison::new(incumbent);
    for seed in first..first + worlds {
        comparison.of(seed);
        if comparison.shown.len() >= most {
            break;
        }
    }
    eprintln!("{}", comparison.tally);
    let shown = comparison.shown;
    assert!(shown.is_empty(), "{} differences:\n\n{}", shown.len(), shown.join("\n---\n"));
    comparison.tally.check();
}

/// Worlds being compared.
struct Comparison {
    incumbent: Incumbent,
    rows: CompiledRows<Tables>,
    tally: Tally,
    shown: Vec<String>,
    reported: Instant,
}

impl Comparison {
    fn new(incumbent: Incumbent) -> Self {
        let rows = CompiledRows::new(Tables::new());
        Self { incumbent, rows, tally: Tally::default(), shown: Vec::new(), reported: Instant::now() }
    }

    /// Compares the three verdicts in the world of a seed.
    fn of(&mut self, seed: u64) {
        let mut test = world::world(seed);
        self.leave_out_what_we_refuse(&mut test);
        if let Err(error) = world::add_probes(&mut test, seed, PROBES) {
            return self.tally.note_refusal("we", "a world", &error);
        }
        let Some(theirs) = self.ask(&mut test) else { return };
        self.tally.worlds += 1;
        self.compare(&test, &theirs, seed);
        if self.reported.elapsed() > Duration::from_secs(5) {
            self.reported = Instant::now();
            let Tally { worlds, probes, .. } = &self.tally;
            eprintln!("{worlds} worlds, {probes} probes, {} differences; at seed {seed}", self.shown.len());
        }
    }

    fn compare(&mut self, test: &Value, theirs: &[IncumbentVerdict], seed: u64) {
        let read = opinions::read(test).expect("it was read before");
        let constructs = tally::constructs(&opinions::policies(&read.state));
        let mut model = Model::default();
        model.prepare(&read.state).expect("the model accepts every world");
        self.rows.prepare(&read.state).expect("rows are compiled of every world");
        for (at, (probe, theirs)) in read.probes.iter().zip(theirs).enumerate() {
            let crossing = opinions::crossing(&read.state, probe).expect("the probe is one of this world");
            let ours = model.ask(&crossing).expect("the model has an answer to every crossing");
            let rows = self.rows.ask(&crossing).expect("rows have an answer to every crossing");
            self.tally.note(&ours, *theirs, &constructs);
            if ours.verdict == rows.verdict && theirs.agrees(ours.verdict) {
                continue;
            }
            if ours.verdict == rows.verdict
                && let Some(readings) = readings::explain(test, at, *theirs)
            {
                self.tally.note_difference(&readings);
                continue;
            }
            let between = if ours.verdict == rows.verdict { Between::Incumbent } else { Between::Ours };
            let text = difference::small(&mut self.incumbent, test, at, between);
            let text = text.unwrap_or_else(|| format!("only after other worlds: {probe:?}"));
            self.shown.push(format!("# seed {seed}\n{text}"));
            return;
        }
    }

    /// Removes the documents that the manifest reader refuses from a test.
    fn leave_out_what_we_refuse(&mut self, test: &mut Value) {
        if opinions::read(test).is_ok() {
            return;
        }
        let listed = std::mem::take(&mut test["spec"]["policies"]);
        let mut taken = Vec::new();
        for document in listed.as_array().expect("there is a list of manifests") {
            test["spec"]["policies"] = vec![document.clone()].into();
            match opinions::read(test) {
                Ok(_) => taken.push(document.clone()),
                Err(why) => self.tally.note_refusal("we", kind(document), &why),
            }
        }
        test["spec"]["policies"] = taken.into();
    }

    /// The incumbent's verdicts on the probes, after the documents that it refuses were removed from the test.
    fn ask(&mut self, test: &mut Value) -> Option<Vec<IncumbentVerdict>> {
        loop {
            let reply = self.incumbent.ask(&modern(test)).expect("the program answers");
            if !reply.error.is_empty() {
                self.tally.note_refusal("the incumbent", "a world", &reply.error);
                return None;
            }
            if reply.refused.is_empty() {
                return Some(reply.verdicts.into_iter().map(IncumbentVerdict::from).collect());
            }
            let documents = test["spec"]["policies"].as_array_mut().expect("there is a list of manifests");
            for (at, why) in reply.refused.iter().rev() {
                let document = documents.remove(*at);
                self.tally.note_refusal("the incumbent", kind(&document), why);
            }
        }
    }
}

fn kind(document: &Value) -> &str {
    document["kind"].as_str().unwrap_or("a document")
}
