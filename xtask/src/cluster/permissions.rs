//! The permissions of agents and operator: the requests in the API server's audit log beside the rules of their roles.

use super::kubectl;
use super::plan::{Machine, Name, Plan};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::PathBuf;

/// The namespace of agents and operator.
const NAMESPACE: &str = "nexin";
/// Their service accounts, with the kinds of their roles.
const ACCOUNTS: &[(&str, &[&str])] =
    &[("nexin-agent", &["clusterrole"]), ("nexin-operator", &["clusterrole", "role"])];

/// Permissions that a test of minutes does not use: account, resource, verb, reason.
const RARE: &[(&str, &str, &str, &str)] = &[
    ("nexin-agent", "policy.networking.k8s.io", "", "an installation does not define these kinds"),
    (
        "nexin-operator",
        "cilium.io/ciliumnodes",
        "create",
        "nodes of the test bed have blocks of the controller manager",
    ),
    (
        "nexin-operator",
        "cilium.io/ciliumnodes",
        "patch",
        "nodes of the test bed have blocks of the controller manager",
    ),
    (
        "nexin-operator",
        "cilium.io/ciliumidentities",
        "delete",
        "an identity is kept for 15 minutes without use",
    ),
    (
        "nexin-operator",
        "apiextensions.k8s.io/customresourcedefinitions",
        "create",
        "`kubectl apply` was first",
    ),
    (
        "nexin-operator",
        "apiextensions.k8s.io/customresourcedefinitions",
        "patch",
        "`kubectl apply` was first",
    ),
    ("nexin-operator", "secrets", "update", "the webhook's certificate is renewed after eleven months"),
    ("nexin-agent", "events", "", "pods that start well have no events of the agent"),
];

/// A verb on a resource: the group, a slash and the name in the plural, with a subresource behind another slash.
type Permission = (String, String);

/// The requests of an account.
#[derive(Debug, Default, PartialEq, Eq)]
struct Requests {
    allowed: BTreeSet<Permission>,
    forbidden: BTreeSet<Permission>,
}

/// What the audit log contains: the requests of our service accounts, without their bodies.
pub(super) const AUDIT_POLICY: &str = "\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- {level: Metadata, userGroups: ['system:serviceaccounts:nexin']}
- {level: None}
";

/// The audit log of a cluster.
pub(super) fn log(name: &Name) -> PathBuf {
    name.directory(Machine::Plane).join("audit.log")
}

/// Fails where the API server refused a request for lack of a permission.
pub(super) fn check_none_is_missing(plan: &Plan) -> Result<()> {
    let log = std::fs::read_to_string(log(&plan.name)).context("the API server wrote no audit log")?;
    for (account, _) in ACCOUNTS {
        let requests = requests(&log, account);
        ensure!(!requests.allowed.is_empty(), "{account} made no request");
        let missing = listed(&requests.forbidden);
        ensure!(missing.is_empty(), "{account} lacks permissions:\n{missing}");
    }
    println!("cluster: agents and operator lack no permission");
    Ok(())
}

/// Fails where a role allows what was not requested, except for what such a test does not lead to.
pub(super) fn check_each_is_used(plan: &Plan) -> Result<()> {
    let log = std::fs::read_to_string(log(&plan.name)).context("the API server wrote no audit log")?;
    for (account, roles) in ACCOUNTS {
        let used = requests(&log, account).allowed;
        let mut unused = BTreeSet::new();
        for role in *roles {
            let namespaced = ["get", role, account, "--namespace", NAMESPACE, "--output=json"];
            unused.extend(granted(&serde_json::from_str(&kubectl::run(plan, &namespaced)?)?));
        }
        unused.retain(|permission| !used.contains(permission));
        for (_, resource, verb, reason) in RARE.iter().filter(|(rare, ..)| rare == account) {
            let is_rare =
                |one: &Permission| one.0.starts_with(resource) && (verb.is_empty() || one.1 == *verb);
            let rare: BTreeSet<Permission> = unused.extract_if(.., is_rare).collect();
            if !rare.is_empty() {
                println!("cluster: {account} did not use, since {reason}:\n{}", listed(&rare));
            }
        }
        ensure!(unused.is_empty(), "{account} has permissions that nothing uses:\n{}", listed(&unused));
        println!("cluster: {account} used {} permissions, and has no others", used.len());
    }
    Ok(())
}

