//! A node for one test: a network namespace, an agent in it, workloads with HTTP servers and clients.

#[path = "host.rs"]
mod host;
#[path = "manifests.rs"]
mod manifests;

use api::view::{EndpointSummary, Status};
use api::{ApiRequest, Client};
use serde::de::DeserializeOwned;
use std::fs;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use workload::{NetworkNamespace, NodeNamespace, Plan, Route, RouteKind};

pub(crate) use host::Host;
pub(crate) use manifests::requests_to_server;

/// The timeout for expected events.
pub(crate) const SOON: Duration = Duration::from_secs(10);

/// A node; dropping it removes everything.
pub(crate) struct Bed {
    pub(crate) name: String,
    pub(crate) directory: PathBuf,
    agent: Option<Child>,
    shell: Option<String>,
}

impl Bed {
    /// A node with a running agent. `name` distinguishes it from the nodes of other tests.
    pub(crate) fn new(name: &str) -> Self {
        Self::with(name, serde_json::Value::Null)
    }

    /// A node with a running agent whose proxy has these limits.
    pub(crate) fn with(name: &str, proxy: serde_json::Value) -> Self {
        let more =
            if proxy.is_null() { serde_json::json!({}) } else { serde_json::json!({ "proxy": proxy }) };
        let mut bed = Self::idle(name, &more);
        bed.start();
        bed
    }

    /// A node whose agent is not started yet and has these additional settings.
    pub(crate) fn idle(name: &str, more: &serde_json::Value) -> Self {
        let name = format!("nxt{}{name}", std::process::id());
        let directory = std::env::temp_dir().join(&name);
        fs::create_dir_all(directory.join("policies")).unwrap();
        let mut settings = serde_json::json!({
            "instance": name,
            "directory": directory.join("run"),
            "policies": directory.join("policies"),
            "networkNamespace": name,
        });
        settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        // A separate disk for persistent state, if the test made one.
        if directory.join("state").is_dir() {
            settings["stateDirectory"] = directory.join("state").to_str().into();
        }
        fs::write(directory.join("agent.json"), settings.to_string()).unwrap();
        NetworkNamespace::create(&name).unwrap();
        Self { name, directory, agent: None, shell: None }
    }

    /// Starts the agent from a shell that runs these commands first.
    pub(crate) fn shell(&mut self, commands: &str) {
        self.shell = Some(commands.to_owned());
    }

    /// The process ID of the agent.
    pub(crate) fn agent(&self) -> u32 {
        self.agent.as_ref().unwrap().id()
    }

    /// Runs another agent on this node, with these settings changed: its exit code and log; the code is none if it still
    /// runs after a while.
    pub(crate) fn try_another(&self, changed: &serde_json::Value) -> (Option<i32>, String) {
        let text = fs::read_to_string(self.directory.join("agent.json")).unwrap();
        let mut settings: serde_json::Value = serde_json::from_str(&text).unwrap();
        settings.as_object_mut().unwrap().extend(changed.as_object().unwrap().clone());
        let file = self.directory.join("another.json");
        fs::write(&file, settings.to_string()).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_nexin"));
        command.arg("agent").arg("--config").arg(&file);
        let said = self.directory.join("another.log");
        let log = fs::File::create(&said).unwrap();
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let ended = eventually(|| child.try_wait().unwrap());
        let _ = child.kill();
        let _ = child.wait();
        (ended.and_then(|status| status.code()), fs::read_to_string(said).unwrap())
    }

