//! The objects of an installation, in the order in which they are applied.

mod agent;
mod component;
mod operator;
mod settings;

use crate::resource::RESOURCES;
use serde_json::{Value, json};

pub use operator::{HEALTH_PORT, WEBHOOK_PORT};
pub use settings::InstallSettings;

/// A file of an installation: its name, and its objects.
#[derive(Clone, Debug, PartialEq)]
pub struct InstallFile {
    /// The name; the files are applied in the order of their names.
    pub name: &'static str,
    /// Its objects.
    pub objects: Vec<Value>,
}

/// The files of an installation.
pub fn files(settings: &InstallSettings) -> Vec<InstallFile> {
    let definitions = RESOURCES.iter().map(|resource| resource.definition()).collect();
    let namespace = json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": settings.namespace,
            // The agent changes the network of its node.
            "labels": {"pod-security.kubernetes.io/enforce": "privileged"},
        },
    });
    let file = |name, objects| InstallFile { name, objects };
    vec![
        file("00-namespace", vec![namespace]),
        file("10-definitions", definitions),
        file("20-agent", agent::objects(settings)),
        file("30-operator", operator::objects(settings)),
    ]
}
