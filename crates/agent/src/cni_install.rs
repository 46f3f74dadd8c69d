//! Installs the CNI plugin on the node: the binary first, and the network list last, once workloads can be attached.
//!
//! A runtime reports its node as ready as soon as it finds a list. So the list is written only while the agent can attach
//! workloads, and stays when the agent stops: policy stays in force, and pods wait for the agent's return. Files of other
//! plugins are never changed.

use crate::config::CniConfig;
use crate::paths::Paths;
use crate::problems::{Problem, Problems};
use crate::published::Publication;
use crate::threads;
use anyhow::{Context, bail};
use cni::NetworkList;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The time between two checks: a few small files are read.
const INTERVAL: Duration = Duration::from_secs(2);

/// How long the agent waits for its first success before it checks as often as later.
const FIRST: Duration = Duration::from_millis(100);

/// How long the agent may wait for what it needs before it can attach workloads, such as the first list of the API server,
/// until that is a problem.
const SETTLING: Duration = Duration::from_secs(5);

/// The failures, as status and log name them.
const INSTALLATION: Problem = Problem::new(
    "the CNI plugin is not installed",
    "container runtimes cannot attach pods; the agent tries again until that succeeds",
);
const OTHERS: Problem = Problem::new(
    "container runtimes use another plugin's configuration",
    "remove that file, or give the agent's an earlier name (cni.file); pods have no policy until then",
);
const UNCHECKED: &str = "the installed CNI plugin is not checked any more";

/// The installation of one agent.
#[derive(Debug)]
struct Installation {
    config: CniConfig,
    /// The agent's socket, which the list names.
    socket: PathBuf,
    /// This program.
    program: PathBuf,
    /// The program and a copy of it, by the copy's path, as they were when their contents were compared: a comparison reads tens
    /// of megabytes.
    compared: RefCell<BTreeMap<PathBuf, [FileState; 2]>>,
}

/// What changes with the content of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileState {
    device: u64,
    inode: u64,
    size: u64,
    /// When the content or the status changed, in seconds and nanoseconds; no program can set this time.
    changed: (i64, i64),
}

impl FileState {
    fn read(path: &Path) -> io::Result<Self> {
        let status = fs::metadata(path)?;
        let changed = (status.ctime(), status.ctime_nsec());
        Ok(Self { device: status.dev(), inode: status.ino(), size: status.len(), changed })
    }
}

/// Starts the thread that installs the plugin and keeps it installed.
pub(crate) fn start(
    config: CniConfig,
    paths: &Paths,
    (publication, problems): (Publication, &Problems),
) -> io::Result<()> {
    let installation = Installation {
        config,
        socket: paths.socket(),
        program: "/proc/self/exe".into(),
        compared: RefCell::default(),
    };
    let noted = problems.clone();
    threads::start("cni-install", problems.clone(), UNCHECKED, move || {
        let mut pause = FIRST;
        let started = Instant::now();
        loop {
            std::thread::sleep(pause);
            let unready = publication.current().unready.clone();
            let installed = installation.check(&unready);
            pause = if installed.is_ok() { INTERVAL } else { FIRST.max(pause.min(INTERVAL / 2) * 2) };
            let is_installed = installed.is_ok();
            let is_settling = !unready.is_empty() && started.elapsed() < SETTLING;
            if is_installed || !is_settling {
                noted.note(INSTALLATION, installed.map_err(|error| api::sentence(error.as_ref())));
            }
            if is_installed {
                noted.note(OTHERS, installation.check_order().map_err(|error| api::sentence(error.as_ref())));
            }
        }
    })
    .map(drop)
}

impl Installation {
    /// Installs what is missing. The list is written last, and only if workloads can be attached.
    fn check(&self, unready: &[String]) -> anyhow::Result<()> {
        let CniConfig { binaries, configurations, file, .. } = &self.config;
        self.install_binary(&binaries.join(cni::PLUGIN))?;
        let loopback = binaries.join(cni::LOOPBACK);
        // Another loopback plugin does as well.
        if !loopback.try_exists()? {
            self.install_binary(&loopback)?;
        }
        let list = configurations.join(file);
        let text = self.list()?;
        if fs::read_to_string(&list).is_ok_and(|known| known == text) {
            return Ok(());
        }
        if !unready.is_empty() {
            bail!("{}", unready.join("; "));
        }
        fs::create_dir_all(configurations)
            .with_context(|| format!("creating {}", configurations.display()))?;
        replace(&list, |incomplete| fs::write(incomplete, &text))?;
        tracing::info!(list = %list.display(), "the CNI plugin is installed");
        Ok(())
    }