    /// A `nexin` command for this node's agent.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nexin"));
        command.arg("--socket").arg(self.socket()).args(arguments);
        command
    }

    /// The output of a `nexin` command, and whether it succeeded.
    pub(crate) fn says(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let output = self.command(arguments).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&said).into_owned())
    }

    /// The names of the node's interfaces.
    pub(crate) fn links(&self) -> Vec<String> {
        let mut node = NodeNamespace::of(NetworkNamespace::open(&self.name).unwrap()).unwrap();
        node.network().links().unwrap().into_iter().map(|link| link.name).collect()
    }

    /// The names of this node's workloads' network namespaces.
    pub(crate) fn namespaces(&self) -> Vec<String> {
        let prefix = format!("nexin-{}-", self.name);
        NetworkNamespace::names().unwrap().into_iter().filter(|name| name.starts_with(&prefix)).collect()
    }

    /// Starts the agent and waits until it answers.
    pub(crate) fn start(&mut self) {
        self.spawn();
        let answers = eventually(|| Client::connect(&self.socket()).ok());
        assert!(answers.is_some(), "{}", self.log());
    }

    /// Starts an agent that is expected to fail, and returns its log.
    pub(crate) fn start_in_vain(&mut self) -> String {
        let before = self.log().len();
        self.spawn();
        let mut agent = self.agent.take().unwrap();
        let ended = eventually(|| agent.try_wait().unwrap());
        if ended.is_none() {
            agent.kill().unwrap();
            agent.wait().unwrap();
        }
        let said = self.log().split_off(before);
        assert!(ended.is_some_and(|ended| !ended.success()), "it runs: {said}");
        said
    }

    /// Starts the agent without waiting.
    pub(crate) fn spawn(&mut self) {
        let log =
            fs::File::options().create(true).append(true).open(self.directory.join("agent.log")).unwrap();
        let mut command = match &self.shell {
            None => Command::new(env!("CARGO_BIN_EXE_nexin")),
            Some(commands) => {
                let mut shell = Command::new("sh");
                shell
                    .arg("-c")
                    .arg(format!("{commands}; exec \"$0\" \"$@\""))
                    .arg(env!("CARGO_BIN_EXE_nexin"));
                shell
            }
        };
        command.arg("agent").arg("--config").arg(self.directory.join("agent.json"));
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.agent = Some(command.spawn().unwrap());
    }

    /// The path of a file of the node.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// The exit code of a command that uses the agent's API.
    pub(crate) fn exit_code(&self, arguments: &[&str]) -> Option<i32> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nexin"));
        command.args(arguments).arg("--socket").arg(self.socket());
        command.output().unwrap().status.code()
    }

    /// The names of the policies in force.
    pub(crate) fn policies(&self) -> Vec<String> {
        let policies: Vec<api::view::PolicySummary> = self.ask(ApiRequest::Policies);
        policies.into_iter().map(|policy| policy.name).collect()
    }

    /// Waits until these policies are in force, and no others.
    pub(crate) fn expect_policies(&self, names: &[&str]) {
        let found = eventually(|| (self.policies() == names).then_some(()));
        assert!(found.is_some(), "{:?} instead of {names:?}, {:?}", self.policies(), self.status().problems);
    }

    /// Expects that for a while only these policies are in force.
    pub(crate) fn expect_no_change(&self, names: &[&str]) {
        let until = Instant::now() + Duration::from_millis(900);
        while Instant::now() < until {
            assert_eq!(self.policies(), names, "{:?}", self.status().problems);
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Starts the agent unless one runs; false if one does.
    pub(crate) fn try_start(&mut self) -> bool {
        let start = self.agent.is_none();
        if start {
            self.start();
        }
        start
    }

    /// Kills the agent.
    pub(crate) fn kill(&mut self) {
        let mut agent = self.agent.take().unwrap();
        agent.kill().unwrap();
        agent.wait().unwrap();
    }

    /// Expects that the agent ends without an error after a signal to stop.
    pub(crate) fn expect_end(&mut self) {
        let mut agent = self.agent.take().unwrap();
        let ended = eventually(|| agent.try_wait().unwrap());
        let _ = agent.kill();
        let _ = agent.wait();
        assert!(ended.is_some_and(|ended| ended.success()), "{ended:?}: {}", self.log());
    }

    /// Sends the agent a request.
    pub(crate) fn ask<T: DeserializeOwned>(&self, request: ApiRequest) -> T {
        Client::connect(&self.socket()).unwrap().call(request).unwrap()
    }

    pub(crate) fn status(&self) -> Status {
        self.ask(ApiRequest::Status)
    }

    pub(crate) fn apply(&self, text: &str) {
        self.try_apply(text).unwrap();
    }

    pub(crate) fn try_apply(&self, text: &str) -> Result<Vec<String>, api::CallError> {
        let request = ApiRequest::Apply { file: "test.yaml".into(), text: text.into(), results: false };
        Client::connect(&self.socket())?.call(request)
    }

    pub(crate) fn delete(&self, name: &str) {
        let _: Vec<String> = self.ask(ApiRequest::Delete { names: vec![name.into()] });
    }

    pub(crate) fn try_delete(&self, name: &str) -> Result<Vec<String>, api::CallError> {
        Client::connect(&self.socket())?.call(ApiRequest::Delete { names: vec![name.into()] })
    }

    /// Writes a manifest to the agent's policy directory.
    pub(crate) fn write_policy(&self, file: &str, text: &str) {
        fs::write(self.directory.join("policies").join(file), text).unwrap();
    }

    /// A workload with the label `app: NAME` that responds to HTTP requests on port 80 with its name.
    pub(crate) fn workload(&self, name: &str) -> Host {
        let host = self.bare_workload(name);
        host.serve(name);
        host
    }

    /// A workload with the label `app: NAME` in which nothing runs.
    pub(crate) fn bare_workload(&self, name: &str) -> Host {
        let endpoint = self.try_workload(name).unwrap();
        let namespace = NetworkNamespace::open(&endpoint.network_namespace).unwrap();
        Host { namespace, addresses: endpoint.addresses }
    }

    /// Removes a workload.
    pub(crate) fn remove(&self, name: &str) -> Result<(), api::CallError> {
        let request = ApiRequest::RemoveWorkload { namespace: "default".into(), name: name.into() };
        Client::connect(&self.socket())?.call::<serde::de::IgnoredAny>(request).map(drop)
    }

    /// Removes a workload, and ignores a refusal.
    pub(crate) fn try_workload(&self, name: &str) -> Result<EndpointSummary, api::CallError> {
        self.try_workload_at(name, &[])
    }

    /// A workload that requests these addresses.
    pub(crate) fn try_workload_at(
        &self,
        name: &str,
        addresses: &[IpAddr],
    ) -> Result<EndpointSummary, api::CallError> {
        let wanted = api::WorkloadSpec { addresses: addresses.to_vec(), ..wanted(name) };
        Client::connect(&self.socket())?.call(ApiRequest::CreateWorkload(wanted))
    }

    pub(crate) fn endpoints(&self) -> Vec<EndpointSummary> {
        self.ask(ApiRequest::Endpoints)
    }

    /// The node itself, at the addresses that the agent assigned.
    pub(crate) fn node(&self) -> Host {
        let addresses = ["10.244.0.1", "fd00:10:244::1"].map(|address| address.parse().unwrap());
        Host { namespace: NetworkNamespace::open(&self.name).unwrap(), addresses: addresses.to_vec() }
    }

    /// A host outside the node, behind its default route.
    pub(crate) fn outside(&self) -> Host {
        let namespace = NetworkNamespace::anonymous().unwrap();
        let addresses = vec!["198.51.100.7".parse().unwrap()];
        let mut node = NodeNamespace::of(NetworkNamespace::open(&self.name).unwrap()).unwrap();
        let plan = Plan { host: "out0", addresses: &addresses, mtu: 1500, index: None, alias: None };
        let wired = node.wire(&namespace, &plan).unwrap();
        node.up(&wired).unwrap();
        let anywhere = Route {
            destination: Ipv4Addr::UNSPECIFIED.into(),
            prefix: 0,
            interface: wired.interface,
            kind: RouteKind::Direct,
            table: Route::MAIN,
        };
        node.network().add_route(&anywhere).unwrap();
        Host { namespace, addresses }
    }

    /// The agent's log.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.directory.join("agent.log")).unwrap_or_default()
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.join("run/agent.sock")
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("the agent said:\n{}", self.log());
            let seen = ApiRequest::Observe { last: 20, follow: false, filters: Vec::new() };
            let flows = Client::connect(&self.socket()).and_then(|client| client.follow::<flow::Flow>(seen));
            for flow in flows.into_iter().flatten().flatten() {
                eprintln!("{}", flow::line(&flow, flow::Paint::Plain));
            }
        }
        if let Some(agent) = &mut self.agent {
            let _ = agent.kill();
            let _ = agent.wait();
        }
        let config = agent::AgentConfig {
            instance: self.name.clone(),
            directory: self.directory.join("run"),
            state_directory: self.directory.join("run"),
            network_namespace: Some(self.name.clone()),
            ..agent::AgentConfig::default()
        };
        let is_disk = is_mounted(&config.directory);
        let removed = agent::remove(&config);
        let _ = NetworkNamespace::delete(&self.name);
        let _ = fs::remove_dir_all(&self.directory);
        // A separate disk stays until the test removes it, and so does the directory that it is mounted on.
        if !thread::panicking() && !is_disk {
            removed.unwrap();
        }
    }
}

