//! `nexin operator`: identities, blocks of nodes, definitions and the webhook of a cluster.

mod certificate;
mod definitions;
mod election;
mod health;
mod http;
mod leadership;
mod reconcile;
mod settings;
mod webhook;

use crate::command::agent::block;
use crate::log;
use crate::outcome::{BadInput, Outcome};
use ::operator::{BlockPool, NodeBlocks};
use clap::Args;
use health::OperatorHealth;
use kubernetes::{Client, Connection};
use policy::rule::Cidr;
use settings::OperatorSettings;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// How often the API server's address and the service account are read again after a failure.
const CONNECTION: Duration = Duration::from_secs(5);

/// Run the operator of a cluster
///
/// Of several operators one leads: the holder of the Lease nexin-operator. It installs and updates the definitions of custom
/// resources, allocates a CiliumIdentity for each set of labels that pods have, deletes unused ones, and assigns blocks of
/// addresses to nodes without a block. Every operator serves the webhook that reviews policies. Agents need no operator: they
/// number on their own until identities come.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  nexin operator --kubeconfig ~/.kube/config\n  \
    nexin operator --pool 10.244.0.0/16 --pool fd00:10:244::/56 --node-cidr-mask-size-ipv6 64")]
pub(crate) struct OperatorCommand {
    /// Kubeconfig [default: the service account of this pod]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Name of the cluster, as in the agents' clusterName
    #[arg(long, value_name = "NAME", default_value = "default")]
    cluster_name: String,
    /// Block that is cut into blocks of nodes, at most one of each family [default: none; the controller manager assigns them]
    #[arg(long, value_name = "BLOCK")]
    pool: Vec<String>,
    /// Prefix length of the IPv4 block of a node
    #[arg(long, value_name = "LENGTH", default_value_t = 24)]
    node_cidr_mask_size_ipv4: u8,
    /// Prefix length of the IPv6 block of a node
    #[arg(long, value_name = "LENGTH", default_value_t = 64)]
    node_cidr_mask_size_ipv6: u8,
    /// Seconds after which an unused identity is deleted
    #[arg(long, value_name = "SECONDS", default_value_t = 900)]
    identity_grace: u64,
    /// Namespace of the operator; in a pod POD_NAMESPACE gives it
    #[arg(long, value_name = "NAME", default_value_t = from_environment("POD_NAMESPACE", || "nexin".to_owned()))]
    namespace: String,
    /// Name of this operator in the Lease; in a pod POD_NAME gives it
    #[arg(long, value_name = "NAME", default_value_t = from_environment("POD_NAME", host_name))]
    name: String,
    /// Port of the webhook
    #[arg(long, value_name = "PORT", default_value_t = delivery::WEBHOOK_PORT)]
    webhook_port: u16,
    /// Port of /healthz and /metrics on the loopback address
    #[arg(long, value_name = "PORT", default_value_t = delivery::HEALTH_PORT)]
    health_port: u16,
}

impl OperatorCommand {
    pub(crate) fn run(self) -> anyhow::Result<Outcome> {
        let health_port = self.health_port;
        let settings = self.settings()?;
        log::start();
        let health = Arc::new(OperatorHealth::default());
        health::serve(health_port, health.clone())?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(run(settings, health))?;
        Ok(Outcome::Holds)
    }

    fn settings(self) -> Result<OperatorSettings, BadInput> {
        // A chart gives an empty block for none.
        let pools = self.pool.iter().filter(|text| !text.is_empty()).map(|text| self.pool(text));
        let blocks = pools
            .collect::<Result<Vec<_>, _>>()
            .and_then(|pools| NodeBlocks::new(pools).map_err(|error| BadInput(format!("--pool: {error}"))))?;
        Ok(OperatorSettings {
            connection: Connection { kubeconfig: self.kubeconfig },
            cluster_name: self.cluster_name,
            namespace: self.namespace,
            name: self.name,
            grace: Duration::from_secs(self.identity_grace),
            webhook_port: self.webhook_port,
            blocks,
        })
    }

    fn pool(&self, text: &str) -> Result<BlockPool, BadInput> {
        let wrong = || BadInput(format!("--pool: {text:?} is not a block such as 10.244.0.0/16"));
        let block: Cidr = block(text).ok_or_else(wrong)?;
        let length = match block.address().is_ipv4() {
            true => self.node_cidr_mask_size_ipv4,
            false => self.node_cidr_mask_size_ipv6,
        };
        BlockPool::new(block, length).map_err(|error| BadInput(format!("--pool: {error}")))
    }
}

fn from_environment(name: &str, otherwise: fn() -> String) -> String {
    std::env::var(name).unwrap_or_else(|_| otherwise())
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Serves the webhook, and leads when it holds the Lease, until a signal ends it or another operator takes the Lease.
async fn run(settings: OperatorSettings, health: Arc<OperatorHealth>) -> anyhow::Result<()> {
    let (mut end, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let client = connect(&settings.connection).await;
    let settings = Arc::new(settings);
    let webhook = tokio::spawn(webhook::keep(client.clone(), settings.clone(), health.clone()));
    let lead = tokio::spawn(election::run(client.clone(), settings.clone(), health));
    let abort = lead.abort_handle();
    let result = tokio::select! {
        result = lead => result?,
        _ = end.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    };
    webhook.abort();
    abort.abort();
    if let Err(error) = election::release(&client, &settings).await {
        tracing::warn!("the lease could not be given up: {error}");
    }
    result
}

/// The client, once there is a configuration for it.
async fn connect(connection: &Connection) -> Client {
    loop {
        match connection.client().await {
            Ok(client) => return client,
            Err(error) => tracing::warn!("no client of the API server: {error}"),
        }
        tokio::time::sleep(CONNECTION).await;
    }
}
