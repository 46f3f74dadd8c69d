//! A control group of the node outside of all pods, for a process that outlives the pod that starts it.
//!
//! A container runtime that shares the node's process numbers with a container kills all processes in the container's control
//! groups when the container ends, and the kubelet kills those in the pod's. The group is therefore in every hierarchy in
//! which the calling process is in a pod. The node's hierarchies are reached by the root directory of the node's first process,
//! since a container mounts only its own part of a hierarchy of version 1.

use crate::group::{Group, unescaped};
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

/// What the kubelet calls the group of all pods, or, with systemd, what the group's name contains.
const PODS: &str = "kubepods";
/// The root directory of the node's first process.
const NODE_ROOT: &str = "/proc/1/root";
/// Files of a version 1 `cpuset`, which must not be empty when a process joins.
const CPUSET: [&str; 2] = ["cpuset.cpus", "cpuset.mems"];

/// A control group of the node: a directory in each of several hierarchies, whose path ends with the group's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeGroup {
    /// Parts of the name; each is a group.
    parts: usize,
    directories: Vec<PathBuf>,
}

/// The reason why there is no control group outside of the pod.
#[derive(Debug, thiserror::Error)]
pub enum NodeGroupError {
    /// `/proc/1` is a process of a pod.
    #[error("the pod does not share the node's process numbers; set hostPID")]
    ProcessNumbers,
    /// The paths of control groups do not begin at the node's root.
    #[error("the container has a control group namespace of its own; set privileged")]
    Namespace,
    /// The node's first process sees no mount of a hierarchy.
    #[error("the node does not mount the control group hierarchy `{0}`")]
    Mount(String),
    /// A file cannot be read, or a directory cannot be created.
    #[error("{}: {error}", path.display())]
    File {
        /// The file or directory.
        path: PathBuf,
        /// The kernel's error.
        error: io::Error,
    },
}

impl NodeGroup {
    /// The group with this relative path beside the group of all pods; none if the calling process is in no pod.
    pub fn beside_pods(name: &Path) -> Result<Option<Self>, NodeGroupError> {
        let (own, first) = (read("/proc/self/cgroup")?, read("/proc/1/cgroup")?);
        if own.contains(PODS) && first.contains(PODS) {
            return Err(NodeGroupError::ProcessNumbers);
        }
        // Outside of the reader's namespace, paths begin with `/..`.
        if first.contains(":/..") {
            return Err(NodeGroupError::Namespace);
        }
        if !own.contains(PODS) {
            return Ok(None);
        }
        let directories = plan(&own, &read("/proc/1/mountinfo")?, |path| Some(above_pods(path)?.join(name)));
        Ok(Some(Self { parts: name.components().count(), directories: directories? }))
    }

    /// The group with this relative path that a process is in, wherever the group is.
    pub fn of_process(process: u32, name: &Path) -> Result<Self, NodeGroupError> {
        let groups = read(&format!("/proc/{process}/cgroup"))?;
        let named = |path: &Path| path.ends_with(name).then(|| path.to_owned());
        let directories = plan(&groups, &read("/proc/1/mountinfo")?, named)?;
        Ok(Self { parts: name.components().count(), directories })
    }

    /// Creates the group in all hierarchies.
    pub fn create(&self) -> Result<(), NodeGroupError> {
        for directory in &self.directories {
            let failed = |error| NodeGroupError::File { path: directory.clone(), error };
            Group::at(directory).create().map_err(failed)?;
            copy_processors(directory, self.parts).map_err(failed)?;
        }
        Ok(())
    }

    /// Lets a command start in the group.
    pub fn enter_on_start(&self, command: &mut Command) -> Result<(), NodeGroupError> {
        for directory in &self.directories {
            let failed = |error| NodeGroupError::File { path: directory.clone(), error };
            Group::at(directory).open().map_err(failed)?.enter_on_start(command);
        }
        Ok(())
    }

    /// Removes the group, whose processes have ended, and the groups of its path that are empty then.
    pub fn remove(&self) -> io::Result<()> {
        for directory in &self.directories {
            Group::at(directory).remove()?;
            // A group that is not empty has other groups of this agent, or those of another one.
            let _ = directory.ancestors().take(self.parts).skip(1).try_for_each(fs::remove_dir);
        }
        Ok(())
    }
}