/// The specification of a workload with the label `app: NAME`.
pub(crate) fn wanted(name: &str) -> api::WorkloadSpec {
    api::WorkloadSpec {
        namespace: "default".into(),
        name: name.into(),
        labels: [("app".to_string(), name.to_string())].into(),
        addresses: Vec::new(),
        named_ports: Default::default(),
        owner: None,
    }
}

fn is_mounted(path: &Path) -> bool {
    let disk = |path: &Path| fs::metadata(path).map(|status| status.dev()).ok();
    path.parent().is_some_and(|parent| disk(path) != disk(parent))
}

/// A small disk for a node, made before the node; dropping it, after the node, removes it.
pub(crate) struct Disk(PathBuf);

impl Disk {
    /// A disk for this directory of the node with this name.
    pub(crate) fn new(bed: &str, directory: &str) -> Self {
        let path = std::env::temp_dir().join(format!("nxt{}{bed}", std::process::id())).join(directory);
        fs::create_dir_all(&path).unwrap();
        let disk = Self(path);
        assert!(disk.mount(&["-t", "tmpfs", "-o", "size=512k", "tmpfs"]), "{}", disk.0.display());
        disk
    }

    /// Fills the disk to the last byte, as another program would.
    pub(crate) fn fill(&self) {
        let mut file = fs::File::create(self.0.join("filler")).unwrap();
        for size in [65_536, 4096, 1] {
            while file.write_all(&vec![0; size]).is_ok() {}
        }
    }

