//! The tutorial on a cluster: requests to app1 from app2 and app3, before a policy, under it, and after it.

use super::kubectl;
use super::plan::Plan;
use crate::tree;
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt;
use std::time::{Duration, Instant};

const APPLICATION: &str = "testbed/kubernetes/tutorial.yaml";
const POLICY: &str = "examples/tutorial/rule1.yaml";
/// The seconds that a request waits for an answer.
const PATIENCE: &str = "2";
/// The time in which every node enforces a change of policy.
const ENFORCED: Duration = Duration::from_secs(10);

/// What a request gets.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Answer {
    /// A response with this status.
    Status(u16),
    /// None in time: the packets were dropped.
    Nothing,
    /// The request did not get that far.
    Other(String),
}

/// A client, a path, and the answer.
type Expected = (&'static str, &'static str, Answer);

const OPEN: &[Expected] = &[
    ("app2", "/public", Answer::Status(200)),
    ("app2", "/private", Answer::Status(200)),
    ("app3", "/public", Answer::Status(200)),
];
const UNDER_POLICY: &[Expected] = &[
    ("app2", "/public", Answer::Status(200)),
    ("app2", "/private", Answer::Status(403)),
    ("app3", "/public", Answer::Nothing),
];

/// Runs the tutorial, which removes what it created; an answer other than expected is an error.
pub(super) fn run(plan: &Plan) -> Result<()> {
    let started = Instant::now();
    let [application, policy] =
        [APPLICATION, POLICY].map(|path| tree::root().join(path).display().to_string());
    kubectl::run(plan, &["apply", "--filename", &application])?;
    kubectl::run(
        plan,
        &["wait", "--for=condition=Available", "deployments", "app1", "app2", "app3", "--timeout=60s"],
    )?;
    let servers = servers(plan)?;
    println!(
        "cluster: the application is ready after {:.1} s, at {}",
        started.elapsed().as_secs_f32(),
        servers.join(", ")
    );
    check(plan, "without a policy", &servers, OPEN)?;
    print!("{}", kubectl::run(plan, &["apply", "--filename", &policy])?);
    check(plan, "under the policy", &servers, UNDER_POLICY)?;
    print!("{}", kubectl::run(plan, &["delete", "--filename", &policy])?);
    check(plan, "without the policy again", &servers, OPEN)?;
    kubectl::run(plan, &["delete", "--filename", &application])?;
    println!("cluster: the tutorial took {:.1} s", started.elapsed().as_secs_f32());
    Ok(())
}

/// The name and addresses of the service, and the addresses of the pods behind it, as a URL has them.
fn servers(plan: &Plan) -> Result<Vec<String>> {
    let object = |arguments: &[&str]| -> Result<Value> {
        Ok(serde_json::from_str(&kubectl::run(plan, &[arguments, &["--output=json"]].concat())?)?)
    };
    let service = object(&["get", "service", "app1-service"])?;
    let pods = object(&["get", "pods", "--selector=id=app1"])?;
    let pods = pods["items"].as_array().context("the list of pods has no items")?;
    // A pod of an earlier run may still be about to end.
    let lasting = pods.iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
    let of_pods = lasting.flat_map(|pod| pod["status"]["podIPs"].as_array().into_iter().flatten());
    let of_service = service["spec"]["clusterIPs"].as_array().into_iter().flatten();
    let addresses = of_service.chain(of_pods.map(|address| &address["ip"])).filter_map(Value::as_str);
    let addresses: Vec<&str> = addresses.collect();
    // Two pods with one address would answer for each other, each on its own node.
    let distinct: BTreeSet<&str> = addresses.iter().copied().collect();
    ensure!(distinct.len() == addresses.len(), "several pods have one address: {}", addresses.join(", "));
    let in_url =
        |address: &str| if address.contains(':') { format!("[{address}]") } else { address.to_owned() };
    Ok(std::iter::once("app1-service".to_owned()).chain(addresses.into_iter().map(in_url)).collect())
}

/// Sends every request to every server. A change of policy takes effect on each node a moment after it was applied.
fn check(plan: &Plan, when: &str, servers: &[String], expected: &[Expected]) -> Result<()> {
    let deadline = Instant::now() + ENFORCED;
    let mut wrong = differences(plan, servers, expected)?;
    while !wrong.is_empty() && Instant::now() < deadline {
        wrong = differences(plan, servers, expected)?;
    }
    if !wrong.is_empty() {
        bail!("{when}:\n{}", wrong.join("\n"));
    }
    println!("cluster: {when}: all {} requests got the expected answer", servers.len() * expected.len());
    Ok(())
}

/// The requests whose answer is another one than expected.
fn differences(plan: &Plan, servers: &[String], expected: &[Expected]) -> Result<Vec<String>> {
    let mut differences = Vec::new();
    for (client, path, answer) in expected {
        for server in servers {
            let url = format!("http://{server}{path}");
            let found = request(plan, client, &url)?;
            if found != *answer {
                differences.push(format!("  {client} GET {url}: {found}, expected {answer}"));
            }
        }
    }
    Ok(differences)
}

/// Sends a request from a pod of a deployment.
fn request(plan: &Plan, client: &str, url: &str) -> Result<Answer> {
    let deployment = format!("deployment/{client}");
    let mut command = kubectl::command(&plan.name);
    command.args(["exec", &deployment, "--", "curl", "--silent", "--globoff", "--output", "/dev/null"]);
    let output =
        command.args(["--max-time", PATIENCE, "--write-out", "%{http_code} %{exitcode}", url]).output()?;
    Ok(answer(&String::from_utf8_lossy(&output.stdout), &String::from_utf8_lossy(&output.stderr)))
}

/// Reads the status and the exit code that curl printed; 28 is its code for a time-out.
fn answer(printed: &str, errors: &str) -> Answer {
    match printed.split_once(' ') {
        Some((status, "0")) => {
            status.parse().map_or_else(|_| Answer::Other(printed.to_owned()), Answer::Status)
        }
        Some(("000", "28")) => Answer::Nothing,
        _ => Answer::Other(format!("{printed} {}", errors.trim())),
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "{status}"),
            Self::Nothing => f.write_str("no answer"),
            Self::Other(text) => write!(f, "`{text}`"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_from_what_curl_prints() {
        assert_eq!(answer("403 0", ""), Answer::Status(403));
        assert_eq!(answer("000 28", "exit code 28"), Answer::Nothing);
        // A refused connection is no dropped one.
        assert_eq!(answer("000 7", "exit code 7\n"), Answer::Other("000 7 exit code 7".to_owned()));
        assert_eq!(answer("", "no such pod"), Answer::Other(" no such pod".to_owned()));
    }
}
