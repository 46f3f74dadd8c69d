//! A node: its files and programs.

use super::plan::{Machine, Name, Network, PLANE, PODS, Plan};
use super::program::Program;
use super::{cgroups, images};
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// The programs that come from the modules.
pub(super) const PROGRAMS: &[&str] = &[
    "containerd",
    "containerd-shim-runc-v2",
    "ctr",
    "kubelet",
    "kube-proxy",
    "bridge",
    "host-local",
    "loopback",
];

/// Where containerd listens, on each node's own `/run`.
const SOCKET: &str = "/run/containerd/containerd.sock";
/// Where the runtime looks for plugins: in a test that measures the agent's plugin, its own plugin is in the first directory.
pub(super) const PLUGIN_DIRECTORIES: [&str; 2] = ["/opt/cni/measured", "/opt/cni/bin"];
/// The directories of a node that its machine gives it alone, by their place on the node.
pub(super) const OWN_DIRECTORIES: &[&str] = &[
    "/etc/cni",
    "/etc/nexin",
    "/opt/cni",
    "/var/lib/cni",
    "/var/lib/containerd",
    "/var/lib/kubelet",
    "/var/lib/nexin",
    "/var/log/containers",
    "/var/log/nexin",
    "/var/log/pods",
];

/// Where a directory of a node is on this machine.
pub(super) fn own_directory(name: &Name, node: Machine, place: &str) -> PathBuf {
    name.directory(node).join("root").join(place.trim_start_matches('/'))
}

/// Writes the files that a node's programs read.
pub(super) fn prepare(plan: &Plan, node: Machine) -> Result<()> {
    let directory = plan.name.directory(node);
    for place in OWN_DIRECTORIES {
        std::fs::create_dir_all(own_directory(&plan.name, node, place))?;
    }
    std::fs::write(directory.join("resolv.conf"), format!("nameserver {}\n", PLANE[0]))?;
    std::fs::write(directory.join("containerd.toml"), containerd_configuration())?;
    std::fs::write(directory.join("kubelet.json"), kubelet_configuration(plan, node).to_string())?;
    if plan.network == Network::Bridge {
        install_reference_plugins(plan, node)?;
    }
    Ok(())
}

/// Installs the reference plugins and their configuration.
fn install_reference_plugins(plan: &Plan, node: Machine) -> Result<()> {
    let place = |place: &str| own_directory(&plan.name, node, place);
    for directory in ["/opt/cni/bin", "/etc/cni/net.d"] {
        std::fs::create_dir_all(place(directory))?;
    }
    for plugin in ["bridge", "host-local", "loopback"] {
        std::fs::hard_link(plan.name.program(plugin), place("/opt/cni/bin").join(plugin))?;
    }
    let blocks = node.pod_blocks().context("the plane has no pods")?;
    let configuration = json!({"cniVersion": "1.0.0", "name": "bridge", "plugins": [{
        "type": "bridge", "bridge": "cni0", "isGateway": true, "hairpinMode": true,
        "ipam": {
            "type": "host-local",
            "ranges": blocks.map(|block| json!([{"subnet": block}])),
            "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}],
        },
    }]});
    Ok(std::fs::write(place("/etc/cni/net.d/10-bridge.conflist"), configuration.to_string())?)
}

