//! The Go modules of `testbed/kubernetes`: what each builds, and the key of what was built.

use crate::tree;
use anyhow::{Context, Result};
use sha2::{Digest, Sha256};
use std::path::PathBuf;

/// A directory of `testbed/kubernetes` with a go.mod file.
#[derive(Debug)]
pub(crate) struct Module {
    pub(crate) name: &'static str,
    /// The programs that come out of it.
    pub(crate) programs: &'static [&'static str],
    pub(super) build: Build,
    /// The version that the programs report, and with which clients judge what a server can do.
    pub(super) kubernetes_version: Option<[&'static str; 3]>,
    /// Build tags, which leave out what needs C libraries.
    pub(super) tags: &'static str,
    /// The time of a first build on two cores.
    pub(super) usual_time: &'static str,
}

/// How a module's programs are built without a Go source of our own.
#[derive(Debug)]
pub(super) enum Build {
    /// The mains that go.mod names in its `tool` lines, with the names that programs get instead of their package's.
    Tools { renamed: &'static [(&'static str, &'static str)] },
    /// The test program of a package.
    Test { package: &'static str },
}

const VERSION: Option<[&str; 3]> = Some(["v1.36.3", "1", "36"]);
const TOOLS: Build = Build::Tools { renamed: &[] };

/// Every module, in the order of building.
pub(crate) const MODULES: &[Module] = &[
    Module {
        name: "plugins",
        programs: &["bridge", "host-local", "loopback"],
        build: TOOLS,
        kubernetes_version: None,
        tags: "",
        usual_time: "10 s",
    },
    Module {
        name: "containerd",
        programs: &["containerd", "containerd-shim-runc-v2", "ctr"],
        build: TOOLS,
        kubernetes_version: None,
        tags: "no_btrfs no_devmapper no_zfs",
        usual_time: "1 min",
    },
    Module {
        name: "kubernetes",
        programs: &[
            "etcd",
            "kube-apiserver",
            "kube-controller-manager",
            "kube-scheduler",
            "kubelet",
            "kube-proxy",
            "kubectl",
            "agnhost",
        ],
        build: Build::Tools { renamed: &[("server", "etcd")] },
        kubernetes_version: VERSION,
        tags: "",
        usual_time: "5 min",
    },
    Module {
        name: "coredns",
        programs: &["coredns"],
        build: TOOLS,
        kubernetes_version: None,
        tags: "",
        usual_time: "90 s",
    },
    Module {
        name: "e2e",
        programs: &["e2e.test"],
        build: Build::Test { package: "k8s.io/kubernetes/test/e2e" },
        kubernetes_version: VERSION,
        tags: "",
        usual_time: "5 min",
    },
    Module {
        name: "conformance",
        programs: &["conformance.test"],
        build: Build::Test { package: "sigs.k8s.io/network-policy-api/conformance" },
        kubernetes_version: None,
        tags: "",
        usual_time: "1 min",
    },
    Module {
        name: "helm",
        programs: &["helm"],
        build: TOOLS,
        kubernetes_version: None,
        tags: "",
        usual_time: "80 s",
    },
];

impl Module {
    /// The directory of its go.mod file.
    pub(super) fn directory(&self) -> PathBuf {
        tree::root().join("testbed/kubernetes").join(self.name)
    }

    /// The oldest Go that builds it.
    pub(super) fn wanted_go(&self) -> Result<String> {
        let path = self.directory().join("go.mod");
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("could not read {}", path.display()))?;
        let line = text.lines().find_map(|line| line.strip_prefix("go "));
        Ok(line.with_context(|| format!("{} lacks its `go` line", path.display()))?.to_owned())
    }

    /// The arguments of `-ldflags`.
    pub(super) fn linker_flags(&self) -> String {
        let mut flags = "-s -w".to_owned();
        let packages = ["k8s.io/component-base/version", "k8s.io/client-go/pkg/version"];
        for (package, [version, major, minor]) in
            packages.iter().zip([self.kubernetes_version; 2].into_iter().flatten())
        {
            for (field, value) in
                [("gitVersion", version), ("gitMajor", major), ("gitMinor", minor), ("gitTreeState", "clean")]
            {
                flags.push_str(&format!(" -X {package}.{field}={value}"));
            }
        }
        flags
    }

    /// A name for what this Go builds from the module's files.
    pub(super) fn key(&self, go: &str) -> Result<String> {
        let mut hash = Sha256::new();
        for file in ["go.mod", "go.sum"] {
            let path = self.directory().join(file);
            hash.update(std::fs::read(&path).with_context(|| format!("could not read {}", path.display()))?);
        }
        hash.update(format!("{go} {:?} {} {}", self.build, self.linker_flags(), self.tags));
        Ok(hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_and_clients_report_their_version() {
        let [kubernetes, plugins] =
            ["kubernetes", "plugins"].map(|name| MODULES.iter().find(|module| module.name == name).unwrap());
        assert!(kubernetes.linker_flags().contains("-X k8s.io/client-go/pkg/version.gitMinor=36"));
        assert_eq!(plugins.linker_flags(), "-s -w");
    }

    #[test]
    fn each_program_comes_out_of_one_module() {
        let mut programs: Vec<_> = MODULES.iter().flat_map(|module| module.programs).collect();
        let all = programs.len();
        programs.sort_unstable();
        programs.dedup();
        assert_eq!(programs.len(), all);
    }

    #[test]
    fn another_go_gives_another_key() {
        let module = &MODULES[0];
        assert_ne!(module.key("go1.26.0").unwrap(), module.key("go1.26.1").unwrap());
    }
}
