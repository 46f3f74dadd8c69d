//! The control plane: its files and programs.

use super::plan::{Machine, Name, PLANE, PODS, Plan, SERVICES};
use super::program::Program;
use super::{permissions, users};
use crate::command::run;
use anyhow::Result;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The programs that come from the modules.
pub(super) const PROGRAMS: &[&str] =
    &["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "coredns", "kubectl"];

/// Writes the files that the programs read.
pub(super) fn prepare(plan: &Plan) -> Result<()> {
    let directory = plan.name.directory(Machine::Plane);
    let key = key(&directory);
    // The API server reads the public key from the older form of a private key's file only.
    run(Command::new("openssl")
        .args(["ecparam", "-genkey", "-name", "prime256v1", "-noout", "-out"])
        .arg(&key))?;
    std::fs::write(directory.join("Corefile"), corefile(&plan.name))?;
    std::fs::write(audit_policy(&directory), permissions::AUDIT_POLICY)?;
    users::write(plan)
}

/// The key that signs the tokens of service accounts.
fn key(directory: &Path) -> PathBuf {
    directory.join("service-accounts.key")
}

/// What the API server writes into its audit log.
fn audit_policy(directory: &Path) -> PathBuf {
    directory.join("audit.yaml")
}

fn corefile(name: &Name) -> String {
    let kubeconfig = name.kubeconfig(users::ADMIN);
    format!(
        ".:53 {{\n  bind {} {}\n  kubernetes cluster.local in-addr.arpa ip6.arpa {{\n    kubeconfig {}\n  }}\n}}\n",
        PLANE[0],
        PLANE[1],
        kubeconfig.display()
    )
}

/// The programs, in the order of their start.
pub(super) fn programs(plan: &Plan) -> Vec<Program> {
    let name = &plan.name;
    let directory = name.directory(Machine::Plane);
    let corefile = directory.join("Corefile").display().to_string();
    vec![
        etcd(name, &directory),
        api_server(name, &directory),
        controller_manager(name, &directory),
        client(name, "kube-scheduler", ["--leader-elect=false".to_owned()]),
        Program::new("coredns", &name.program("coredns"), ["-conf", &corefile]).after([name.ready_mark()]),
    ]
}

fn etcd(name: &Name, directory: &Path) -> Program {
    let data = directory.join("etcd").display().to_string();
    let client = "http://127.0.0.1:2379";
    let arguments = [
        "--data-dir",
        &data,
        "--listen-client-urls",
        client,
        "--advertise-client-urls",
        client,
        "--listen-peer-urls",
        "http://127.0.0.1:2380",
        // The data is thrown away with the cluster.
        "--unsafe-no-fsync",
        "--log-level",
        "error",
    ];
    Program::new("etcd", &name.program("etcd"), arguments)
}

fn api_server(name: &Name, directory: &Path) -> Program {
    let file = |flag: &str, path: PathBuf| format!("--{flag}={}", path.display());
    let flag = |flag: &str, value: &str| format!("--{flag}={value}");
    let arguments = [
        flag("etcd-servers", "http://127.0.0.1:2379"),
        flag("service-cluster-ip-range", SERVICES),
        file("token-auth-file", users::tokens(name)),
        file("service-account-key-file", key(directory)),
        file("service-account-signing-key-file", key(directory)),
        flag("service-account-issuer", "https://kubernetes.default.svc"),
        flag("authorization-mode", "Node,RBAC"),
        flag("enable-admission-plugins", "NodeRestriction"),
        flag("advertise-address", PLANE[0]),
        // Else `exec` and `logs` look up the node's name.
        flag("kubelet-preferred-address-types", "InternalIP"),
        file("cert-dir", directory.join("certs")),
        flag("allow-privileged", "true"),
        // Webhooks are called at the addresses of their pods: no kube-proxy serves the plane.
        flag("enable-aggregator-routing", "true"),
        file("audit-policy-file", audit_policy(directory)),
        file("audit-log-path", permissions::log(name)),
    ];
    Program::new("kube-apiserver", &name.program("kube-apiserver"), arguments)
}

fn controller_manager(name: &Name, directory: &Path) -> Program {
    let arguments = [
        "--allocate-node-cidrs=true".to_owned(),
        format!("--cluster-cidr={PODS}"),
        format!("--service-cluster-ip-range={SERVICES}"),
        format!("--service-account-private-key-file={}", key(directory).display()),
        format!("--root-ca-file={}", name.certificate().display()),
        "--leader-elect=false".to_owned(),
        "--use-service-account-credentials".to_owned(),
    ];
    client(name, "kube-controller-manager", arguments)
}

/// A program that talks to the API server as the user of its name.
fn client(name: &Name, program: &str, arguments: impl IntoIterator<Item = String>) -> Program {
    let kubeconfig = format!("--kubeconfig={}", name.kubeconfig(program).display());
    let arguments = std::iter::once(kubeconfig).chain(arguments);
    Program::new(program, &name.program(program), arguments).after([name.ready_mark()])
}
