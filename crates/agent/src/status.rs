//! The status of the agent, as the API returns it.

use crate::feed::Feed;
use crate::occupancy::LatestOccupancy;
use crate::reconciler::Reconciler;
use crate::source::ChangeSource;
use crate::supervisor::Supervisor;
use api::view;
use control::Node;
use flow::LostSource;
use loader::LostCounts;
use policy::rule::EnforcementMode;
use std::collections::BTreeMap;

/// Where the status is read from, besides the reconciler.
#[derive(Debug)]
pub(crate) struct Parts<'a> {
    /// The sources of changes.
    pub(crate) sources: &'a [Box<dyn ChangeSource>],
    /// The supervisor of the proxy.
    pub(crate) supervisor: &'a Supervisor,
    /// The flows.
    pub(crate) feed: &'a Feed,
    /// The proxy's connections.
    pub(crate) occupancy: &'a LatestOccupancy,
}

/// Reads the status.
pub(crate) fn status(reconciler: &Reconciler, parts: &Parts<'_>) -> anyhow::Result<view::Status> {
    let world = reconciler.world();
    let mut packets: BTreeMap<String, u64> = BTreeMap::new();
    for row in reconciler.kernel.counters()? {
        let name = row.reason.map_or("forwarded".to_string(), |reason| reason.describe().to_string());
        *packets.entry(name).or_default() += row.counter.packets;
    }
    let lost_events = lost_events(reconciler, parts.feed)?;
    let (proxy_connections, refusals) = parts.occupancy.view();
    let mut problems = reconciler.objects.problems();
    problems.extend(parts.sources.iter().flat_map(|source| source.problems()));
    problems.extend(reconciler.problems.messages());
    problems.extend(parts.supervisor.problems());
    problems.extend(refusals);
    Ok(view::Status {
        version: env!("CARGO_PKG_VERSION").into(),
        kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
        agent: std::process::id(),
        proxy: parts.supervisor.process(),
        proxy_connections,
        attach: reconciler.kernel.attachment().into(),
        pins: reconciler.paths.pins().display().to_string(),
        policies_from: reconciler.config.policies.display().to_string(),
        problems,
        notes: reconciler.notes.iter().cloned().chain(parts.supervisor.notes()).collect(),
        endpoints: world.endpoints().count(),
        identities: world.identities().allocated().count(),
        policies: world.registry().policies.iter().count(),
        services: world.services().count(),
        enforcement: enforcement(world.node()),
        packets,
        lost_events: lost_events.values().sum(),
        lost_events_by_cause: lost_events,
    })
}

/// The lost events by cause: those that found no room in a ring since the maps were made, others since the agent started.
fn lost_events(reconciler: &Reconciler, feed: &Feed) -> anyhow::Result<BTreeMap<String, u64>> {
    let LostCounts { forwards, denials } = reconciler.kernel.lost_events()?;
    let full = LostSource::PacketRing.describe();
    let in_rings =
        [(full.to_string(), forwards), (format!("{full}, of denied packets"), denials)].into_iter();
    let others = feed.lost().into_iter().filter(|(source, _)| *source != LostSource::PacketRing);
    let others = others.map(|(source, count)| (source.describe().to_string(), count));
    Ok(in_rings.chain(others).filter(|(_, count)| *count > 0).collect())
}

/// The enforcement mode, as the settings name it.
fn enforcement(node: &Node) -> String {
    let mode = match node.mode {
        EnforcementMode::Default => "default",
        EnforcementMode::Always => "always",
        EnforcementMode::Never => "never",
    };
    if node.audit { format!("{mode}, audit") } else { mode.into() }
}
