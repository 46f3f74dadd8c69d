//! `nexin agent`: the node agent.

mod settings;

use crate::log;
use crate::outcome::{BadInput, Outcome};
use clap::Args;
use settings::EnforcementSetting;
pub(crate) use settings::{Settings, block};
use std::fs;
use std::path::PathBuf;

/// Run the node agent, which enforces policy for the workloads of this host
///
/// Its programs and maps stay in the kernel when it stops, and keep enforcing policy; the next agent adopts them. The
/// configuration is a JSON object with any of: directory, stateDirectory, instance, policies, networkNamespace,
/// workloadAddresses, givenAddresses, serviceAddresses, podAddresses, masquerade, unmasqueradedAddresses, proxyPort, proxy, hostDevices, nodeName, clusterName,
/// nodeLabels, policyEnforcement (default, always or never), policyAuditMode, monitorAggregation (none, low, medium or
/// maximum; see nexin config --help), attach (automatic or clsact), kubernetes, cni. "kubernetes" is an object, which may be empty, with any of kubeconfig and
/// nodeName: the cluster that the node is in (docs/api-server.md). "cni" is an object, which may be empty, with any of
/// binaries, configurations, file and behind: where the CNI plugin is installed for container runtimes. "proxy"
/// is an object with any of: connections (maximum), clientShare and serverShare (maximum share of one client identity
/// and of one server, in percent), and in seconds: firstByteTimeout, headTimeout, idleTimeout, stallTimeout,
/// halfCloseTimeout, connectTimeout, unacknowledgedTimeout (docs/proxy.md).
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  nexin agent\n  nexin agent --config /etc/nexin/agent.json\n  \
    nexin agent --policy-enforcement always --policy-audit-mode")]
pub(crate) struct AgentCommand {
    /// Configuration file; the defaults suit a single host
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// External interfaces of the node, where policies that select the node are enforced; overrides hostDevices
    /// [default: the interfaces of the default routes]
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    devices: Vec<String>,
    /// Enforcement mode; overrides policyEnforcement
    #[arg(long, value_name = "MODE")]
    policy_enforcement: Option<EnforcementSetting>,
    /// Forward and report traffic that policy denies at layers 3 and 4; as policyAuditMode
    #[arg(long)]
    policy_audit_mode: bool,
}

/// Run the node proxy of an agent; the agent runs this command
#[derive(Debug, Args)]
pub(crate) struct ProxyCommand {
    /// Directory of the agent
    #[arg(long)]
    directory: PathBuf,
    /// Name of the agent
    #[arg(long)]
    instance: String,
    /// Port to listen on
    #[arg(long)]
    port: u16,
    /// Limits, as in the configuration's "proxy"
    #[arg(long, value_name = "JSON", default_value = "{}")]
    limits: String,
}

impl AgentCommand {
    pub(crate) fn run(self) -> anyhow::Result<Outcome> {
        let mut config = match &self.config {
            None => agent::AgentConfig::default(),
            Some(file) => {
                let wrong = |error: &dyn std::fmt::Display| BadInput(format!("{}: {error}", file.display()));
                let text = fs::read_to_string(file).map_err(|error| wrong(&error))?;
                Settings::parse(&text).and_then(Settings::config).map_err(|error| wrong(&error))?
            }
        };
        if !self.devices.is_empty() {
            config.host_devices = self.devices;
        }
        if let Some(enforcement) = self.policy_enforcement {
            config.enforcement = enforcement.into();
        }
        config.audit |= self.policy_audit_mode;
        settings::check::check(&config).map_err(BadInput)?;
        log::start();
        agent::run(config)?;
        Ok(Outcome::Holds)
    }
}

impl ProxyCommand {
    pub(crate) fn run(self) -> anyhow::Result<Outcome> {
        log::start();
        let limits: agent::ProxyLimits =
            serde_json::from_str(&self.limits).map_err(|error| BadInput(format!("--limits: {error}")))?;
        agent::run_proxy(&agent::Paths::new(self.directory, self.instance), self.port, &limits)?;
        Ok(Outcome::Holds)
    }
}