    /// Frees the space again.
    pub(crate) fn clear(&self) {
        fs::remove_file(self.0.join("filler")).unwrap();
    }

    /// Remounts the disk: `ro` or `rw`.
    pub(crate) fn remount(&self, rights: &str) {
        // A killed process may hold a file open for a moment.
        let done = eventually(|| self.mount(&["-o", &format!("remount,{rights}")]).then_some(()));
        assert!(done.is_some(), "{} cannot be mounted {rights}", self.0.display());
    }

    fn mount(&self, arguments: &[&str]) -> bool {
        Command::new("mount").args(arguments).arg(&self.0).status().unwrap().success()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
        if let Some(parent) = self.0.parent() {
            let _ = fs::remove_dir_all(parent);
        }
    }
}

/// The kernel's setting that expedites the grace periods of RCU.
pub(crate) const RCU_EXPEDITED: &str = "/sys/kernel/rcu_expedited";

/// Expects that the setting is reset. Agents of other tests set it too, for a moment each.
pub(crate) fn expect_usual_grace_periods() {
    let is_reset = || (fs::read_to_string(RCU_EXPEDITED).unwrap().trim() == "0").then_some(());
    assert!(eventually(is_reset).is_some(), "the setting stays");
}

/// Tries until there is a result, or panics after the timeout.
pub(crate) fn eventually<T>(mut attempt: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + SOON;
    loop {
        match attempt() {
            None if Instant::now() < deadline => thread::sleep(Duration::from_millis(20)),
            result => return result,
        }
    }
}
