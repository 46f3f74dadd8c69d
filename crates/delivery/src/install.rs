//! The objects of an installation, in the order in which they are applied.

mod agent;
mod component;
mod operator;
mod settings;

use crate::resource::RESOURCES;
use crate::yaml;
use serde_json::{Value, json};

pub use operator::{HEALTH_PORT, WEBHOOK_NAME, WEBHOOK_PORT};
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

/// A file of the chart: its path, and its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChartFile {
    /// The path within the chart.
    pub path: String,
    /// The text.
    pub text: String,
}

/// The Helm chart: the same objects, with placeholders for what differs between installations. Helm makes the namespace, and the
/// operator installs the definitions, which Helm would not update.
pub fn chart() -> Vec<ChartFile> {
    let description = json!({
        "apiVersion": "v2",
        "name": "nexin",
        "description": "Identity-based network policy with eBPF",
        "type": "application",
        "version": env!("CARGO_PKG_VERSION"),
        "appVersion": env!("CARGO_PKG_VERSION"),
    });
    let values = InstallSettings::default().chart_values();
    let file = |path: &str, text: String| ChartFile { path: path.into(), text };
    let mut chart =
        vec![file("Chart.yaml", yaml::document(&description)), file("values.yaml", yaml::document(&values))];
    for InstallFile { name, objects } in files(&InstallSettings::of_chart()) {
        if objects
            .iter()
            .any(|object| object["kind"] == "Namespace" || object["kind"] == "CustomResourceDefinition")
        {
            continue;
        }
        chart.push(file(&format!("templates/{name}.yaml"), yaml::documents(&objects)));
    }
    chart
}
