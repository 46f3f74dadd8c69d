//! `nexin status`: the state of the agent of this node, or of an installation in a cluster.

mod cluster;
mod kinds;

use crate::cluster_connection::ClusterConnection;
use crate::duration;
use crate::outcome::Outcome;
use crate::progress::Progress;
use crate::session::{Session, Tone};
use api::view;
use api::{ApiRequest, CallError, Client};
use clap::Args;
use cluster::{ClusterStatus, Replicas};
use kubernetes::UserConnection;
use serde::Serialize;
use std::fmt;
use std::io;
use std::iter;
use std::thread;
use std::time::{Duration, Instant};

/// How long the agent may take to answer.
const ANSWER: Duration = Duration::from_secs(30);
/// The waits between two attempts of `--wait`. A cluster's state is a list of all pods and events, which an API server must not serve often.
const AGENT_RETRIES: Retries =
    Retries { first: Duration::from_millis(250), longest: Duration::from_millis(250) };
const CLUSTER_RETRIES: Retries = Retries { first: Duration::from_secs(1), longest: Duration::from_secs(5) };

/// Show the state of the agent of this node, or of a cluster; exits with 1 if there are problems
///
/// Exits with 1, too, if no agent answers. Notes are no problems: they name what the agent does without on this host, and
/// what it repaired in the last ten minutes. With --cluster it covers all agents and operators, as the API server shows them.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  nexin status\n  nexin status --wait --wait-duration 30s\n  \
        nexin status -o json --socket /run/nexin/agent.sock\n  nexin status --cluster --wait")]
pub(crate) struct StatusCommand {
    /// Wait until the agent runs and there are no problems
    #[arg(long)]
    wait: bool,
    /// Maximum time to wait: 30s, 5m, 1m30s
    #[arg(long, value_name = "DURATION", default_value = "5m", requires = "wait", value_parser = duration::parse)]
    wait_duration: Duration,
    /// Print the problems only
    #[arg(long)]
    problems: bool,
    /// Read the state of the installation from the API server of a cluster, without an agent
    #[arg(long)]
    cluster: bool,
    #[command(flatten)]
    connection: ClusterConnection,
}

impl StatusCommand {
    pub(crate) fn run(self, session: &Session) -> anyhow::Result<Outcome> {
        if !self.cluster {
            let read = |limit| read(session, limit);
            return self.report((session, AGENT_RETRIES), read, is_final, facts);
        }
        let connection = UserConnection::from(&self.connection);
        let is_final = |state: &anyhow::Result<ClusterStatus>| {
            state.as_ref().is_ok_and(|status| status.problems.is_empty())
        };
        let read = |_| cluster::read(&connection);
        self.report((session, CLUSTER_RETRIES), read, is_final, cluster_facts)
    }

