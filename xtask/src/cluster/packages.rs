//! The programs of the machine that a cluster needs, installed from Debian's packages where they are missing.

use crate::command::run;
use crate::lacking::Lacking;
use anyhow::Result;
use std::path::Path;
use std::process::Command;

/// A file of each package, with the package.
const NEEDED: &[(&str, &str)] = &[
    ("/usr/sbin/runc", "runc"),
    ("/bin/busybox", "busybox-static"),
    ("/bin/dash", "dash"),
    ("/bin/nc.openbsd", "netcat-openbsd"),
    ("/usr/bin/curl", "curl"),
    ("/usr/bin/dig", "bind9-dnsutils"),
    ("/usr/bin/nsenter", "util-linux"),
    ("/usr/bin/openssl", "openssl"),
    ("/usr/sbin/conntrack", "conntrack"),
    ("/usr/sbin/ip", "iproute2"),
    ("/usr/sbin/nft", "nftables"),
];

/// Installs the packages that are missing.
pub(super) fn ensure() -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Err(Lacking("a cluster needs root, for its namespaces, mounts and cgroups".to_owned()).into());
    }
    let missing: Vec<&str> =
        NEEDED.iter().filter(|(file, _)| !Path::new(file).exists()).map(|(_, package)| *package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    if !Path::new("/usr/bin/apt-get").exists() {
        let missing = missing.join(", ");
        return Err(
            Lacking(format!("these Debian packages, or what they hold, are missing: {missing}")).into()
        );
    }
    println!("cluster: installing {} with apt-get", missing.join(", "));
    // Another program may hold the lock of the packages.
    let wait = ["-o", "DPkg::Lock::Timeout=120"];
    run(Command::new("apt-get").args(wait).arg("update"))?;
    let mut install = Command::new("apt-get");
    install.args(wait).args(["install", "--yes", "--no-install-recommends"]).args(missing);
    run(install.env("DEBIAN_FRONTEND", "noninteractive")).map(drop)
}