/// The directories of the groups that `choose` returns for the groups of a process: its `cgroup` file, and the mounts of the
/// node's first process.
fn plan(
    groups: &str,
    mounts: &str,
    choose: impl Fn(&Path) -> Option<PathBuf>,
) -> Result<Vec<PathBuf>, NodeGroupError> {
    let mut planned = Vec::new();
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let Some(chosen) = choose(Path::new(path)) else { continue };
        if chosen.components().any(|part| part == Component::ParentDir) {
            return Err(NodeGroupError::Namespace);
        }
        let (root, at) = mount_of(controllers, mounts)
            .filter(|(root, _)| chosen.starts_with(root))
            .ok_or_else(|| NodeGroupError::Mount(controllers.to_owned()))?;
        let relative =
            |path: &Path, to: &Path| path.strip_prefix(to).map_or_else(|_| path.into(), PathBuf::from);
        planned.push(Path::new(NODE_ROOT).join(relative(&at, Path::new("/"))).join(relative(&chosen, &root)));
    }
    Ok(planned)
}

/// The group around the group of all pods; none for the path of a group that is not in it.
fn above_pods(path: &Path) -> Option<PathBuf> {
    let is_pods = |part: &Component<'_>| part.as_os_str().to_string_lossy().contains(PODS);
    path.components().any(|part| is_pods(&part)).then(|| {
        let above = path.components().take_while(|part| !is_pods(part));
        above.collect()
    })
}

/// The root and the mount point of the hierarchy of these controllers in the text of a `mountinfo` (proc_pid_mountinfo(5)).
fn mount_of(controllers: &str, mounts: &str) -> Option<(PathBuf, PathBuf)> {
    mounts.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let mut fields = before.split(' ').skip(3);
        let (root, at) = (fields.next()?, fields.next()?);
        let mut fields = after.split(' ');
        let (kind, options) = (fields.next()?, fields.nth(1)?);
        let has = |controller: &str| options.split(',').any(|option| option == controller);
        let is_wanted = match controllers {
            "" => kind == "cgroup2",
            some => kind == "cgroup" && some.split(',').all(has),
        };
        is_wanted.then(|| (PathBuf::from(unescaped(root)), PathBuf::from(unescaped(at))))
    })
}

/// Gives the last groups of a path, as many as `parts`, the processors of the group around each, as far as they have none: no
/// process may join a group of a version 1 `cpuset` without processors.
fn copy_processors(directory: &Path, parts: usize) -> io::Result<()> {
    let mut created: Vec<&Path> = directory.ancestors().take(parts).collect();
    created.reverse();
    for (directory, file) in created.into_iter().flat_map(|directory| CPUSET.map(|file| (directory, file))) {
        let is_empty = fs::read_to_string(directory.join(file)).is_ok_and(|text| text.trim().is_empty());
        // In version 2 an empty file means the processors of the group around it.
        let is_version_1 = !directory.join("cgroup.controllers").exists();
        if let Some(around) = directory.parent().filter(|_| is_empty && is_version_1) {
            fs::write(directory.join(file), fs::read(around.join(file))?)?;
        }
    }
    Ok(())
}

