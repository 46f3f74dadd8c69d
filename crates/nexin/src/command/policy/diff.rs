//! `nexin policy diff`: which connections change verdict between two sets of policies.

mod change;
mod flows;
mod judge;
mod naming;
mod parties;
mod synthetic;
mod traffic;

use super::count;
use super::manifest_files::Depth;
use super::scenario::Scenario;
use crate::outcome::Outcome;
use crate::session::{Session, Tone};
use change::Difference;
use clap::Args;
use std::collections::BTreeSet;
use std::path::PathBuf;

/// Tell which connections change verdict between two sets of policies; fails where some do
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  nexin policy diff deployed/ proposed/\n  \
        nexin policy diff --workloads pods.yaml old.yaml new.yaml\n  \
        nexin observe -o json > flows.json; nexin policy diff --flows flows.json old/ new/\n\n\
    Every workload is asked about every other, about the blocks, domains and nodes that rules name, and about every \
    port that rules tell apart, by both families. Workloads are those of --workloads, else of the files compared, else \
    of a running agent, else one is made up for each selector; a node is made up for each that selects none of those \
    given. With --flows only connections that happened are asked \
    about. Exit codes: 0 nothing changes; 1 something does; 2 wrong input.")]
pub(crate) struct Diff {
    /// The policies as they are: a file or a directory
    #[arg(value_name = "OLD")]
    old: PathBuf,
    /// The policies as they would be
    #[arg(value_name = "NEW")]
    new: PathBuf,
    /// Whom to ask about: Pods and their controllers, Namespaces, or PolicyTest documents; may be repeated
    #[arg(long, value_name = "PATH")]
    workloads: Vec<PathBuf>,
    #[command(flatten)]
    depth: Depth,
    /// Ask about connections that happened, as `nexin observe -o json` prints them; - for standard input
    #[arg(long, value_name = "PATH")]
    flows: Option<PathBuf>,
}

impl Diff {
    pub(super) fn run(self, session: &Session) -> anyhow::Result<Outcome> {
        let read = |paths: &[PathBuf]| Scenario::read(session, paths, self.depth);
        let mut worlds = [read(&[self.old])?, read(&[self.new])?];
        if !self.workloads.is_empty() {
            let given = Scenario::read_people(session, &self.workloads, self.depth)?;
            worlds.iter_mut().for_each(|world| world.take_people(&given));
        }
        let (differences, asked) = match &self.flows {
            Some(path) => flows::compare(&worlds, path)?,
            None => {
                let cast = parties::gather(&worlds, session);
                let workloads = cast.parties.iter().map(|party| party.workloads()).sum::<usize>();
                let asked = format!("{}, {}", count(workloads, "workload"), cast.origin);
                (judge::compare(&worlds, &cast), asked)
            }
        };
        let notes: BTreeSet<&String> = worlds.iter().flat_map(|world| &world.notes).collect();
        notes.iter().for_each(|note| session.print_error_line(note));
        print(session, &differences, &asked)?;
        Ok(if differences.is_empty() { Outcome::Holds } else { Outcome::Fails })
    }
}

fn print(session: &Session, differences: &[Difference], asked: &str) -> anyhow::Result<()> {
    if session.is_json() {
        session.print_json(&differences)?;
        return Ok(());
    }
    for difference in differences {
        let tone = if difference.opens() { Tone::Good } else { Tone::Bad };
        session.print_line(&session.paint(tone, &difference.headline()))?;
        difference.grounds().iter().try_for_each(|line| session.print_line(line))?;
    }
    let summary = match differences.len() {
        0 => "no connection changes verdict".to_owned(),
        some => count(some, "difference"),
    };
    session.print_line(&session.paint(Tone::Strong, &format!("{summary} ({asked})")))?;
    Ok(())
}
