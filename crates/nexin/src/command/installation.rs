//! The options by which `nexin install` and `nexin uninstall` find an installation.

use clap::Args;
use delivery::InstallSettings;
use kubernetes::UserConnection;
use std::path::PathBuf;

/// A cluster, and where Nexin is in it.
#[derive(Clone, Debug, Args)]
pub(super) struct Installation {
    /// Kubeconfig [default: as kubectl's]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig [default: the current one]
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
    /// Namespace of agents and operator
    #[arg(long, value_name = "NAME")]
    namespace: Option<String>,
}

impl Installation {
    /// How to reach the API server.
    pub(super) fn connection(&self) -> UserConnection {
        UserConnection { kubeconfig: self.kubeconfig.clone(), context: self.context.clone() }
    }

    /// The default settings, in the namespace of this installation.
    pub(super) fn settings(&self) -> InstallSettings {
        let default = InstallSettings::default();
        InstallSettings { namespace: self.namespace.clone().unwrap_or(default.namespace), ..default }
    }
}