    /// Copies this program, unless a copy of the same size and content is there.
    fn install_binary(&self, place: &Path) -> anyhow::Result<()> {
        let states = || Ok([FileState::read(&self.program)?, FileState::read(place)?]);
        let found: io::Result<[FileState; 2]> = states();
        let known = self.compared.borrow().get(place).copied();
        if found.as_ref().is_ok_and(|found| known == Some(*found)) {
            return Ok(());
        }
        if let (Ok(found), true) = (found, is_copy(&self.program, place)) {
            // Read before the comparison: a later change is found by the next check.
            self.compared.borrow_mut().insert(place.to_owned(), found);
            return Ok(());
        }
        let directory = place.parent().context("a binary has a directory")?;
        fs::create_dir_all(directory).with_context(|| format!("creating {}", directory.display()))?;
        // Renamed when it is complete: a runtime may run the plugin at any time.
        replace(place, |incomplete| fs::copy(&self.program, incomplete).map(drop))
    }

    /// The text of the list: of this plugin alone, or behind another plugin.
    fn list(&self) -> anyhow::Result<String> {
        let CniConfig { configurations, behind, .. } = &self.config;
        let socket = self.socket.to_str().filter(|socket| *socket != api::DEFAULT_SOCKET);
        let list = NetworkList { name: "nexin", socket };
        let Some(other) = behind else { return Ok(list.text()) };
        let place = configurations.join(other);
        let text = fs::read_to_string(&place)
            .with_context(|| format!("cni.behind: {} cannot be read", place.display()))?;
        list.behind(&text)
            .with_context(|| format!("cni.behind: {} is no list of plugins (conflist)", place.display()))
    }

    /// Checks that runtimes use the list, which is the first file by name.
    fn check_order(&self) -> anyhow::Result<()> {
        let CniConfig { configurations, file, .. } = &self.config;
        let entries = fs::read_dir(configurations)?.collect::<Result<Vec<_>, _>>()?;
        let names: Vec<String> =
            entries.iter().filter_map(|entry| entry.file_name().into_string().ok()).collect();
        match cni::winner(names.iter().map(String::as_str)) {
            Some(first) if first != file => {
                bail!("{} comes before {file}", configurations.join(first).display())
            }
            _ => Ok(()),
        }
    }
}

/// Writes a file under another name, which is no configuration's, and renames it.
fn replace(place: &Path, write: impl FnOnce(&Path) -> io::Result<()>) -> anyhow::Result<()> {
    let incomplete = place.with_extension(format!("nexin-{}", std::process::id()));
    let written = write(&incomplete).and_then(|()| {
        File::open(&incomplete)?.sync_all()?;
        fs::rename(&incomplete, place)
    });
    if written.is_err() {
        // The caller needs the error of writing, not an error of this cleanup.
        let _ = fs::remove_file(&incomplete);
    }
    written.with_context(|| format!("writing {}", place.display()))
}

