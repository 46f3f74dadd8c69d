//! Workloads over their life: made, taken over from an earlier run, missed, and removed, one or many at once.

use crate::addresses::Addresses;
use crate::agent::{Agent, said};
use crate::families;
use crate::kernel::Kernel;
use crate::state::{Stage, WorkloadRecord};
use crate::wiring::Wiring;
use anyhow::Context;
use control::Change;
use std::collections::{BTreeMap, BTreeSet};

/// What can be wrong with workloads, as status and log name it.
const REMOVAL: &str = "a workload that ended cannot be removed";
const INTERFACES: &str = "a workload without its interface";
const UNKNOWN: &str = "the interfaces of workloads are not known";
const ORPHANS: &str = "what is left of an earlier agent";

impl Agent {
    /// Makes a workload, which has its addresses already. What is to be made is written down first, so that an agent
    /// that starts after a crash removes what it finds of it.
    pub(crate) fn make_workload(&mut self, wanted: api::WorkloadSpec) -> anyhow::Result<()> {
        let id = self.wiring.free_number(self.state.last_endpoint)?;
        let mut workload = self.wiring.plan(id, wanted)?;
        self.state.last_endpoint = id;
        self.state.workloads.push(workload.clone());
        let noted = self.remember();
        let made = noted.and_then(|()| self.wiring.create(&mut self.kernel, &mut workload));
        workload.stage = if made.is_ok() { Stage::Made } else { Stage::Ending };
        if let Some(known) = self.state.workloads.iter_mut().find(|known| known.id == id) {
            *known = workload;
        }
        if let Err(error) = made.and_then(|()| self.remember()) {
            for (_, left) in self.remove_workloads(&[id]) {
                tracing::error!(
                    error = api::sentence(left.as_ref()),
                    "a workload that failed could not be removed whole"
                );
            }
            return Err(error);
        }
        Ok(())
    }

    /// Notes that the node has lost its IPv6, so that what is made from now on gets none.
    pub(crate) fn look_for_families(&mut self) -> anyhow::Result<()> {
        let before = self.wiring.ipv6();
        self.wiring.refresh()?;
        let now = self.wiring.ipv6();
        if now != before {
            let note = families::lost(now);
            tracing::warn!("{note}");
            self.notes.push(note);
            self.addresses.leave_out_ipv6();
        }
        anyhow::ensure!(!self.addresses.are_none(), "workloadAddresses has an IPv6 block alone, and {now}");
        Ok(())
    }

    /// Removes workloads by number; returns those that stay, each with the reason. They are tried again later.
    pub(crate) fn remove_workloads(&mut self, ids: &[u32]) -> BTreeMap<u32, anyhow::Error> {
        match (ids, self.remove_together(ids)) {
            (_, Ok(())) => BTreeMap::new(),
            (&[id], Err(error)) => [(id, error)].into(),
            // One of them is the reason; each alone tells which.
            _ => ids.iter().filter_map(|&id| Some((id, self.remove_together(&[id]).err()?))).collect(),
        }
    }

    fn remove_together(&mut self, ids: &[u32]) -> anyhow::Result<()> {
        let workloads = &mut self.state.workloads;
        workloads.iter_mut().filter(|one| ids.contains(&one.id)).for_each(|one| one.stage = Stage::Ending);
        let leaving: Vec<WorkloadRecord> =
            workloads.iter().filter(|one| ids.contains(&one.id)).cloned().collect();
        anyhow::ensure!(leaving.len() == ids.len(), "there is no such workload");
        self.remember_or_note();
        self.wiring.take_down(&mut self.kernel.loaded, &leaving)?;
        self.kernel.apply(leaving.iter().map(|one| Change::RemoveEndpoint(one.id)))?;
        leaving.iter().try_for_each(|one| self.wiring.forget(one))?;
        self.state.workloads.retain(|one| !ids.contains(&one.id));
        for one in &leaving {
            self.addresses.release_workload(&one.wanted.addresses);
        }
        self.remember_or_note();
        Ok(())
    }

