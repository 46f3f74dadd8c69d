//! `nexin policy diff`: the connections whose verdict differs between two sets of policies.

mod api_servers;
mod breadth;
mod change;
mod end_group;
mod flows;
mod groups;
mod judge;
mod kinds;
mod naming;
mod outsiders;
mod synthetic;
mod traffic;

use super::cluster::{self, ClusterOptions};
use super::count::count;
use super::manifest_files::{self, Depth, ManifestFile};
use super::scenario::Scenario;
use crate::outcome::{BadInput, Outcome};
use crate::session::{Session, Tone};
use breadth::{Breadth, TooMany};
use change::Difference;
use clap::Args;
use std::collections::BTreeSet;
use std::path::PathBuf;

/// List the connections whose verdict differs between two sets of policies; exits with 1 if there are any
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  nexin policy diff deployed/ proposed/\n  \
        nexin policy diff --workloads pods.yaml old.yaml new.yaml\n  \
        nexin policy diff --cluster proposed/\n  \
        nexin observe -o json > flows.json; nexin policy diff --flows flows.json old/ new/\n\n\
    Connections are compared between all workloads, and between them and the CIDR blocks, domains and nodes that rules name, for every \
    port that rules distinguish, over IPv4 and IPv6. The workloads are given by --workloads, else by the compared files, else \
    by a running agent, else generated. Before the answer is \"no connection changes verdict\", everything that rules \
    distinguish is compared: generated workloads and nodes with each combination of labels that selectors name, at each \
    block, and domain names for each combination of patterns. With --workloads no further workloads are \
    generated. With --flows only recorded connections are compared. Exit codes: 0 no verdict changes; 1 some do; 2 invalid \
    input, or too many combinations.")]
pub(crate) struct Diff {
    /// The present policies and the proposed ones, each a file or a directory; with --cluster only the proposed ones
    #[arg(required = true, num_args = 1..=2, value_names = ["OLD", "NEW"])]
    sides: Vec<PathBuf>,
    /// Workloads to compare: Pods and their controllers, Namespaces, or PolicyTest documents; may be repeated
    #[arg(long, value_name = "PATH")]
    workloads: Vec<PathBuf>,
    #[command(flatten)]
    depth: Depth,
    #[command(flatten)]
    cluster: ClusterOptions,
    /// Compare recorded connections, as `nexin observe -o json` prints them; - for standard input
    #[arg(long, value_name = "PATH")]
    flows: Option<PathBuf>,
}

impl Diff {
    pub(super) fn run(self, session: &Session) -> anyhow::Result<Outcome> {
        let [old, new] = self.sides()?;
        let mut worlds = [Scenario::read(session, &old)?, Scenario::read(session, &new)?];
        if !self.workloads.is_empty() {
            let given = Scenario::read_ends(session, &manifest_files::read(&self.workloads, self.depth)?)?;
            worlds.iter_mut().for_each(|world| world.take_ends(&given));
        }
        let (differences, summary) = match &self.flows {
            Some(path) => flows::compare(&worlds, path)?,
            None => compare(&worlds, session, !self.workloads.is_empty())?,
        };
        let notes: BTreeSet<&String> = worlds.iter().flat_map(|world| &world.notes).collect();
        notes.iter().for_each(|note| session.print_error_line(note));
        print(session, &differences, &summary)?;
        Ok(if differences.is_empty() { Outcome::Holds } else { Outcome::Fails })
    }
}

impl Diff {
    /// The files of both sides.
    fn sides(&self) -> anyhow::Result<[Vec<ManifestFile>; 2]> {
        let read = |side: &PathBuf| manifest_files::read(std::slice::from_ref(side), self.depth);
        match (&self.sides[..], self.cluster.is_given()) {
            ([old, new], false) => Ok([read(old)?, read(new)?]),
            ([new], true) => {
                let (cluster, new) = (self.cluster.read()?, read(new)?);
                Ok([cluster.clone(), cluster::applied(cluster, new)])
            }
            (_, true) => {
                Err(BadInput("the cluster has the present policies; give only the proposed ones".into()).into())
            }
            (_, false) => Err(BadInput(
                "give the proposed policies too: nexin policy diff OLD NEW, or compare with a cluster: --cluster NEW".into(),
            )
            .into()),
        }
    }
}

/// The differences, and a summary of what was compared. If the known workloads show no difference, everything that
/// rules distinguish is compared.
fn compare(
    worlds: &[Scenario; 2],
    session: &Session,
    is_given: bool,
) -> anyhow::Result<(Vec<Difference>, String)> {
    let compare_all = |breadth| -> Result<_, TooMany> {
        let compared = groups::gather(worlds, session, breadth, is_given)?;
        let workloads = compared.groups.iter().map(|group| group.workloads()).sum::<usize>();
        let summary = format!("{}, {}", count(workloads, "workload"), compared.origin);
        Ok((judge::compare(worlds, &compared, breadth)?, summary))
    };
    let known = compare_all(Breadth::Known);
    match known {
        Ok((differences, summary)) if !differences.is_empty() => return Ok((differences, summary)),
        _ if worlds[0].is_same_as(&worlds[1]) => {}
        _ => {
            let of_known = known.map(|(_, summary)| summary).ok();
            return compare_all(Breadth::Everything)
                .map_err(|error| too_many(&error, of_known.as_deref()).into());
        }
    }
    Ok(known.unwrap_or_else(|_| (Vec::new(), "both sides are the same".to_owned())))
}

fn too_many(error: &TooMany, known: Option<&str>) -> BadInput {
    let known =
        known.map_or_else(String::new, |known| format!("none does between the known ones ({known}), but "));
    BadInput(format!(
        "cannot determine whether a connection changes verdict: {known}{error}; compare fewer policies at a time, or give the \
         workloads with --workloads PATH"
    ))
}

fn print(session: &Session, differences: &[Difference], compared: &str) -> anyhow::Result<()> {
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
    session.print_line(&session.paint(Tone::Strong, &format!("{summary} ({compared})")))?;
    Ok(())
}
