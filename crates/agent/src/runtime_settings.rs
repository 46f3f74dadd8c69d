//! The settings that may change while the agent runs. A restart takes them from the configuration again.

use crate::problems::message;
use crate::reconciler::Reconciler;
use api::view::RuntimeSettings;
use api::{Cause, Failure};
use control::{Change, MonitorAggregation, Node};

/// Changes the settings that are given, and returns all.
pub(crate) fn change(
    reconciler: &mut Reconciler,
    monitor_aggregation: Option<&str>,
) -> Result<RuntimeSettings, Failure> {
    if let Some(level) = monitor_aggregation {
        let monitor_aggregation: MonitorAggregation =
            level.parse().map_err(|error| Failure::new(Cause::Invalid, format!("{error}")))?;
        let node = Node { monitor_aggregation, ..reconciler.world().node().clone() };
        reconciler
            .apply(vec![Change::Node(Box::new(node))])
            .map_err(|error| Failure::new(Cause::Internal, message(error)))?;
    }
    let level = reconciler.world().node().monitor_aggregation;
    Ok(RuntimeSettings { monitor_aggregation: level.name().into() })
}