/// The requests of an account in a log.
fn requests(log: &str, account: &str) -> Requests {
    let user = format!("system:serviceaccount:{NAMESPACE}:{account}");
    let mut requests = Requests::default();
    // The last line may not be complete.
    let events = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    for event in events.filter(|event| event["user"]["username"] == *user) {
        let (Some(resource), Some(verb)) = (resource(&event["objectRef"]), event["verb"].as_str()) else {
            continue;
        };
        match event["responseStatus"]["code"].as_u64() {
            Some(403) => {
                requests.forbidden.insert((resource, verb.to_owned()));
            }
            // An apply that creates its object needs both verbs.
            Some(201) if verb == "patch" => {
                requests
                    .allowed
                    .extend([(resource.clone(), "create".to_owned()), (resource, verb.to_owned())]);
            }
            _ => {
                requests.allowed.insert((resource, verb.to_owned()));
            }
        }
    }
    requests
}

/// The resource of a request; none for one that is about no resource.
fn resource(object: &Value) -> Option<String> {
    let name = object["resource"].as_str()?;
    let group = object["apiGroup"].as_str().map(|group| format!("{group}/")).unwrap_or_default();
    let part = object["subresource"].as_str().map(|part| format!("/{part}")).unwrap_or_default();
    Some(format!("{group}{name}{part}"))
}

/// What a role allows.
fn granted(role: &Value) -> BTreeSet<Permission> {
    let list = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().filter_map(|one| one.as_str().map(str::to_owned)).collect()
    };
    let mut granted = BTreeSet::new();
    for rule in role["rules"].as_array().into_iter().flatten() {
        for group in list(&rule["apiGroups"]) {
            let group = if group.is_empty() { group } else { format!("{group}/") };
            for resource in list(&rule["resources"]) {
                let verbs = list(&rule["verbs"]).into_iter();
                granted.extend(verbs.map(|verb| (format!("{group}{resource}"), verb)));
            }
        }
    }
    granted
}

fn listed(permissions: &BTreeSet<Permission>) -> String {
    let lines = permissions.iter().map(|(resource, verb)| format!("  {verb} {resource}"));
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn permission(resource: &str, verb: &str) -> Permission {
        (resource.to_owned(), verb.to_owned())
    }

    #[test]
    fn requests_of_an_account_are_read_from_the_log() {
        let event = |account: &str, verb: &str, object: Value, code: u64| {
            let user = format!("system:serviceaccount:nexin:{account}");
            json!({"user": {"username": user}, "verb": verb, "objectRef": object, "responseStatus": {"code": code}})
                .to_string()
        };
        let endpoint = json!({"apiGroup": "cilium.io", "resource": "ciliumendpoints"});
        let status =
            json!({"apiGroup": "cilium.io", "resource": "ciliumnetworkpolicies", "subresource": "status"});
        let log = [
            event("nexin-agent", "watch", json!({"resource": "pods"}), 200),
            event("nexin-agent", "patch", endpoint, 201),
            event("nexin-agent", "patch", status, 403),
            event("nexin-operator", "list", json!({"resource": "pods"}), 200),
            "{\"user\":".to_owned(),
        ];
        let requests = requests(&log.join("\n"), "nexin-agent");
        let endpoints = "cilium.io/ciliumendpoints";
        let allowed =
            [permission("pods", "watch"), permission(endpoints, "patch"), permission(endpoints, "create")];
        assert_eq!(requests.allowed, allowed.into());
        assert_eq!(
            requests.forbidden,
            [permission("cilium.io/ciliumnetworkpolicies/status", "patch")].into()
        );
    }

    #[test]
    fn a_role_allows_each_verb_on_each_of_its_resources() {
        let role = json!({"rules": [
            {"apiGroups": [""], "resources": ["nodes", "pods"], "verbs": ["list"]},
            {"apiGroups": ["cilium.io"], "resources": ["ciliumnodes"], "verbs": ["patch"]},
        ]});
        let expected = [
            permission("nodes", "list"),
            permission("pods", "list"),
            permission("cilium.io/ciliumnodes", "patch"),
        ];
        assert_eq!(granted(&role), expected.into());
    }
}
