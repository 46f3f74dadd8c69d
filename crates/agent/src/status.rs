//! The status of the agent, as the API returns it.

use crate::config::AgentConfig;
use crate::feed::Feed;
use crate::kernel::Kernel;
use crate::node_health::NodeHealth;
use crate::occupancy::LatestOccupancy;
use crate::paths::Paths;
use crate::problems::{Problem, Problems};
use crate::published::Published;
use crate::supervisor::Supervisor;
use abi::identity::FIRST_ALLOCATED;
use api::view;
use control::Node;
use flow::LostSource;
use loader::{Counters, LostCounts};
use policy::rule::EnforcementMode;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// How old the published state may be. The agent's thread takes a turn at least twice a second, and a turn takes as long as
/// its changes.
const LATE: Duration = Duration::from_secs(5);

/// The failure, as the status names it.
const STUCK: Problem = Problem::new(
    "changes are not carried out",
    "wait while it carries out a large change, or restart the agent; traffic stays under policy meanwhile",
);

/// Where the status is read from, besides what is published.
#[derive(Debug)]
pub(crate) struct StatusParts {
    counters: Counters,
    problems: Problems,
    feed: Arc<Feed>,
    occupancy: LatestOccupancy,
    supervisor: Arc<Supervisor>,
    health: NodeHealth,
    /// How programs are attached.
    attachment: &'static str,
    pins: String,
    policies_from: String,
}

impl StatusParts {
    /// The parts of an agent.
    pub(crate) fn new(
        (config, paths): (&AgentConfig, &Paths),
        kernel: &Kernel,
        (problems, health): (Problems, NodeHealth),
        (feed, occupancy, supervisor): (Arc<Feed>, LatestOccupancy, Arc<Supervisor>),
    ) -> Self {
        Self {
            counters: kernel.counters(),
            problems,
            feed,
            occupancy,
            supervisor,
            health,
            attachment: kernel.attachment(),
            pins: paths.pins().display().to_string(),
            policies_from: config.policies.display().to_string(),
        }
    }
}

/// Reads the status.
pub(crate) fn status(published: &Published, parts: &StatusParts) -> anyhow::Result<view::Status> {
    let world = &published.world;
    let mut packets: BTreeMap<String, u64> = BTreeMap::new();
    for row in parts.counters.read()? {
        let name = row.reason.map_or("forwarded".to_string(), |reason| reason.describe().to_string());
        *packets.entry(name).or_default() += row.counter.packets;
    }
    let lost_events = lost_events(parts)?;
    let (proxy_connections, refusals) = parts.occupancy.view();
    let mut problems = published.problems.clone();
    problems.extend(parts.problems.messages());
    problems.extend(parts.supervisor.problems());
    problems.extend(refusals);
    problems.extend(stuck(published));
    let mut notes = published.notes.clone();
    notes.extend(parts.supervisor.notes());
    notes.extend(parts.problems.repairs());
    notes.extend(parts.health.note());
    let allocated = world.identities().keys().filter(|number| **number >= FIRST_ALLOCATED);
    Ok(view::Status {
        version: env!("CARGO_PKG_VERSION").into(),
        kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
        agent: std::process::id(),
        proxy: parts.supervisor.process(),
        proxy_connections,
        attach: parts.attachment.into(),
        pins: parts.pins.clone(),
        policies_from: parts.policies_from.clone(),
        api_server: published.server_load.map(|load| view::ApiServerLoad {
            lists: load.lists,
            watches: load.watches,
            writes: load.writes,
            received_bytes: load.received,
        }),
        nodes: parts.health.view(),
        problems,
        notes,
        endpoints: world.endpoints().len(),
        identities: allocated.count(),
        policies: world.policies().count(),
        services: world.services().count(),
        enforcement: enforcement(world.node()),
        packets,
        lost_events: lost_events.values().sum(),
        lost_events_by_cause: lost_events,
    })
}

/// The problem of an agent's thread that hangs.
fn stuck(published: &Published) -> Option<String> {
    let age = published.at.elapsed();
    let why = format!("the agent's thread has taken no turn for {} s", age.as_secs());
    (age > LATE).then(|| STUCK.message(&why, SystemTime::now() - age))
}

/// The lost events by cause: those that found no room in a ring since the maps were made, others since the agent started.
fn lost_events(parts: &StatusParts) -> anyhow::Result<BTreeMap<String, u64>> {
    let LostCounts { forwards, denials } = parts.counters.lost_events()?;
    let full = LostSource::PacketRing.describe();
    let in_rings =
        [(full.to_string(), forwards), (format!("{full}, of denied packets"), denials)].into_iter();
    let others = parts.feed.lost().into_iter().filter(|(source, _)| *source != LostSource::PacketRing);
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
