//! `nexin config`: the agent's settings that may change while it runs.

use crate::outcome::{BadInput, Outcome};
use crate::session::Session;
use api::{ApiRequest, view};
use clap::Args;

/// The only setting, as Cilium calls it.
const AGGREGATION: &str = "MonitorAggregationLevel";

/// Show and change settings of the agent while it runs
///
/// A restart of the agent takes them from its configuration again (monitorAggregation).
///
/// MonitorAggregationLevel is what `nexin observe` shows of packets that are forwarded; what policy denies is shown at every
/// level. None: every packet, at each interface that judges it. Low: every packet, once. Medium: the packets that open, first
/// answer and end a connection. Maximum: the packet that opens a connection. None and Low cost CPU time for every packet.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  nexin config\n  nexin config MonitorAggregationLevel=None")]
pub(crate) struct ConfigCommand {
    /// The setting to change
    #[arg(value_name = "MonitorAggregationLevel=LEVEL")]
    setting: Option<String>,
}

impl ConfigCommand {
    pub(crate) fn run(self, session: &Session) -> anyhow::Result<Outcome> {
        let monitor_aggregation = self.setting.as_deref().map(level).transpose()?;
        let request = ApiRequest::ChangeSettings { monitor_aggregation };
        let settings: view::RuntimeSettings = session.agent()?.call(request)?;
        if session.is_json() {
            session.print_json(&settings)?;
        } else {
            session.print_line(&format!("{AGGREGATION}={}", settings.monitor_aggregation))?;
        }
        Ok(Outcome::Holds)
    }
}

fn level(setting: &str) -> Result<String, BadInput> {
    match setting.split_once('=') {
        Some((AGGREGATION, level)) => Ok(level.to_owned()),
        _ => Err(BadInput(format!("{setting:?} should be {AGGREGATION}=LEVEL"))),
    }
}
