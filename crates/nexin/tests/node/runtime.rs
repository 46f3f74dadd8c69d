//! A container runtime for one test: sandboxes, and the plugin run as runtimes run it.

use crate::bed::Bed;
use serde_json::{Value, json};
use std::net::IpAddr;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use workload::NetworkNamespace;

/// Counts the sandboxes of all tests of this process.
static SANDBOXES: AtomicU32 = AtomicU32::new(0);

/// A sandbox: a network namespace that the runtime made. Dropping it removes the namespace.
pub(crate) struct Sandbox {
    /// The runtime's identifier.
    pub(crate) container: String,
    /// Name of its network namespace.
    pub(crate) namespace: String,
    /// `CNI_ARGS`.
    pub(crate) arguments: String,
}

/// What the plugin printed, and whether it succeeded.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) is_success: bool,
    pub(crate) printed: Value,
}

impl Sandbox {
    /// A sandbox of a pod in the namespace `default`, with the label `app: POD`.
    pub(crate) fn new(pod: &str) -> Self {
        let number = SANDBOXES.fetch_add(1, Ordering::Relaxed);
        let namespace = format!("nxsb{}-{number}", std::process::id());
        NetworkNamespace::create(&namespace).unwrap();
        let arguments = format!(
            "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME={pod};NEXIN_LABELS=app={pod};K8S_POD_UID=u-{pod}"
        );
        Self { container: format!("c{number:063}"), namespace, arguments }
    }

    /// Path of its network namespace.
    pub(crate) fn path(&self) -> String {
        format!("/run/netns/{}", self.namespace)
    }

    /// Removes the network namespace.
    pub(crate) fn remove(&self) {
        NetworkNamespace::delete(&self.namespace).unwrap();
    }

    /// Opens the network namespace.
    pub(crate) fn open(&self) -> NetworkNamespace {
        NetworkNamespace::open(&self.namespace).unwrap()
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let _ = NetworkNamespace::delete(&self.namespace);
    }
}

impl Outcome {
    /// The error's code; zero for success.
    pub(crate) fn code(&self) -> u64 {
        assert_eq!(self.is_success, self.printed.get("code").is_none(), "{self:?}");
        self.printed["code"].as_u64().unwrap_or(0)
    }

    /// The addresses of the result.
    pub(crate) fn addresses(&self) -> Vec<IpAddr> {
        let ips = self.printed["ips"].as_array().unwrap_or_else(|| panic!("{self:?}"));
        let address = |ip: &Value| ip["address"].as_str()?.split_once('/')?.0.parse().ok();
        ips.iter().map(|ip| address(ip).unwrap()).collect()
    }

    /// Expects success.
    pub(crate) fn expect(self) -> Self {
        assert!(self.is_success, "{:?}", self.printed);
        self
    }

    /// Expects an error with this code, whose message contains a text.
    pub(crate) fn expect_error(self, code: u64, said: &str) {
        assert_eq!(self.code(), code, "{:?}", self.printed);
        assert!(self.printed.to_string().contains(said), "{:?}", self.printed);
    }
}

/// The network configuration of a bed's agent, in the newest version.
pub(crate) fn configuration(bed: &Bed) -> Value {
    json!({ "cniVersion": "1.1.0", "name": "nexin", "type": "nexin-cni", "socket": bed.socket() })
}

/// Starts the plugin with this configuration on its standard input.
pub(crate) fn start(command: &str, sandbox: Option<&Sandbox>, config: &Value) -> Child {
    let mut plugin = Command::new(env!("CARGO_BIN_EXE_nexin"));
    plugin.arg("cni").env_clear().env("CNI_COMMAND", command).env("CNI_PATH", "/opt/cni/bin");
    if let Some(sandbox) = sandbox {
        plugin.env("CNI_CONTAINERID", &sandbox.container).env("CNI_IFNAME", "eth0");
        plugin.env("CNI_NETNS", sandbox.path()).env("CNI_ARGS", &sandbox.arguments);
    }
    let mut child = plugin.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    serde_json::to_writer(child.stdin.take().unwrap(), config).unwrap();
    child
}

/// What a plugin prints until it ends.
pub(crate) fn wait(plugin: Child) -> Outcome {
    let output = plugin.wait_with_output().unwrap();
    let printed = if output.stdout.is_empty() {
        Value::Null
    } else {
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
    };
    Outcome { is_success: output.status.success(), printed }
}

/// Runs the plugin with this configuration.
pub(crate) fn run_with(command: &str, sandbox: Option<&Sandbox>, config: &Value) -> Outcome {
    wait(start(command, sandbox, config))
}

/// Runs the plugin for a sandbox of this bed.
pub(crate) fn run(bed: &Bed, command: &str, sandbox: &Sandbox) -> Outcome {
    run_with(command, Some(sandbox), &configuration(bed))
}

/// The configuration of GC: these sandboxes still exist.
pub(crate) fn with_valid(mut config: Value, valid: &[&Sandbox]) -> Value {
    let valid = valid.iter().map(|one| json!({ "containerID": one.container, "ifname": "eth0" }));
    config["cni.dev/valid-attachments"] = valid.collect();
    config
}