    /// Removes workloads whose owner ended, and those that could not be removed before.
    pub(crate) fn look_after_workloads(&mut self) {
        let is_over = |workload: &&WorkloadRecord| {
            workload.stage != Stage::Made || workload.owner.is_some_and(|owner| owner.has_ended())
        };
        let over: Vec<u32> =
            self.state.workloads.iter().filter(is_over).map(|workload| workload.id).collect();
        let left = if over.is_empty() { BTreeMap::new() } else { self.remove_workloads(&over) };
        let left = left.into_iter().map(|(id, error)| format!("number {id}: {}", said(error)));
        self.problems.note_all(REMOVAL, left.collect());
        if self.problems.has(ORPHANS) {
            self.look_for_orphans();
        }
        self.look_for_interfaces();
    }

    /// Notes workloads whose interface another program deleted, renamed or moved.
    pub(crate) fn look_for_interfaces(&mut self) {
        let missing = match self.wiring.missing(&self.state.workloads) {
            Ok(missing) => missing.into_iter().map(|workload| {
                let api::WorkloadSpec { namespace, name, .. } = &workload.wanted;
                format!(
                    "{namespace}/{name} has lost its interface {}, and with it its network; end it, and start it again",
                    workload.interface
                )
            }),
            Err(error) => return self.problems.note(UNKNOWN, Err(said(error))),
        };
        self.problems.note_all(INTERFACES, missing.collect());
        self.problems.note(UNKNOWN, Ok::<(), String>(()));
    }

    /// Removes what is left of workloads that the state file does not name, and notes those in which something runs.
    pub(crate) fn look_for_orphans(&mut self) {
        let known: BTreeSet<u32> = self.state.workloads.iter().map(|workload| workload.id).collect();
        let found = self.wiring.orphans(&known).and_then(|orphans| {
            let mut running = Vec::new();
            for stray in orphans {
                if stray.processes == 0 {
                    self.wiring.clear(&mut self.kernel.loaded, &stray)?;
                    tracing::warn!("{stray} is not in the state file and nothing runs in it: removed");
                } else {
                    running.push(format!(
                        "{stray} is not in {}, and processes run in it; its traffic is dropped; end them (`ip netns pids \
                         {}`), and the agent removes it",
                        self.paths.state().display(),
                        stray.namespace
                    ));
                }
            }
            Ok(running)
        });
        match found {
            Ok(running) => {
                self.problems.note_all(ORPHANS, running);
            }
            Err(error) => {
                self.problems.note_all(ORPHANS, vec![said(error)]);
            }
        }
    }
}

/// Takes the workloads of an earlier run back in, with their programs; those that were not whole, or are gone with their
/// namespace, give their addresses back.
pub(crate) fn take_over(
    known: Vec<WorkloadRecord>,
    (wiring, kernel): (&mut Wiring, &mut Kernel),
    addresses: &mut Addresses,
    changes: &mut Vec<Change>,
) -> anyhow::Result<Vec<WorkloadRecord>> {
    let mut workloads = Vec::new();
    for mut workload in known {
        if workload.stage == Stage::Made {
            if let Some((change, interface)) = wiring.adopt(&workload)? {
                // Its programs may have been taken off by others.
                kernel.loaded.attach(interface)?;
                changes.push(change);
                workloads.push(workload);
                continue;
            }
            if wiring.has_namespace(&workload)? {
                // What runs in it has no network any more, and is its owner's to end.
                workloads.push(workload);
                continue;
            }
        }
        let name = &workload.wanted.name;
        tracing::warn!(name, "a workload was not whole, or is gone; what is left of it is removed");
        // Its rows are of no endpoint that is known, and go when the first change is made.
        let one = std::slice::from_ref(&workload);
        let removed = wiring.take_down(&mut kernel.loaded, one).and_then(|()| wiring.forget(&workload));
        match removed.with_context(|| format!("workload {name} could not be removed")) {
            Ok(()) => addresses.release_workload(&workload.wanted.addresses),
            Err(error) => {
                tracing::error!(error = api::sentence(error.as_ref()), "it is tried again");
                workload.stage = Stage::Ending;
                workloads.push(workload);
            }
        }
    }
    Ok(workloads)
}
