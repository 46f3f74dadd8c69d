//! The images of a cluster, made here of programs of this machine: no node reaches a registry.

use super::plan::Plan;
use crate::image::{self, Image, Layer};
use crate::lacking::Lacking;
use crate::{agnhost, kubernetes, tree};
use anyhow::Result;
use std::io::Write;
use std::path::{Path, PathBuf};

/// The image of the process that holds a pod's namespaces.
pub(super) const PAUSE: &str = "localhost/pause:1";
/// Its names: a test of services uses it too.
const PAUSES: [&str; 2] = [PAUSE, "registry.k8s.io/pause:3.10.2"];
/// The image of the pods in tests, by the name that upstream's tests use.
pub(super) const AGNHOST: &str = "registry.k8s.io/e2e-test-images/agnhost:2.63.0";
/// Its names: the tests of ClusterNetworkPolicy use an older one, and those of DNS an image with the programs of the GNU
/// C library, which this one has as well.
const AGNHOSTS: [&str; 3] = [
    AGNHOST,
    "registry.k8s.io/e2e-test-images/agnhost:2.45",
    "registry.k8s.io/e2e-test-images/glibc-dns-testing:2.0.0",
];
/// The image of the agent, by the name that `deploy/manifests` use.
const NEXIN: &str = "ghcr.io/nexin-io/nexin:latest";
/// The image that an upgrade leads to.
const NEXT_NEXIN: &str = "ghcr.io/nexin-io/nexin:next";

/// What upstream's tests run in agnhost's image by `exec`, beside curl, dig and nc.
const APPLETS: &[&str] = &[
    "awk", "cat", "cut", "date", "env", "grep", "head", "hostname", "ip", "kill", "ls", "nslookup", "ping",
    "ps", "sed", "seq", "sleep", "sort", "tail", "timeout", "tr", "true",
];

/// The archives that every node imports.
pub(super) fn archives(plan: &Plan) -> impl Iterator<Item = PathBuf> {
    let directory = plan.name.state().join("images");
    ["agnhost", "nexin"]
        .into_iter()
        .map(move |stem| directory.join(format!("{stem}.tar")))
        .filter(|archive| archive.exists())
}

/// Writes the archive of agnhost and pause.
pub(super) fn write_agnhost(plan: &Plan) -> Result<()> {
    let mut layer = Layer::default();
    layer.directory("tmp", 0o1777);
    let program = plan.name.program("agnhost");
    if agnhost::kernel_has_sctp() {
        layer.program(agnhost::NAME, &program)?;
    } else {
        layer.program(agnhost::NAME, &std::env::current_exe()?)?;
        layer.program(agnhost::ITSELF, &program)?;
    }
    layer.program("bin/busybox", Path::new("/bin/busybox"))?;
    for applet in APPLETS {
        layer.link(&format!("bin/{applet}"), "/bin/busybox");
    }
    // The tests call OpenBSD's nc; busybox as `sh` would prefer its own.
    layer.program("bin/sh", Path::new("/bin/dash"))?;
    layer.link("bin/bash", "/bin/sh");
    layer.program("bin/nc", Path::new("/bin/nc.openbsd"))?;
    layer.program("usr/bin/curl", Path::new("/usr/bin/curl"))?;
    layer.program("bin/wget", &tree::root().join("testbed/kubernetes/wget"))?;
    layer.program("usr/bin/getent", Path::new("/usr/bin/getent"))?;
    layer.program("usr/bin/dig", Path::new("/usr/bin/dig"))?;
    // Its TLS server reads these, which are beside its source.
    let source = kubernetes::download("kubernetes", "k8s.io/kubernetes")?.join("test/images/agnhost/porter");
    for file in ["localhost.crt", "localhost.key"] {
        layer.text(file, &std::fs::read_to_string(source.join(file))?);
    }
    // What newborns of the test of births run.
    layer.program("xtask", &std::env::current_exe()?)?;
    // Without this file the C library queries the DNS server for `localhost`.
    layer.text("etc/nsswitch.conf", "hosts: files dns\n");
    let mut pause = Layer::default();
    pause.program("sleep", Path::new("/bin/busybox"))?;
    let agnhosts = AGNHOSTS.map(|reference| Image {
        reference,
        entrypoint: &["/agnhost"],
        arguments: &["pause"],
        layer: &layer,
    });
    let pauses = PAUSES.map(|reference| Image {
        reference,
        entrypoint: &["/sleep"],
        arguments: &["2147483647"],
        layer: &pause,
    });
    let images: Vec<_> = agnhosts.into_iter().chain(pauses).collect();
    image::write(&plan.name.state().join("images/agnhost.tar"), &images)
}

/// Writes the archive of another release of our own image, whose program behaves as the given one; returns the archive and the
/// image's name.
pub(super) fn write_next_nexin(plan: &Plan, program: &Path) -> Result<(PathBuf, &'static str)> {
    let directory = plan.name.state().join("images");
    let next = directory.join("nexin-next");
    std::fs::copy(program, &next)?;
    // What follows the sections of a program has no effect.
    std::fs::OpenOptions::new().append(true).open(&next)?.write_all(b"the next release\n")?;
    let mut layer = Layer::default();
    layer.program("nexin", &next)?;
    let archive = directory.join("nexin-next.tar");
    image::write(
        &archive,
        &[Image { reference: NEXT_NEXIN, entrypoint: &["/nexin"], arguments: &[], layer: &layer }],
    )?;
    Ok((archive, NEXT_NEXIN))
}

/// Writes the archive of our own image: the binary, and the libraries that it names unless it is static.
pub(super) fn write_nexin(plan: &Plan, binary: &Path) -> Result<()> {
    let mut layer = Layer::default();
    layer.program("nexin", binary)?;
    let images = [Image { reference: NEXIN, entrypoint: &["/nexin"], arguments: &[], layer: &layer }];
    image::write(&plan.name.state().join("images/nexin.tar"), &images)
}

/// The binary that was built last in this tree.
pub(super) fn built_binary() -> Result<PathBuf> {
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| tree::root().join("target"), PathBuf::from);
    let built = ["release", "debug"].map(|profile| target.join(profile).join("nexin"));
    let time = |path: &PathBuf| path.metadata().and_then(|metadata| metadata.modified()).ok();
    let latest = built.into_iter().filter(|path| time(path).is_some()).max_by_key(time);
    Ok(latest.ok_or_else(|| {
        Lacking("there is no nexin; `make build` builds it, or --nexin names one".to_owned())
    })?)
}
