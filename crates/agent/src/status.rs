//! The status of the agent, as the API returns it.

use crate::feed::Feed;
use crate::occupancy::LatestOccupancy;
use crate::reconciler::Reconciler;
use crate::source::ChangeSource;
use crate::supervisor::Supervisor;
use api::view;
use control::Node;
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
        lost_events: parts.feed.lost().values().sum(),
    })
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