    /// Prints a state; waits before for one without problems, if that is desired.
    fn report<S: StateWithProblems, E: fmt::Display + Into<anyhow::Error>>(
        &self,
        (session, retries): (&Session, Retries),
        read: impl Fn(Duration) -> Result<S, E>,
        is_final: impl Fn(&Result<S, E>) -> bool,
        facts: impl Fn(&S) -> Vec<(&'static str, String)>,
    ) -> anyhow::Result<Outcome> {
        let limit = if self.wait { self.wait_duration } else { Duration::ZERO };
        let status = wait(session, (limit, retries), read, is_final).map_err(Into::into)?;
        let (notes, problems) = status.findings();
        if session.is_json() {
            session.print_json(&status)?;
        } else if self.problems {
            print(session, &[], &[], problems)?;
        } else {
            print(session, &facts(&status), notes, problems)?;
        }
        if problems.is_empty() {
            return Ok(Outcome::Holds);
        }
        if self.wait {
            session.print_error(&format!("there are still problems after {}", duration::print(limit)));
        }
        Ok(Outcome::Fails)
    }
}

/// The waits between attempts, each twice as long as the one before.
#[derive(Clone, Copy, Debug)]
struct Retries {
    first: Duration,
    longest: Duration,
}

impl Retries {
    fn waits(self) -> impl Iterator<Item = Duration> {
        iter::successors(Some(self.first), move |wait| Some((*wait * 2).min(self.longest)))
    }
}

/// A state with what is wrong.
trait StateWithProblems: Serialize {
    /// The notes and the problems.
    fn findings(&self) -> (&[String], &[String]);
}

impl StateWithProblems for view::Status {
    fn findings(&self) -> (&[String], &[String]) {
        (&self.notes, &self.problems)
    }
}

impl StateWithProblems for ClusterStatus {
    fn findings(&self) -> (&[String], &[String]) {
        (&self.notes, &self.problems)
    }
}

/// Reads the state until there are no problems, or the time is over: the last state.
fn wait<S: StateWithProblems, E: fmt::Display>(
    session: &Session,
    (limit, retries): (Duration, Retries),
    read: impl Fn(Duration) -> Result<S, E>,
    is_final: impl Fn(&Result<S, E>) -> bool,
) -> Result<S, E> {
    let began = Instant::now();
    let mut progress = Progress::start();
    let mut known = String::new();
    let mut waits = retries.waits();
    loop {
        let left = limit.saturating_sub(began.elapsed());
        let state = read(if limit.is_zero() { ANSWER } else { left.clamp(retries.first, ANSWER) });
        if is_final(&state) || began.elapsed() >= limit {
            return state;
        }
        let why = match &state {
            Ok(status) => status.findings().1.join("; "),
            Err(error) => error.to_string(),
        };
        let spent = Duration::from_secs(began.elapsed().as_secs());
        let waiting = format!("waiting ({} of {}): {why}", duration::print(spent), duration::print(limit));
        progress.show_text(&waiting);
        if !progress.is_visible() && why != known {
            session.print_error_line(&waiting);
        }
        known = why;
        let pause = waits.next().unwrap_or(retries.longest);
        thread::sleep(pause.min(limit.saturating_sub(began.elapsed())));
    }
}

fn read(session: &Session, limit: Duration) -> Result<view::Status, CallError> {
    Client::connect(&session.socket)?.with_limit(limit)?.call(ApiRequest::Status)
}

/// Whether waiting cannot change a state for the better.
fn is_final(state: &Result<view::Status, CallError>) -> bool {
    match state {
        Ok(status) => status.problems.is_empty(),
        Err(CallError::Unreachable { source, .. }) => source.kind() == io::ErrorKind::PermissionDenied,
        Err(CallError::Refused(failure)) => failure.cause == api::Cause::Invalid,
        Err(CallError::Silent { .. } | CallError::Garbled { .. }) => false,
    }
}

fn print(
    session: &Session,
    facts: &[(&str, String)],
    notes: &[String],
    problems: &[String],
) -> io::Result<()> {
    let line = |tone: Tone, name: &str, value: &str| {
        session.print_line(&format!("{} {value}", session.paint(tone, &format!("{name:<12}"))))
    };
    facts.iter().try_for_each(|(name, value)| line(Tone::Strong, name, value))?;
    notes.iter().try_for_each(|note| line(Tone::Strong, "note", note))?;
    problems.iter().try_for_each(|problem| line(Tone::Bad, "problem", problem))
}

fn cluster_facts(status: &ClusterStatus) -> Vec<(&'static str, String)> {
    let replicas = |one: &Replicas| match one {
        Replicas { desired: 0, .. } => "none".to_owned(),
        Replicas { desired, ready, image, .. } => format!("{ready} of {desired} ready, image {image}"),
    };
    let policies = status.policies.iter().map(|(kind, count)| format!("{count} {kind}"));
    let policies = policies.collect::<Vec<_>>().join(", ");
    vec![
        ("agents", replicas(&status.agents)),
        ("operators", replicas(&status.operators)),
        ("leader", status.leader.clone().unwrap_or_else(|| "none".to_owned())),
        ("nodes", status.nodes.to_string()),
        ("policies", if policies.is_empty() { "none".to_owned() } else { policies }),
        ("endpoints", status.endpoints.to_string()),
        ("identities", status.identities.to_string()),
    ]
}

fn facts(status: &view::Status) -> Vec<(&'static str, String)> {
    let proxy = status.proxy.map_or("not running".to_string(), |process| format!("process {process}"));
    let packets: Vec<_> = status.packets.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
    let packets = if packets.is_empty() { "none".to_string() } else { packets.join(", ") };
    vec![
        ("agent", format!("{} (process {})", status.version, status.agent)),
        ("proxy", proxy),
        ("connections", status.proxy_connections.as_ref().map_or("unknown".into(), connections)),
        ("kernel", status.kernel.clone()),
        ("attached by", status.attach.clone()),
        ("pinned under", status.pins.clone()),
        ("policies", format!("{}, watching {}", status.policies, status.policies_from)),
        ("enforcement", status.enforcement.clone()),
        ("endpoints", status.endpoints.to_string()),
        ("identities", status.identities.to_string()),
        ("services", status.services.to_string()),
        ("packets", packets),
        ("events lost", lost_events(status)),
        ("API server", status.api_server.as_ref().map_or("none".into(), api_server)),
        ("other nodes", nodes(&status.nodes)),
    ]
}

/// How many addresses of other nodes answer, and which do not.
fn nodes(nodes: &[view::NodeReachability]) -> String {
    let (reachable, silent): (Vec<_>, Vec<_>) = nodes.iter().partition(|node| node.reachable);
    if nodes.is_empty() {
        return "none".into();
    }
    let slowest = reachable.iter().filter_map(|node| node.round_trip_micros).max();
    let within = slowest.map(|micros| format!(" within {}.{:03} ms", micros / 1_000, micros % 1_000));
    let silent = silent.iter().map(|node| {
        let since = node.unreachable_since.as_deref().unwrap_or("its start");
        format!("; {} ({}) does not answer since {since}", node.name, node.address)
    });
    let within = within.unwrap_or_default();
    format!("{} of {} addresses answer{within}{}", reachable.len(), nodes.len(), silent.collect::<String>())
}

/// What the agent requested from the API server since its start.
fn api_server(load: &view::ApiServerLoad) -> String {
    let view::ApiServerLoad { lists, watches, writes, received_bytes } = load;
    format!("{lists} lists, {watches} watches, {writes} writes, {received_bytes} bytes received")
}

/// The number of lost events, and where they were lost.
fn lost_events(status: &view::Status) -> String {
    let causes = status.lost_events_by_cause.iter().map(|(cause, count)| format!("{count} ({cause})"));
    if status.lost_events_by_cause.is_empty() {
        status.lost_events.to_string()
    } else {
        causes.collect::<Vec<_>>().join(", ")
    }
}

/// The proxy's connections in one line.
fn connections(proxy: &view::ProxyConnections) -> String {
    let refused = if proxy.refused.is_empty() {
        "none refused".to_string()
    } else {
        let reasons = proxy.refused.iter().map(|(reason, count)| format!("{count} as {reason}"));
        format!("refused {}", reasons.collect::<Vec<_>>().join(", "))
    };
    let (used, limit, most) = (proxy.in_use, proxy.limit, proxy.most_of_a_client);
    format!("{used} of {limit}, {most} of one client; {refused}; {} closed to make room", proxy.made_room)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_is_read_ever_more_rarely_and_an_agent_at_the_same_pace() {
        let waits = |retries: Retries| -> Vec<u128> {
            retries.waits().take(5).map(|wait| wait.as_millis()).collect()
        };
        assert_eq!(waits(CLUSTER_RETRIES), [1000, 2000, 4000, 5000, 5000]);
        assert_eq!(waits(AGENT_RETRIES), [250; 5]);
    }
}