fn read(path: &str) -> Result<String, NodeGroupError> {
    fs::read_to_string(path).map_err(|error| NodeGroupError::File { path: path.into(), error })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
        33 32 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct\n\
        34 32 0:30 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n\
        35 32 0:31 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";

    fn beside(groups: &str, mounts: &str) -> Result<Vec<String>, String> {
        let planned = plan(groups, mounts, |path| Some(above_pods(path)?.join("nexin/node/proxy")));
        let directories = planned.map_err(|error| error.to_string())?;
        Ok(directories.into_iter().map(|directory| directory.display().to_string()).collect())
    }

    #[test]
    fn a_group_is_planned_in_each_hierarchy_in_which_the_process_is_in_a_pod() {
        let check = |groups: &str, expected: &[&str]| {
            let expected =
                expected.iter().map(|at| format!("{NODE_ROOT}/sys/fs/cgroup/{at}/nexin/node/proxy"));
            assert_eq!(beside(groups, MOUNTS), Ok(expected.collect()), "{groups}");
        };
        check("0::/user.slice\n5:cpu,cpuacct:/\n", &[]);
        check("0::/kubepods/burstable/pod1/a\n5:cpu,cpuacct:/\n", &["unified"]);
        check("0::/kubepods.slice/kubepods-burstable.slice/cri-containerd-a.scope\n", &["unified"]);
        // The kubelet may have a group of its own, as in nodes that are containers.
        check("0::/kubelet.slice/kubelet-kubepods.slice/a.scope", &["unified/kubelet.slice"]);
        check(
            "5:cpu,cpuacct:/node1/kubepods/pod1/a\n4:name=systemd:/kubepods/pod1/a\n",
            &["cpu,cpuacct/node1", "systemd"],
        );
    }

    #[test]
    fn a_hierarchy_that_cannot_be_reached_is_an_error() {
        let check = |groups: &str, mounts: &str, expected: &str| {
            let error = beside(groups, mounts).unwrap_err();
            assert!(error.contains(expected), "{error}");
        };
        check("7:pids:/kubepods/pod1/a", MOUNTS, "does not mount the control group hierarchy `pids`");
        check("0::/../../kubepods/pod1/a", MOUNTS, "namespace of its own");
        let inner = "35 32 0:31 /kubelet /sys/fs/cgroup rw - cgroup2 cgroup2 rw";
        check("0::/kubepods/pod1/a", inner, "does not mount");
        let below = beside("0::/kubelet/kubepods/pod1/a", inner).unwrap();
        assert_eq!(below, [format!("{NODE_ROOT}/sys/fs/cgroup/nexin/node/proxy")]);
    }

    #[test]
    fn the_group_of_a_process_is_found_by_its_name() {
        let groups = "0::/node1/nexin/node/proxy\n5:cpu,cpuacct:/other\n4:name=systemd:/nexin/node/proxy\n";
        let name = Path::new("nexin/node/proxy");
        let found = plan(groups, MOUNTS, |path| path.ends_with(name).then(|| path.to_owned())).unwrap();
        let at = |part: &str| PathBuf::from(format!("{NODE_ROOT}/sys/fs/cgroup/{part}/nexin/node/proxy"));
        assert_eq!(found, [at("unified/node1"), at("systemd")]);
    }

    #[test]
    fn a_removed_group_leaves_the_groups_around_its_name() {
        let around = std::env::temp_dir().join(format!("nexin-node-group-{}", std::process::id()));
        let directories = vec![around.join("nexin/node/proxy")];
        fs::create_dir_all(&directories[0]).unwrap();
        fs::create_dir_all(around.join("nexin/other")).unwrap();
        let group = NodeGroup { parts: 3, directories };
        group.remove().unwrap();
        assert!(!around.join("nexin/node").exists() && around.join("nexin/other").exists());
        fs::remove_dir(around.join("nexin/other")).unwrap();
        fs::create_dir_all(around.join("nexin/node/proxy")).unwrap();
        group.remove().unwrap();
        assert!(!around.join("nexin").exists() && around.exists());
        fs::remove_dir(&around).unwrap();
    }

    #[test]
    fn a_group_of_a_cpuset_gets_the_processors_of_the_group_around_it() {
        let around = std::env::temp_dir().join(format!("nexin-cpuset-{}", std::process::id()));
        let inner = around.join("nexin/node");
        fs::create_dir_all(&inner).unwrap();
        fs::write(around.join("cpuset.cpus"), "0-1\n").unwrap();
        for directory in [around.join("nexin"), inner.clone()] {
            fs::write(directory.join("cpuset.cpus"), "\n").unwrap();
        }
        copy_processors(&inner, 2).unwrap();
        assert_eq!(fs::read_to_string(inner.join("cpuset.cpus")).unwrap(), "0-1\n");
        fs::remove_dir_all(&around).unwrap();
    }
}