/// Whether a file is a copy of another one.
fn is_copy(original: &Path, copy: &Path) -> bool {
    let size = |path| fs::metadata(path).map(|known| known.len()).ok();
    if size(copy).is_none() || size(original) != size(copy) {
        return false;
    }
    let same = || -> io::Result<bool> {
        let (mut one, mut other) = (File::open(original)?, File::open(copy)?);
        let (mut left, mut right) = ([0; 1 << 16], [0; 1 << 16]);
        loop {
            let length = io::Read::read(&mut one, &mut left)?;
            io::Read::read_exact(&mut other, &mut right[..length])?;
            if length == 0 || left[..length] != right[..length] {
                return Ok(length == 0);
            }
        }
    };
    same().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let directory = std::env::temp_dir().join(format!("nexin-cni-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&directory);
            fs::create_dir_all(&directory).unwrap();
            fs::write(directory.join("program"), "program").unwrap();
            Self(directory)
        }

        fn installation(&self, behind: Option<&str>) -> Installation {
            let config = CniConfig {
                binaries: self.0.join("bin"),
                configurations: self.0.join("net.d"),
                behind: behind.map(str::to_owned),
                ..CniConfig::default()
            };
            let (socket, program) = ("/run/x/agent.sock".into(), self.0.join("program"));
            Installation { config, socket, program, compared: RefCell::default() }
        }

        fn list(&self) -> Option<String> {
            fs::read_to_string(self.0.join("net.d/05-nexin.conflist")).ok()
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn the_list_is_written_last_and_only_while_workloads_can_be_attached() {
        let scratch = Scratch::new("last");
        let installation = scratch.installation(None);
        let said = installation.check(&["no addresses yet".to_owned()]).unwrap_err().to_string();
        assert_eq!((said.as_str(), scratch.list()), ("no addresses yet", None));
        for name in ["nexin-cni", "loopback"] {
            assert_eq!(fs::read_to_string(scratch.0.join("bin").join(name)).unwrap(), "program");
        }
        installation.check(&[]).unwrap();
        let list = scratch.list().unwrap();
        assert!(list.contains("nexin-cni") && list.contains("/run/x/agent.sock"), "{list}");
        // What another program wrote over it is replaced, and the agent that is not ready does not write.
        fs::write(scratch.0.join("net.d/05-nexin.conflist"), &list[..10]).unwrap();
        installation.check(&["not yet".to_owned()]).unwrap_err();
        installation.check(&[]).unwrap();
        assert_eq!(scratch.list().unwrap(), list);
        let left = fs::read_dir(scratch.0.join("net.d")).unwrap().count();
        assert_eq!(left, 1, "no incomplete file is left");
    }

    #[test]
    fn a_new_release_replaces_its_binary_and_no_loopback_plugin_of_others() {
        let scratch = Scratch::new("release");
        fs::create_dir_all(scratch.0.join("bin")).unwrap();
        fs::write(scratch.0.join("bin/loopback"), "another").unwrap();
        let installation = scratch.installation(None);
        installation.check(&[]).unwrap();
        fs::write(scratch.0.join("program"), "release").unwrap();
        installation.check(&[]).unwrap();
        assert_eq!(fs::read_to_string(scratch.0.join("bin/nexin-cni")).unwrap(), "release");
        assert_eq!(fs::read_to_string(scratch.0.join("bin/loopback")).unwrap(), "another");
    }

    #[test]
    fn contents_are_compared_once_until_a_file_changes() {
        let scratch = Scratch::new("compared");
        let installation = scratch.installation(None);
        let place = scratch.0.join("bin/nexin-cni");
        let compared = || installation.compared.borrow().get(&place).copied();
        installation.check(&[]).unwrap();
        assert_eq!(compared(), None, "a copy that was just written is not compared");
        installation.check(&[]).unwrap();
        let first = compared();
        assert!(first.is_some());
        installation.check(&[]).unwrap();
        assert_eq!(compared(), first);
        // Another content of the same size.
        fs::write(&place, "damaged").unwrap();
        installation.check(&[]).unwrap();
        assert_eq!(fs::read_to_string(&place).unwrap(), "program");
    }

    #[test]
    fn another_configuration_that_runtimes_use_is_reported_and_stays_as_it_is() {
        let scratch = Scratch::new("order");
        let installation = scratch.installation(None);
        installation.check(&[]).unwrap();
        installation.check_order().unwrap();
        let other = scratch.0.join("net.d/00-other.conf");
        fs::write(&other, "{}").unwrap();
        let said = installation.check_order().unwrap_err().to_string();
        assert!(said.ends_with("00-other.conf comes before 05-nexin.conflist"), "{said}");
        assert_eq!(fs::read_to_string(&other).unwrap(), "{}");
    }

    #[test]
    fn behind_another_plugin_the_list_follows_that_plugins_list() {
        let scratch = Scratch::new("behind");
        let installation = scratch.installation(Some("10-bridge.conflist"));
        assert!(installation.check(&[]).is_err());
        let other = scratch.0.join("net.d/10-bridge.conflist");
        fs::create_dir_all(scratch.0.join("net.d")).unwrap();
        for bridge in ["cni0", "cni1"] {
            let text = format!(r#"{{"name": "b", "plugins": [{{"type": "bridge", "bridge": "{bridge}"}}]}}"#);
            fs::write(&other, &text).unwrap();
            installation.check(&[]).unwrap();
            let list = scratch.list().unwrap();
            assert!(list.contains(bridge) && list.contains("nexin-cni"), "{list}");
            assert_eq!(fs::read_to_string(&other).unwrap(), text);
        }
    }
}
