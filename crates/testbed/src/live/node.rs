//! A node for tests: a network namespace, and an agent in it.

use crate::engine::EngineError;
use crate::state::{HOST, HOST_ADDRESSES, TestWorkload};
use agent::AgentConfig;
use api::{ApiRequest, CallError, Client, view};
use manifest::test::{NodeState, WorkloadName};
use policy::rule::{Cidr, EnforcementMode};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use workload::NetworkNamespace;

/// The prefix of the names of such nodes; the process number of the maker follows.
const PREFIX: &str = "nexin-test-";
/// The prefix of the names of their agents' instances; the same number follows.
const INSTANCE: &str = "test-";
/// How long an agent may take to answer.
const STARTING: Duration = Duration::from_secs(20);

/// A node; dropping it removes everything.
pub(super) struct LiveNode {
    name: String,
    program: PathBuf,
    config: AgentConfig,
    wiring: workload::NodeNamespace,
    agent: Child,
}

impl LiveNode {
    /// Removes the leftovers of earlier processes, and sets a node up.
    pub(super) fn start(program: &Path) -> Result<Self, EngineError> {
        remove_leftovers().map_err(EngineError::failed("removing what an earlier run left"))?;
        let process = std::process::id();
        let (name, config) = (format!("{PREFIX}{process}"), config(process));
        let namespace =
            NetworkNamespace::create(&name).map_err(EngineError::failed("making a node's namespace"))?;
        let started = start_agent(program, &namespace, &config);
        let wiring = workload::NodeNamespace::of(namespace);
        let agent = started.inspect_err(|_| remove(&name, &config))?;
        let wiring = wiring.map_err(EngineError::failed("entering the node's namespace"))?;
        let mut node = Self { name, program: program.to_owned(), config, wiring, agent };
        node.await_agent()?;
        Ok(node)
    }

    /// Restarts the agent with other modes; the agent restores its workloads and policies.
    pub(super) fn enforce(&mut self, mode: EnforcementMode, audit: bool) -> Result<(), EngineError> {
        self.config.enforcement = mode;
        self.config.audit = audit;
        self.agent
            .kill()
            .and_then(|()| self.agent.wait())
            .map_err(EngineError::failed("ending the agent"))?;
        self.agent = start_agent(&self.program, self.wiring.namespace(), &self.config)?;
        self.await_agent()
    }

    /// The node's own network namespace.
    pub(super) fn namespace(&self) -> &NetworkNamespace {
        self.wiring.namespace()
    }

    /// The node's side of wires.
    pub(super) fn wiring(&mut self) -> &mut workload::NodeNamespace {
        &mut self.wiring
    }

    /// Makes a workload, and returns its namespace.
    pub(super) fn create_workload(
        &self,
        name: &WorkloadName,
        workload: &TestWorkload,
    ) -> Result<NetworkNamespace, EngineError> {
        let ports = workload.named_ports.iter().map(|port| {
            (port.name.clone(), format!("{}/{}", port.port, crate::crossing::protocol_name(port.protocol)))
        });
        let made: view::EndpointSummary = self.call(ApiRequest::CreateWorkload(api::WorkloadSpec {
            namespace: name.namespace.clone(),
            name: name.name.clone(),
            labels: workload.labels.clone(),
            addresses: workload.addresses.clone(),
            named_ports: ports.collect(),
            owner: Some(std::process::id()),
        }))?;
        NetworkNamespace::open(&made.network_namespace).map_err(EngineError::failed("entering a workload"))
    }

    /// Removes a workload.
    pub(super) fn remove_workload(&self, name: &WorkloadName) -> Result<(), EngineError> {
        let (namespace, name) = (name.namespace.clone(), name.name.clone());
        self.call::<Value>(ApiRequest::RemoveWorkload { namespace, name }).map(drop)
    }

    /// Applies a manifest.
    pub(super) fn apply(&self, text: &str) -> Result<(), EngineError> {
        let request = ApiRequest::Apply { file: "test".into(), text: text.to_owned(), results: false };
        self.call::<Value>(request).map(drop)
    }

