//! The demo on a cluster: a namespace with the application, and `kubectl`, which does everything.

use super::client::Fetched;
use super::cluster_script::{NAMESPACE, files};
use super::play::{Ended, Runner};
use crate::interrupt::Interrupt;
use crate::outcome::BadInput;
use anyhow::{Context, bail, ensure};
use api::view::Explanation;
use serde_json::{Value, json};
use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

/// The label of the demo's namespace. Its value tells whether the demo was to stay.
const LABEL: &str = "nexin.io/demo";
/// The value of a demo that runs.
const RUNNING: &str = "running";
/// The value of a demo that is kept.
const KEPT: &str = "kept";
/// The label of all objects of an installation.
const INSTALLED: &str = "app.kubernetes.io/part-of=nexin";
/// The time within which every node enforces a policy after `kubectl apply`.
const SETTLING: Duration = Duration::from_secs(10);

/// The cluster of the demo.
#[derive(Clone, Debug, Default)]
pub(super) struct ClusterChoice {
    /// The path of a kubeconfig; none for kubectl's own choice.
    pub(super) kubeconfig: Option<PathBuf>,
    /// A context of it; none for the current one.
    pub(super) context: Option<String>,
}

/// The demo's namespace in a cluster; dropping it removes everything, unless it is kept.
#[derive(Debug)]
pub(super) struct ClusterDemo {
    cluster: ClusterChoice,
    interrupt: Interrupt,
    /// The directory of the script's files.
    directory: PathBuf,
    kept: bool,
}

impl ClusterDemo {
    /// Removes the remains of a demo that crashed, and creates the namespace. Without an image, the containers have the agent's.
    pub(super) fn start(
        cluster: ClusterChoice,
        image: Option<String>,
        interrupt: Interrupt,
    ) -> anyhow::Result<Self> {
        let cluster =
            ClusterChoice { kubeconfig: cluster.kubeconfig.map(std::path::absolute).transpose()?, ..cluster };
        ensure!(
            cluster.state()?.as_deref() != Some(KEPT),
            "a demo is kept running; remove it first: nexin demo --kubernetes --down"
        );
        let image = image.map_or_else(|| cluster.image(), Ok)?;
        cluster.remove()?;
        let directory = std::env::temp_dir().join(format!("nexin-demo-{}", std::process::id()));
        let demo = Self { cluster, interrupt, directory, kept: false };
        std::fs::create_dir(&demo.directory)
            .with_context(|| format!("cannot create {}", demo.directory.display()))?;
        for (name, text) in files(&image) {
            std::fs::write(demo.directory.join(name), text)?;
        }
        let namespace = demo.directory.join("namespace.json");
        let metadata = json!({"name": NAMESPACE, "labels": {LABEL: RUNNING}});
        std::fs::write(
            &namespace,
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}).to_string(),
        )?;
        demo.cluster.succeed(&["create", "-f", &namespace.to_string_lossy()])?;
        Ok(demo)
    }

    /// Removes a demo that was kept, or that crashed.
    pub(super) fn down(cluster: &ClusterChoice) -> anyhow::Result<()> {
        cluster.remove()
    }

    /// Keeps the namespace when this value is dropped, until [`Self::down`].
    pub(super) fn keep(&mut self) -> anyhow::Result<()> {
        let label = format!("{LABEL}={KEPT}");
        self.cluster.succeed(&["label", "--overwrite", "namespace", NAMESPACE, &label])?;
        self.kept = true;
        Ok(())
    }

    fn call(&self, command: &mut Command) -> anyhow::Result<Output> {
        self.interrupt.check()?;
        let output = run(command.current_dir(&self.directory))?;
        self.interrupt.check()?;
        Ok(output)
    }
}

impl Runner for ClusterDemo {
    fn run(&mut self, words: &[&str]) -> anyhow::Result<Ended> {
        Ok(self.call(&mut self.cluster.kubectl(&words[1..]))?.into())
    }

    fn request_line(&self, from: &str, url: &str, patience: &str) -> String {
        format!("kubectl -n {NAMESPACE} exec deploy/{from} -- curl -sS -m {patience} {url}")
    }

    fn fetch(&mut self, from: &str, url: &str, patience: &str) -> anyhow::Result<Fetched> {
        let deployment = format!("deploy/{from}");
        let words = ["-n", NAMESPACE, "exec", &deployment, "--"];
        let client = ["/nexin", "demo-client", "-o", "json", "-m", patience, url];
        let output = self.call(&mut self.cluster.kubectl(&[&words[..], &client].concat()))?;
        serde_json::from_slice(&output.stdout).with_context(|| {
            format!(
                "`kubectl exec {deployment}` did not run: {}",
                String::from_utf8_lossy(&output.stderr).trim_end()
            )
        })
    }

