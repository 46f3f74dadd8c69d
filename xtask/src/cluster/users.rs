//! The users of a cluster: a token and a kubeconfig for each.

use super::plan::{self, Name, Plan};
use anyhow::Result;
use serde_json::json;
use std::path::PathBuf;

/// The user that may do everything.
pub(super) const ADMIN: &str = "admin";

/// The file of all tokens.
pub(super) fn tokens(name: &Name) -> PathBuf {
    name.state().join("users/tokens.csv")
}

/// Writes the tokens and kubeconfigs. The tokens are no secret: only this machine's root reaches the cluster.
pub(super) fn write(plan: &Plan) -> Result<()> {
    let mut lines = String::new();
    for (file, user, group) in users(plan) {
        lines.push_str(&format!("token-{file},{user},{user},\"{group}\"\n"));
        std::fs::write(plan.name.kubeconfig(&file), kubeconfig(&plan.name, &file))?;
    }
    Ok(std::fs::write(tokens(&plan.name), lines)?)
}

/// The file, user name and group of each user, by the names that the cluster's own roles are bound to.
fn users(plan: &Plan) -> Vec<(String, String, &'static str)> {
    let component = |name: &str| (name.to_owned(), format!("system:{name}"), "system:components");
    let mut users = vec![(ADMIN.to_owned(), ADMIN.to_owned(), "system:masters")];
    users.extend(["kube-controller-manager", "kube-scheduler", "kube-proxy"].map(component));
    users.extend(
        plan.node_machines().map(|node| (node.to_string(), format!("system:node:{node}"), "system:nodes")),
    );
    users
}

fn kubeconfig(name: &Name, file: &str) -> String {
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name.to_string(), "cluster": {
            "server": plan::server(), "certificate-authority": name.certificate(),
        }}],
        "users": [{"name": file, "user": {"token": format!("token-{file}")}}],
        "contexts": [{"name": name.to_string(), "context": {"cluster": name.to_string(), "user": file}}],
        "current-context": name.to_string(),
    })
    .to_string()
}
