//! How an agent fares.

use crate::agent::Agent;
use api::view::Status;
use control::Node;
use policy::rule::EnforcementMode;
use std::collections::BTreeMap;

/// Whom policies are enforced for, in the words of the settings.
fn enforcement(node: &Node) -> String {
    let mode = match node.mode {
        EnforcementMode::Default => "default",
        EnforcementMode::Always => "always",
        EnforcementMode::Never => "never",
    };
    if node.audit { format!("{mode}, audit") } else { mode.into() }
}

/// Looks at everything that can go wrong.
pub(super) fn status(agent: &Agent) -> anyhow::Result<Status> {
    let world = &agent.kernel.world;
    let mut packets: BTreeMap<String, u64> = BTreeMap::new();
    for row in agent.kernel.loaded.counters()? {
        let name = row.reason.map_or("forwarded".to_string(), |reason| reason.describe().to_string());
        *packets.entry(name).or_default() += row.counter.packets;
    }
    let (proxy_connections, refusals) = agent.places.view();
    Ok(Status {
        version: env!("CARGO_PKG_VERSION").into(),
        kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
        agent: std::process::id(),
        proxy: agent.supervisor.process(),
        proxy_connections,
        attach: agent.kernel.loaded.attachment().into(),
        pins: agent.paths.pins().display().to_string(),
        policies_from: agent.config.policies.display().to_string(),
        problems: agent.problems().into_iter().chain(refusals).collect(),
        notes: agent.notes.iter().cloned().chain(agent.supervisor.notes()).collect(),
        endpoints: world.endpoints().count(),
        identities: world.identities().allocated().count(),
        policies: world.enforcement().policies().iter().count(),
        services: world.services().count(),
        enforcement: enforcement(world.node()),
        packets,
        lost_events: agent.feed.missed(),
    })
}