    /// Evaluates the policies that the API server has.
    fn explain(&mut self, from: &str, path: &str) -> anyhow::Result<Explanation> {
        let program = std::env::current_exe().context("cannot find this program's own file")?;
        let mut command = Command::new(program);
        command.args(["policy", "explain", "-o", "json", "--cluster", "--port", "80"]);
        command.args(["--from", &format!("{NAMESPACE}/{from}"), "--to", &format!("{NAMESPACE}/app1")]);
        command.args(["--http", &format!("GET {path}")]).args(self.cluster.options());
        let output = self.call(&mut command)?;
        serde_json::from_slice(&output.stdout).with_context(|| {
            format!(
                "`nexin policy explain --cluster` failed: {}",
                String::from_utf8_lossy(&output.stderr).trim_end()
            )
        })
    }

    fn settling(&self) -> Duration {
        SETTLING
    }
}

impl Drop for ClusterDemo {
    fn drop(&mut self) {
        // A directory of temporary files that stays does no harm.
        let _ = std::fs::remove_dir_all(&self.directory);
        if self.kept {
            return;
        }
        if let Err(error) = self.cluster.remove() {
            // The next demo retries it.
            eprintln!("error: the demo could not remove everything: {error:#}");
        }
    }
}

impl ClusterChoice {
    /// The options that name the cluster, for kubectl and for this program.
    fn options(&self) -> Vec<OsString> {
        let kubeconfig = self.kubeconfig.iter().flat_map(|path| ["--kubeconfig".into(), path.into()]);
        let context = self.context.iter().flat_map(|name| ["--context".into(), name.into()]);
        kubeconfig.chain(context).collect()
    }

    /// A kubectl command. Options come first, since those after `--` are the container's.
    fn kubectl(&self, words: &[&str]) -> Command {
        let mut command = Command::new("kubectl");
        command.args(self.options()).args(words);
        command
    }

    /// Runs kubectl, which must succeed: its output.
    fn succeed(&self, words: &[&str]) -> anyhow::Result<String> {
        let output = run(&mut self.kubectl(words))?;
        if !output.status.success() {
            // The last line is the reason; others are the log of the client.
            let errors = String::from_utf8_lossy(&output.stderr);
            bail!("kubectl {}: {}", words.join(" "), errors.trim_end().lines().last().unwrap_or_default());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// The state of the demo in the cluster; none if there is none. A namespace of that name that is not the demo's is an error.
    fn state(&self) -> anyhow::Result<Option<String>> {
        let found = self.succeed(&["get", "namespace", NAMESPACE, "--ignore-not-found", "-o", "json"])?;
        if found.trim().is_empty() {
            return Ok(None);
        }
        let namespace: Value = serde_json::from_str(&found)?;
        let state = namespace["metadata"]["labels"][LABEL].as_str();
        let state = state.ok_or_else(|| {
            BadInput(format!(
                "the cluster has a namespace {NAMESPACE} that no demo made: it has no label {LABEL}"
            ))
        })?;
        Ok(Some(state.to_owned()))
    }

    /// The image of the agents, which contains the application too.
    fn image(&self) -> anyhow::Result<String> {
        let listed = self.succeed(&["get", "daemonsets", "-A", "-l", INSTALLED, "-o", "json"])?;
        let listed: Value = serde_json::from_str(&listed)?;
        let image = &listed["items"][0]["spec"]["template"]["spec"]["containers"][0]["image"];
        Ok(image.as_str().map(str::to_owned).ok_or_else(|| {
            BadInput("Nexin is not installed in this cluster; install it: nexin install".to_owned())
        })?)
    }

    /// Removes the namespace of a demo; it is no error if there is none.
    fn remove(&self) -> anyhow::Result<()> {
        if self.state()?.is_some() {
            self.succeed(&["delete", "namespace", NAMESPACE, "--timeout=120s"])?;
        }
        Ok(())
    }
}

/// Runs a command to its end. Signals of the terminal go to the demo only, which removes everything.
fn run(command: &mut Command) -> anyhow::Result<Output> {
    let program = command.get_program().to_string_lossy().into_owned();
    match command.process_group(0).stdin(Stdio::null()).output() {
        Err(error) if error.kind() == io::ErrorKind::NotFound && program == "kubectl" => {
            bail!("the demo runs kubectl, and there is none in $PATH; install it first")
        }
        ended => ended.with_context(|| format!("cannot run {program}")),
    }
}
