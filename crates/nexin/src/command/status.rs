//! `nexin status`: the state of the agent of this node.

use crate::outcome::Outcome;
use crate::session::{Session, Tone};
use api::ApiRequest;
use api::view;
use clap::Args;

/// Show the state of the agent of this node; exits with 1 if there are problems
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  nexin status\n  nexin status -o json --socket /run/nexin/agent.sock")]
pub(crate) struct StatusCommand {}

impl StatusCommand {
    pub(crate) fn run(self, session: &Session) -> anyhow::Result<Outcome> {
        let status: view::Status = session.agent()?.call(ApiRequest::Status)?;
        if session.is_json() {
            session.print_json(&status)?;
        } else {
            for (name, value) in facts(&status) {
                session.print_line(&format!(
                    "{} {value}",
                    session.paint(Tone::Strong, &format!("{name:<12}"))
                ))?;
            }
            for note in &status.notes {
                session.print_line(&format!("{} {note}", session.paint(Tone::Strong, "note        ")))?;
            }
            for problem in &status.problems {
                session.print_line(&format!("{} {problem}", session.paint(Tone::Bad, "problem     ")))?;
            }
        }
        Ok(if status.problems.is_empty() { Outcome::Holds } else { Outcome::Fails })
    }
}

fn facts(status: &view::Status) -> Vec<(&'static str, String)> {
    let proxy = status.proxy.map_or("not running".to_string(), |process| format!("process {process}"));
    let packets: Vec<_> = status.packets.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
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
        ("packets", packets.join(", ")),
        ("events lost", lost_events(status)),
    ]
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
    format!(
        "{used} of {limit}, {most} of one client identity; {refused}; {} closed to make room",
        proxy.made_room
    )
}
