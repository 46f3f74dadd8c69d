//! The occupancy of the node proxy's connections, which it reports every second.

use api::view::ProxyConnections;
use proxy::Occupancy;
use serde::{Deserialize, Serialize};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often the proxy reports.
pub(crate) const INTERVAL: Duration = Duration::from_secs(1);
/// How long after a refused connection the status reports a problem.
const FRESH: Duration = Duration::from_secs(60);

/// The occupancy, as the proxy reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OccupancyReport {
    in_use: usize,
    limit: usize,
    most_of_a_client: usize,
    refused_full: u64,
    refused_client: u64,
    refused_server: u64,
    made_room: u64,
}

/// The latest report, shared by the thread that receives it and the agent's thread.
#[derive(Clone, Debug, Default)]
pub(crate) struct LatestOccupancy(Arc<Mutex<Memory>>);

#[derive(Debug, Default)]
struct Memory {
    report: Option<OccupancyReport>,
    /// When a connection was last refused.
    refused: Option<Instant>,
}

impl From<Occupancy> for OccupancyReport {
    fn from(occupancy: Occupancy) -> Self {
        let Occupancy {
            in_use,
            limit,
            largest_client: most_of_a_client,
            refused_full,
            refused_client,
            refused_server,
            evicted: made_room,
        } = occupancy;
        Self { in_use, limit, most_of_a_client, refused_full, refused_client, refused_server, made_room }
    }
}

impl OccupancyReport {
    fn refused(&self) -> u64 {
        self.refused_full + self.refused_client + self.refused_server
    }
}

impl LatestOccupancy {
    /// Stores a report.
    pub(crate) fn update(&self, report: OccupancyReport) {
        let mut memory = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A restarted proxy counts from zero.
        let before = memory.report.map_or(0, |before| before.refused());
        if report.refused() > before {
            if memory.refused.is_none_or(|refused| refused.elapsed() > FRESH) {
                tracing::warn!(in_use = report.in_use, limit = report.limit, "the proxy refuses connections");
            }
            memory.refused = Some(Instant::now());
        }
        memory.report = Some(report);
    }

    /// The occupancy for the status, and its problem if there is one.
    pub(crate) fn view(&self) -> (Option<ProxyConnections>, Option<String>) {
        let memory = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(report) = memory.report else { return (None, None) };
        let refused = [
            ("all places were taken", report.refused_full),
            ("the client identity's share was taken", report.refused_client),
            ("the server's share was taken", report.refused_server),
        ];
        let refused: Vec<_> = refused.into_iter().filter(|(_, count)| *count > 0).collect();
        let fresh = memory.refused.is_some_and(|refused| refused.elapsed() <= FRESH);
        let problem = fresh.then(|| {
            let reasons: Vec<_> = refused.iter().map(|(reason, count)| format!("{count} as {reason}")).collect();
            format!(
                "the proxy refused connections within the last minute; since it started, {} ({} of {} connections are in use); \
                 end what holds them, or raise `connections`, `clientShare` or `serverShare` of `proxy` in the configuration",
                reasons.join(", "),
                report.in_use,
                report.limit
            )
        });
        let view = ProxyConnections {
            in_use: report.in_use,
            limit: report.limit,
            most_of_a_client: report.most_of_a_client,
            refused: refused.into_iter().map(|(reason, count)| (reason.to_string(), count)).collect(),
            made_room: report.made_room,
        };
        (Some(view), problem)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_connection_is_a_problem_and_is_counted_by_reason() {
        let latest = LatestOccupancy::default();
        assert_eq!(latest.view(), (None, None));
        let quiet = Occupancy { in_use: 3, limit: 10, evicted: 2, ..Occupancy::default() };
        latest.update(quiet.into());
        let (view, problem) = latest.view();
        assert_eq!((view.unwrap().in_use, problem), (3, None));
        latest.update(Occupancy { refused_client: 5, ..quiet }.into());
        let (view, problem) = latest.view();
        assert_eq!(view.unwrap().refused, [("the client identity's share was taken".to_string(), 5)].into());
        assert!(problem.unwrap().contains("5 as the client identity's share was taken (3 of 10"));
    }
}