    /// Applies a namespace's labels.
    pub(super) fn apply_namespace(
        &self,
        name: &str,
        labels: &BTreeMap<String, String>,
    ) -> Result<(), EngineError> {
        let metadata = json!({"name": name, "labels": labels});
        self.apply(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}).to_string())
    }

    /// Applies another node.
    pub(super) fn apply_node(&self, node: &NodeState) -> Result<(), EngineError> {
        let addresses =
            node.addresses.iter().map(|address| json!({"type": "InternalIP", "address": address}));
        let addresses: Vec<Value> = addresses.collect();
        let metadata = json!({"name": node.name, "labels": node.labels});
        let status = json!({"addresses": addresses});
        let manifest = json!({"apiVersion": "v1", "kind": "Node", "metadata": metadata, "status": status});
        self.apply(&manifest.to_string())
    }

    /// Gives the node itself labels.
    pub(super) fn label(&self, labels: &BTreeMap<String, String>) -> Result<(), EngineError> {
        let name = HOST.to_owned();
        self.apply_node(&NodeState { name, labels: labels.clone(), addresses: Vec::new() })
    }

    /// Deletes an object by name.
    pub(super) fn delete(&self, name: &str) -> Result<(), EngineError> {
        self.call::<Value>(ApiRequest::Delete { names: vec![name.to_owned()] }).map(drop)
    }

    fn call<T: serde::de::DeserializeOwned>(&self, request: ApiRequest) -> Result<T, EngineError> {
        let mut client = self.client().map_err(EngineError::failed("calling the agent"))?;
        client.call(request).map_err(EngineError::failed("calling the agent"))
    }

    fn client(&self) -> Result<Client, CallError> {
        Client::connect(&self.config.paths().socket())
    }

    /// Waits until the agent answers.
    fn await_agent(&mut self) -> Result<(), EngineError> {
        let until = Instant::now() + STARTING;
        loop {
            match self.client().and_then(|mut client| client.call::<view::Status>(ApiRequest::Status)) {
                Ok(_) => return Ok(()),
                Err(CallError::Unreachable { .. }) if Instant::now() < until => {}
                Err(error) => return Err(EngineError::failed("starting the agent")(error)),
            }
            if let Ok(Some(status)) = self.agent.try_wait() {
                let said = fs::read_to_string(log(&self.config)).unwrap_or_default();
                let message = format!("it ended with {status}: {}", said.trim_end());
                return Err(EngineError::failed("starting the agent")(io::Error::other(message)));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for LiveNode {
    fn drop(&mut self) {
        // The exit status does not matter: the next lines remove what the agent made.
        let _ = self.agent.kill();
        let _ = self.agent.wait();
        remove(&self.name, &self.config);
    }
}

fn start_agent(
    program: &Path,
    namespace: &NetworkNamespace,
    config: &AgentConfig,
) -> Result<Child, EngineError> {
    let start = || {
        let directory = &config.directory;
        fs::create_dir_all(&config.policies)?;
        let settings = directory.join("agent.json");
        fs::write(&settings, written(config).to_string())?;
        let output = File::create(log(config))?;
        let mut command = Command::new(program);
        command.arg("agent").arg("--config").arg(settings).current_dir(directory);
        // A signal from the terminal goes to the tests, which stop their agent themselves.
        command.process_group(0).stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        namespace.enter(|| command.spawn()).map_err(io::Error::other)?
    };
    start().map_err(EngineError::failed("starting the agent"))
}

/// Every address of either family.
const ANYWHERE: [(IpAddr, u8); 2] =
    [(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0), (IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0)];

fn config(process: u32) -> AgentConfig {
    let directory = PathBuf::from(format!("/run/{PREFIX}{process}"));
    let block = |(address, length)| Cidr::new(address, length).expect("the length is one of the family");
    AgentConfig {
        instance: format!("{INSTANCE}{process}"),
        policies: directory.join("policies"),
        state_directory: directory.clone(),
        directory,
        node_name: Some(HOST.to_owned()),
        // The first address of each block is the node's own.
        workload_addresses: HOST_ADDRESSES.into_iter().zip([16, 64]).map(block).collect(),
        // A test may give its workloads any address.
        given_addresses: ANYWHERE.into_iter().map(block).collect(),
        ..AgentConfig::default()
    }
}

/// The configuration as `nexin agent --config` reads it.
fn written(config: &AgentConfig) -> Value {
    let mode = match config.enforcement {
        EnforcementMode::Default => "default",
        EnforcementMode::Always => "always",
        EnforcementMode::Never => "never",
    };
    let blocks = |blocks: &[Cidr]| blocks.iter().map(Cidr::to_string).collect::<Vec<_>>();
    json!({
        "instance": config.instance,
        "directory": config.directory,
        "policies": config.policies,
        "nodeName": config.node_name,
        "policyEnforcement": mode,
        "policyAuditMode": config.audit,
        "workloadAddresses": blocks(&config.workload_addresses),
        "givenAddresses": blocks(&config.given_addresses),
    })
}

fn log(config: &AgentConfig) -> PathBuf {
    config.directory.join("agent.log")
}

/// Removes the nodes of processes that have ended.
fn remove_leftovers() -> Result<(), workload::NamespaceError> {
    for name in NetworkNamespace::names()? {
        let Some(process) = name.strip_prefix(PREFIX).and_then(|number| number.parse::<u32>().ok()) else {
            continue;
        };
        // A zombie still has a process number, but no program.
        let program = fs::read_link(format!("/proc/{process}/exe"));
        if program.is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound) {
            remove(&name, &config(process));
        }
    }
    Ok(())
}

/// Removes the parts of a node that exist, its agent included.
fn remove(name: &str, config: &AgentConfig) {
    if let Ok(namespace) = NetworkNamespace::open(name) {
        // The agent of crashed tests runs on. All processes in the node's namespace belong to the node.
        let _ = namespace.kill_all(None);
    }
    let inside = AgentConfig { network_namespace: Some(name.to_owned()), ..config.clone() };
    // The next run removes what cannot be removed now.
    let _ = agent::remove(&inside);
    let _ = NetworkNamespace::delete(name);
}
