//! `nexin install`: the objects of an installation.

use super::installation::Installation;
use crate::outcome::{BadInput, Outcome};
use crate::session::Session;
use clap::Args;
use delivery::{InstallSettings, yaml};
use kubernetes::{ObjectRequest, exchange};
use serde_json::{Value, json};

/// Install Nexin in a cluster
///
/// The objects are a namespace, the definitions of custom resources, the agent (a DaemonSet) and the operator (a Deployment), with
/// their permissions. --dry-run prints them, for kubectl apply -f - or a repository.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  nexin install --dry-run | kubectl apply --server-side -f -\n  \
    nexin install --kubeconfig ~/.kube/config --pool 10.244.0.0/16\n  \
    nexin install --behind 10-calico.conflist --no-masquerade --audit")]
pub(crate) struct Install {
    /// Print the objects and change nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    installation: Installation,
    /// Image of both
    #[arg(long, value_name = "IMAGE")]
    image: Option<String>,
    /// Name of the cluster
    #[arg(long, value_name = "NAME")]
    cluster_name: Option<String>,
    /// Block that the operator cuts into blocks of nodes, at most one of each family [default: none; the controller
    /// manager assigns them]
    #[arg(long, value_name = "BLOCK")]
    pool: Vec<String>,
    /// Let packets pass that policy denies, and report them
    #[arg(long)]
    audit: bool,
    /// Add policy to the pods of another plugin, whose network list this file in /etc/cni/net.d is
    #[arg(long, value_name = "FILE")]
    behind: Option<String>,
    /// Leave the addresses of packets to addresses outside as they are, for instance because another plugin masquerades
    #[arg(long)]
    no_masquerade: bool,
    /// Label of the nodes that get an agent; several must all be there [default: all nodes]
    #[arg(long, value_name = "KEY=VALUE", value_parser = label)]
    node_selector: Vec<(String, String)>,
}

/// A label of a node.
fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) =
        text.split_once('=').ok_or("a label is KEY=VALUE, such as example.org/network=nexin")?;
    Ok((key.to_owned(), value.to_owned()))
}

impl Install {
    pub(crate) fn run(self, session: &Session) -> anyhow::Result<Outcome> {
        let settings = self.settings()?;
        let files = delivery::files(&settings);
        let objects = files.iter().flat_map(|file| &file.objects);
        if self.dry_run {
            session.print_line(yaml::documents(objects).trim_end())?;
            return Ok(Outcome::Holds);
        }
        let connection = self.installation.connection();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let client = connection.client().await?;
            for object in objects {
                let place = delivery::place(object);
                exchange(&client, &place.path, ObjectRequest::Apply(object, "nexin-install")).await?;
                session.print_line(&format!("{} applied", place.name))?;
            }
            Ok(Outcome::Holds)
        })
    }

    fn settings(&self) -> Result<InstallSettings, BadInput> {
        let default = self.installation.settings();
        let mut settings = InstallSettings {
            image: self.image.clone().unwrap_or(default.image),
            cluster_name: self.cluster_name.clone().unwrap_or(default.cluster_name),
            masquerade: (!self.no_masquerade).into(),
            audit: self.audit.into(),
            cni: self.behind.as_ref().map_or(default.cni, |file| json!({"behind": file})),
            node_selector: self
                .node_selector
                .iter()
                .cloned()
                .map(|(key, value)| (key, Value::from(value)))
                .collect(),
            ..default
        };
        for text in &self.pool {
            let wrong = |why: &str| BadInput(format!("--pool: {text:?} {why}"));
            let block =
                super::agent::block(text).ok_or_else(|| wrong("is not a block such as 10.244.0.0/16"))?;
            let pool = if block.address().is_ipv4() { &mut settings.pool_v4 } else { &mut settings.pool_v6 };
            if !pool.is_empty() {
                return Err(wrong("is the second block of its family; give one of each"));
            }
            *pool = block.to_string();
        }
        Ok(settings)
    }
}
