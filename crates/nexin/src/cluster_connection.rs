//! The options that name the cluster of a command with `--cluster`.

use clap::Args;
use kubernetes::UserConnection;
use std::path::PathBuf;

/// The kubeconfig and its context.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub(crate) struct ClusterConnection {
    /// Kubeconfig of the cluster [default: $KUBECONFIG, else ~/.kube/config]
    #[arg(long, value_name = "PATH", requires = "cluster")]
    kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig [default: its current context]
    #[arg(long, value_name = "NAME", requires = "cluster")]
    context: Option<String>,
}

impl From<&ClusterConnection> for UserConnection {
    fn from(options: &ClusterConnection) -> Self {
        Self { kubeconfig: options.kubeconfig.clone(), context: options.context.clone() }
    }
}
