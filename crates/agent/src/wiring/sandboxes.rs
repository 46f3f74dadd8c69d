//! The network of workloads in sandboxes, whose network namespaces a container runtime makes and removes.

use super::{Wiring, alias, endpoint, namespace, namespace_of, number_of};
use crate::state::{WorkloadRecord, WorkloadStage};
use crate::step_times::StepTimes;
use anyhow::{Context, ensure};
use control::{Endpoint, Wire};
use loader::Attacher;
use loader::inspect::AttachPoint;
use std::collections::BTreeSet;
use workload::{ExpectedInterface, NetworkNamespace, differences, find_pair};

impl Wiring {
    /// The interfaces of sandboxes whose workloads are not `known`. Their sandboxes exist: an interface ends with the network namespace of
    /// either end. A workload of `nexin run` has a network namespace with a name of ours beside its interface.
    pub(crate) fn unknown_sandboxes(&mut self, known: &BTreeSet<u32>) -> anyhow::Result<Vec<String>> {
        let links = self.node.network().links()?;
        let mut unknown = Vec::new();
        for link in links {
            let Some(id) = number_of(&link.alias, &alias(&self.instance, "")) else { continue };
            if !known.contains(&id) && !NetworkNamespace::is_taken(&namespace(&self.instance, id))? {
                unknown.push(link.name);
            }
        }
        Ok(unknown)
    }

    /// Opens the network namespace of a sandbox.
    pub(super) fn open_sandbox(&self, workload: &WorkloadRecord) -> anyhow::Result<NetworkNamespace> {
        let path = &workload.network_namespace;
        let namespace = namespace_of(workload)?;
        let namespace = namespace.with_context(|| format!("there is no network namespace at {path}"))?;
        let is_nodes = namespace.id()? == self.node.namespace().id()?;
        ensure!(!is_nodes, "{path} is the network namespace of the node; pods of it need no attachment");
        Ok(namespace)
    }

    /// Attaches the programs to an interface that another plugin made; its host side is up already.
    pub(super) fn join_interface(
        &mut self,
        attacher: &Attacher,
        (workload, namespace): (&mut WorkloadRecord, &NetworkNamespace),
        times: &mut StepTimes,
    ) -> anyhow::Result<Endpoint> {
        let name = workload.inside();
        let pair = find_pair(&mut self.node, namespace, name)?;
        let (inside, outside) = pair.with_context(|| {
            format!(
                "interface {name} of the container has no other end on this node, so policy cannot be enforced there; chain \
                 behind a plugin that makes veth pairs, such as bridge or ptp"
            )
        })?;
        workload.interface.clone_from(&outside.name);
        workload.mac = inside.mac;
        let wire = Wire { interface: outside.index, mac: inside.mac, host_mac: outside.mac };
        let endpoint = endpoint(workload, wire)?;
        let _expedited = self.expediter.begin();
        attacher.attach(outside.index).context("the programs cannot be attached")?;
        times.end("programs");
        if !outside.is_up {
            // An earlier attachment of the same interface was removed.
            self.node.network().up(outside.index)?;
        }
        Ok(endpoint)
    }

    /// What differs between a sandbox's network and the record of it, one sentence each.
    pub(crate) fn inspect(&mut self, workload: &WorkloadRecord) -> anyhow::Result<Vec<String>> {
        let Some(namespace) = namespace_of(workload)? else {
            return Ok(vec![format!("there is no network namespace at {}", workload.network_namespace)]);
        };
        let expected = ExpectedInterface {
            name: workload.inside(),
            mac: workload.mac,
            addresses: &workload.wanted.addresses,
            has_routes: !workload.is_chained(),
        };
        let mut found = differences(&namespace, &expected)?;
        let name = &workload.interface;
        match self.node.network().link(name)?.filter(|link| self.is_of(link, workload)) {
            None => found.push(format!("the host-side interface {name} is gone")),
            Some(link) => {
                if !link.is_up {
                    found.push(format!("the host-side interface {name} is down"));
                }
                found.extend(without_programs(link.index)?.map(|what| {
                    format!("the host-side interface {name} has no program of the agent for {what}")
                }));
            }
        }
        Ok(found)
    }

    /// Deletes a veth pair that has no alias yet, if both ends are where this workload's would be.
    pub(super) fn delete_unmarked_end(&mut self, workload: &WorkloadRecord) -> anyhow::Result<()> {
        if workload.stage == WorkloadStage::Made || workload.is_chained() {
            return Ok(());
        }
        let Some(namespace) = namespace_of(workload)? else { return Ok(()) };
        match find_pair(&mut self.node, &namespace, workload.inside())? {
            Some((_, outside)) if outside.name == workload.interface && outside.alias.is_empty() => {
                Ok(self.node.network().delete_link(&outside.name)?)
            }
            _ => Ok(()),
        }
    }
}

/// The directions that no program judges at an interface of the calling thread's network namespace.
fn without_programs(interface: u32) -> anyhow::Result<impl Iterator<Item = &'static str>> {
    use loader::inspect::AttachPoint::{ClsactEgress, ClsactIngress, TcxEgress, TcxIngress};
    let there: BTreeSet<AttachPoint> = loader::inspect::attachments()?
        .into_iter()
        .filter(|attachment| attachment.interface == interface)
        .map(|attachment| attachment.point)
        .collect();
    let directions =
        [("packets in", [TcxIngress, ClsactIngress]), ("packets out", [TcxEgress, ClsactEgress])];
    let lacks = move |points: &[AttachPoint; 2]| points.iter().all(|point| !there.contains(point));
    Ok(directions.into_iter().filter(move |(_, points)| lacks(points)).map(|(what, _)| what))
}
