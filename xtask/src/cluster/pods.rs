//! The pods of a test: their objects, and the network namespaces in which the test's own threads work.

use super::plan::{Machine, Plan};
use super::{cgroups, images, kubectl};
use crate::command::run_with_input;
use anyhow::{Context, Result, ensure};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::{Value, json};
use std::fs::File;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread::JoinHandle;

/// A pod that runs.
#[derive(Clone, Debug)]
pub(super) struct Pod {
    pub(super) name: String,
    pub(super) addresses: Vec<IpAddr>,
    network: Arc<File>,
}

/// The object of a pod on a node that does nothing.
pub(super) fn idle(name: &str, node: Machine, app: &str) -> Value {
    object(name, node, app, json!({"name": "pause", "command": ["/bin/sleep", "2147483647"]}))
}

/// The object of a pod on a node with one container, which has agnhost's image.
pub(super) fn object(name: &str, node: Machine, app: &str, mut container: Value) -> Value {
    container["image"] = images::AGNHOST.into();
    container["imagePullPolicy"] = "Never".into();
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": app}},
        "spec": {
            "nodeName": node.to_string(),
            "terminationGracePeriodSeconds": 0,
            "automountServiceAccountToken": false,
            "enableServiceLinks": false,
            "containers": [container],
        },
    })
}

/// Creates objects, as far as they do not exist.
pub(super) fn create(plan: &Plan, objects: &[Value]) -> Result<()> {
    let list = json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string();
    run_with_input(kubectl::command(&plan.name).args(["apply", "--filename", "-"]), &list).map(drop)
}

/// Deletes pods, without waiting for their end.
pub(super) fn delete(plan: &Plan, names: &[String]) -> Result<()> {
    if names.is_empty() {
        return Ok(());
    }
    let mut arguments = vec!["delete", "pods", "--wait=false", "--ignore-not-found"];
    arguments.extend(names.iter().map(String::as_str));
    kubectl::run(plan, &arguments).map(drop)
}

/// Waits until the pods of these labels are ready.
pub(super) fn wait(plan: &Plan, selector: &str) -> Result<()> {
    let selector = format!("--selector={selector}");
    kubectl::run(plan, &["wait", "--for=condition=Ready", "pods", &selector, "--timeout=120s"]).map(drop)
}

/// Waits until the pods of these labels are ready, and returns them by their names.
pub(super) fn ready(plan: &Plan, selector: &str, count: usize) -> Result<Vec<Pod>> {
    wait(plan, selector)?;
    let selector = format!("--selector={selector}");
    let listed: Value =
        serde_json::from_str(&kubectl::run(plan, &["get", "pods", &selector, "--output=json"])?)?;
    let items = listed["items"].as_array().context("the list of pods has no items")?;
    let mut pods = items.iter().map(|pod| Pod::read(plan, pod)).collect::<Result<Vec<Pod>>>()?;
    ensure!(pods.len() == count, "{} pods have the labels {selector}, expected {count}", pods.len());
    pods.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(pods)
}

impl Pod {
    fn read(plan: &Plan, pod: &Value) -> Result<Self> {
        let text = |value: &Value| value.as_str().map(str::to_owned).context("a pod lacks a field");
        let node: Machine = text(&pod["spec"]["nodeName"])?.parse()?;
        let addresses = pod["status"]["podIPs"].as_array().into_iter().flatten();
        let addresses = addresses.map(|address| Ok(text(&address["ip"])?.parse()?));
        Ok(Self {
            name: text(&pod["metadata"]["name"])?,
            addresses: addresses.collect::<Result<_>>()?,
            network: Arc::new(network(plan, node, &text(&pod["metadata"]["uid"])?)?),
        })
    }

    /// The pod's address of a family.
    pub(super) fn address(&self, is_v4: bool) -> Result<IpAddr> {
        let found = self.addresses.iter().find(|address| address.is_ipv4() == is_v4);
        found.copied().with_context(|| format!("{} lacks an address of a family", self.name))
    }

    /// Runs work on a thread in the pod's network namespace; threads that it starts are in there too.
    pub(super) fn start<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> JoinHandle<Result<T>> {
        let network = Arc::clone(&self.network);
        std::thread::spawn(move || {
            move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))?;
            work()
        })
    }
}

/// The network namespace of a pod, which is that of a process in the pod's cgroup.
fn network(plan: &Plan, node: Machine, uid: &str) -> Result<File> {
    let group = format!("/pod{uid}/");
    let is_of_pod = |pid: &i32| {
        std::fs::read_to_string(format!("/proc/{pid}/cgroup")).is_ok_and(|text| text.contains(&group))
    };
    let pid = cgroups::processes(&plan.name, Some(node))?.into_iter().find(is_of_pod);
    let pid = pid.with_context(|| format!("no process of the pod {uid} runs on {node}"))?;
    Ok(File::open(format!("/proc/{pid}/ns/net"))?)
}
