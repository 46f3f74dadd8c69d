//! `nexin uninstall`: removes the objects of an installation, and reports what stays in force.

use super::installation::Installation;
use crate::outcome::Outcome;
use crate::session::Session;
use clap::Args;
use delivery::GROUP;
use kubernetes::{Client, ObjectRequest, RequestError, exchange};
use serde_json::Value;

/// Remove Nexin from a cluster, and say what stays in force
///
/// Pods that run keep their network and stay under the policies of this moment: their nodes' kernels enforce them without an
/// agent. Policies, identities and their definitions stay too; --definitions removes them, and with them every policy of these
/// kinds.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  nexin uninstall --dry-run\n  nexin uninstall --context staging")]
pub(crate) struct Uninstall {
    /// Print the names of the objects and change nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    installation: Installation,
    /// Remove the definitions of custom resources, and with them all policies, endpoints and identities of these kinds
    #[arg(long)]
    definitions: bool,
}

/// What the nodes keep, and how it ends.
const STAYS: &str = "\
Each node keeps /etc/cni/net.d/05-nexin.conflist, and new pods wait for an agent until it is removed. A pod that starts after that
gets the network of the next list. Programs and policies of a node are gone after a restart of the node.";

impl Uninstall {
    pub(crate) fn run(self, session: &Session) -> anyhow::Result<Outcome> {
        let files = delivery::files(&self.installation.settings());
        let is_removed = |object: &&Value| self.definitions || object["kind"] != "CustomResourceDefinition";
        let mut objects: Vec<&Value> =
            files.iter().flat_map(|file| &file.objects).filter(is_removed).collect();
        objects.reverse();
        if self.dry_run {
            for object in objects {
                session.print_line(&delivery::place(object).name)?;
            }
            return Ok(Outcome::Holds);
        }
        let connection = self.installation.connection();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let client = connection.client().await?;
            let endpoints = endpoints(&client).await?;
            for object in objects {
                let place = delivery::place(object);
                let end = if remove(&client, &place.path).await? { "removed" } else { "is not there" };
                session.print_line(&format!("{} {end}", place.name))?;
            }
            session.print_line(&format!(
                "\n{endpoints} pods that run keep their network and stay under the policies of this moment."
            ))?;
            session.print_line(STAYS)?;
            Ok(Outcome::Holds)
        })
    }
}

/// How many pods have an endpoint.
async fn endpoints(client: &Client) -> Result<usize, RequestError> {
    match exchange(client, &format!("/apis/{GROUP}/v2/ciliumendpoints"), ObjectRequest::Read).await {
        Ok(list) => Ok(list["items"].as_array().map_or(0, Vec::len)),
        Err(error) if error.is_absent() => Ok(0),
        Err(error) => Err(error),
    }
}

/// Removes the object at a path; returns whether there was one.
async fn remove(client: &Client, path: &str) -> Result<bool, RequestError> {
    let removed = async {
        let found = exchange(client, path, ObjectRequest::Read).await?;
        let uid = found["metadata"]["uid"].as_str().unwrap_or_default();
        exchange(client, path, ObjectRequest::Delete(uid)).await
    };
    match removed.await {
        Ok(_) => Ok(true),
        Err(error) if error.is_absent() => Ok(false),
        Err(error) => Err(error),
    }
}