/// The configuration of containerd; its directories are the usual ones, since each node has its own.
fn containerd_configuration() -> String {
    format!(
        r#"version = 3
oom_score = 0

[grpc]
  address = "{SOCKET}"

[plugins."io.containerd.cri.v1.images".pinned_images]
  sandbox = "{}"

[plugins."io.containerd.cri.v1.runtime"]
  # A container may not get a lower score than this process, which may lack CAP_SYS_RESOURCE.
  restrict_oom_score_adj = true
  disable_apparmor = true

[plugins."io.containerd.cri.v1.runtime".cni]
  bin_dirs = {:?}

[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
  SystemdCgroup = false
"#,
        images::PAUSE,
        PLUGIN_DIRECTORIES
    )
}

fn kubelet_configuration(plan: &Plan, node: Machine) -> Value {
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {"anonymous": {"enabled": true}, "webhook": {"enabled": false}},
        "authorization": {"mode": "AlwaysAllow"},
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": format!("/{}", cgroups::path(&plan.name, node)),
        "failCgroupV1": false,
        "failSwapOn": false,
        "enforceNodeAllocatable": [],
        "containerRuntimeEndpoint": format!("unix://{SOCKET}"),
        "makeIPTablesUtilChains": false,
        "imageGCHighThresholdPercent": 100,
        "evictionHard": {"memory.available": "50Mi"},
        "clusterDNS": [PLANE[0]],
        "clusterDomain": "cluster.local",
        "resolvConf": plan.name.directory(node).join("resolv.conf"),
        // Else the kubelet makes a directory below `/usr`.
        "volumePluginDir": "/var/lib/kubelet/plugins",
        // As many as a /24 block of addresses holds, with some left.
        "maxPods": 240,
    })
}

/// The programs, in the order of their start.
pub(super) fn programs(plan: &Plan, node: Machine) -> Vec<Program> {
    let name = &plan.name;
    let directory = name.directory(node);
    let imports: Vec<Program> = images::archives(plan).map(|archive| import(name, &archive)).collect();
    let imported: Vec<PathBuf> = imports.iter().map(|task| directory.join("done").join(&task.name)).collect();
    let mut programs = vec![containerd(name, &directory)];
    programs.extend(imports);
    programs.push(kube_proxy(name, node));
    programs.push(kubelet(name, node, &directory).after(imported));
    programs
}

fn containerd(name: &Name, directory: &Path) -> Program {
    let configuration = directory.join("containerd.toml").display().to_string();
    Program::new("containerd", &name.program("containerd"), ["--config", &configuration])
}

/// A task that imports an archive of images, so that no pod waits for a registry.
fn import(name: &Name, archive: &Path) -> Program {
    let stem = archive.file_stem().unwrap_or_default().to_string_lossy();
    Program::new(
        &format!("import-{stem}"),
        &name.program("ctr"),
        import_arguments(&archive.display().to_string()),
    )
    .after([PathBuf::from(SOCKET)])
    .once()
}

/// The arguments with which `ctr` imports an archive of images into its node.
pub(super) fn import_arguments(archive: &str) -> [&str; 7] {
    ["--address", SOCKET, "--namespace", "k8s.io", "images", "import", archive]
}

fn kube_proxy(name: &Name, node: Machine) -> Program {
    let kubeconfig = format!("--kubeconfig={}", name.kubeconfig("kube-proxy").display());
    let arguments = [
        kubeconfig.as_str(),
        "--proxy-mode=nftables",
        &format!("--hostname-override={node}"),
        &format!("--cluster-cidr={PODS}"),
        // These settings of the kernel are those of the whole machine: a network namespace cannot change them.
        "--conntrack-max-per-core=0",
        "--conntrack-tcp-timeout-established=0s",
        "--conntrack-tcp-timeout-close-wait=0s",
    ];
    Program::new("kube-proxy", &name.program("kube-proxy"), arguments).after([name.ready_mark()])
}

fn kubelet(name: &Name, node: Machine, directory: &Path) -> Program {
    let arguments = [
        format!("--config={}", directory.join("kubelet.json").display()),
        format!("--kubeconfig={}", name.kubeconfig(&node.to_string()).display()),
        format!("--hostname-override={node}"),
        format!("--node-ip={}", node.addresses().join(",")),
    ];
    Program::new("kubelet", &name.program("kubelet"), arguments)
        .after([PathBuf::from(SOCKET), name.ready_mark()])
}

/// The Node object. It exists before the kubelet starts, so that each node's block of addresses is known from its number.
pub(super) fn object(node: Machine) -> Value {
    let blocks = node.pod_blocks();
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": node.to_string()},
        "spec": {"podCIDR": blocks.as_ref().map(|blocks| &blocks[0]), "podCIDRs": &blocks},
    })
}
