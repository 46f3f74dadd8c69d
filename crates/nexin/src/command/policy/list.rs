//! `nexin policy list`: the policies of the agent.

use crate::listing;
use crate::outcome::Outcome;
use crate::session::Session;
use api::ApiRequest;
use api::view::PolicySummary;
use clap::Args;

/// List the policies of the agent
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  nexin policy list\n  nexin policy list -n shop -o json")]
pub(crate) struct List {
    /// List the policies of this namespace only, without cluster-wide policies
    #[arg(short, long, value_name = "NAMESPACE")]
    namespace: Option<String>,
}

impl List {
    pub(super) fn run(self, session: &Session) -> anyhow::Result<Outcome> {
        let mut policies: Vec<PolicySummary> = session.agent()?.call(ApiRequest::Policies)?;
        policies.retain(|policy| self.includes(policy));
        let header = ["kind", "namespace", "name", "rules", "endpoints", "source"];
        listing::print(session, &policies, header, |policy| {
            [
                policy.kind.clone(),
                policy.namespace.clone().unwrap_or_else(|| "-".into()),
                policy.name.clone(),
                policy.rules.to_string(),
                policy.endpoints.to_string(),
                policy.source.clone(),
            ]
        })
    }

    fn includes(&self, policy: &PolicySummary) -> bool {
        self.namespace.is_none() || policy.namespace == self.namespace
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_leaves_out_other_namespaces_and_cluster_wide_policies() {
        let policy = |namespace: Option<&str>| PolicySummary {
            kind: "CiliumNetworkPolicy".into(),
            namespace: namespace.map(str::to_owned),
            name: "rule1".into(),
            rules: 1,
            endpoints: 0,
            source: "applied:rule1.yaml".into(),
        };
        let policies = [Some("shop"), Some("default"), None].map(policy);
        let included = |namespace: Option<&str>| {
            let list = List { namespace: namespace.map(str::to_owned) };
            policies.each_ref().map(|policy| list.includes(policy))
        };
        assert_eq!(included(Some("shop")), [true, false, false]);
        assert_eq!(included(None), [true; 3]);
    }
}
