//! The node's network as a source of changes: its addresses, its external interfaces, the interfaces of workloads.

use crate::host_devices::DeviceCache;
use crate::masquerade;
use crate::notifier::Notifier;
use crate::problems::{Problem, Problems, message};
use crate::reconciler::Reconciler;
use crate::source::ChangeSource;
use crate::threads;
use crate::wiring::{is_interface, routed};
use crate::workloads;
use control::{Change, Node};
use std::collections::BTreeSet;
use std::mem;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;
use workload::{NetworkChanges, NetworkError, NetworkNamespace, NetworkWatch};

/// The failures, as status and log name them.
const UNKNOWN: Problem = Problem::new(
    "changes of the node's network cannot be read",
    "the agent tries again every second until that succeeds",
);
const ADDRESSES: Problem = Problem::new(
    "the addresses of the node are not in force",
    "the agent tries again twice a second until that succeeds",
);
const GUARD: Problem = Problem::new(
    "the node's policy is not enforced at every interface",
    "the agent tries again twice a second until that succeeds",
);
const UNFOLLOWED: &str = "changes of the node's network are not noticed";

/// The time between two attempts to read the network.
const RETRY: Duration = Duration::from_secs(1);

/// Follows the kernel's notifications.
#[derive(Debug)]
pub(crate) struct NodeNetwork {
    news: Arc<Mutex<News>>,
    /// The addresses that the world does not have yet.
    addresses: Option<BTreeSet<IpAddr>>,
}

/// What changed since the last delivery.
#[derive(Debug, Default)]
struct News {
    addresses: Option<BTreeSet<IpAddr>>,
    /// Names of interfaces that appeared, disappeared or changed.
    links: BTreeSet<String>,
    /// Whether other interfaces than before may lead out of the node.
    are_devices_new: bool,
    /// The result of the last attempt to read the network.
    read: Option<Result<(), String>>,
}

impl NodeNetwork {
    /// Starts the thread that follows the network of the calling thread's namespace.
    pub(crate) fn watch(
        devices: DeviceCache,
        notifier: Notifier,
        problems: &Problems,
    ) -> anyhow::Result<Self> {
        let mut watch = NetworkWatch::of(&NetworkNamespace::current()?)?;
        let first = News { addresses: Some(watch.addresses()), are_devices_new: true, ..News::default() };
        let news = Arc::new(Mutex::new(first));
        let shared = Arc::clone(&news);
        threads::start("network", problems.clone(), UNFOLLOWED, move || {
            let mut changes = watch.wait();
            loop {
                let is_failed = changes.is_err();
                lock(&shared).add(changes, &devices);
                notifier.notify();
                if is_failed {
                    thread::sleep(RETRY);
                }
                changes = if is_failed { watch.read_again() } else { watch.wait() };
            }
        })?;
        Ok(Self { news, addresses: None })
    }

    fn update_addresses(&mut self, reconciler: &mut Reconciler) {
        let Some(addresses) = &self.addresses else { return };
        let addresses = routed(addresses);
        let masquerade = {
            let Reconciler { config, kernel, problems, .. } = reconciler;
            masquerade::wanted(config, kernel, problems)
        };
        let node = reconciler.world().node();
        let updated = match node.addresses == addresses && node.masquerade == masquerade {
            true => Ok(()),
            false => {
                let node = Node { addresses, masquerade, ..node.clone() };
                reconciler.apply(vec![Change::Node(Box::new(node))])
            }
        };
        if updated.is_ok() {
            self.addresses = None;
        }
        reconciler.problems.note(ADDRESSES, updated.map_err(message));
    }
}

impl ChangeSource for NodeNetwork {
    fn deliver(&mut self, reconciler: &mut Reconciler) {
        let News { addresses, links, are_devices_new, read } = mem::take(&mut *lock(&self.news));
        if let Some(read) = read {
            reconciler.problems.note(UNKNOWN, read);
        }
        self.addresses = addresses.or(self.addresses.take());
        if are_devices_new && self.addresses.is_none() {
            // Workloads may get another address outside the cluster.
            self.addresses = Some(reconciler.world().node().addresses.iter().copied().collect());
        }
        self.update_addresses(reconciler);
        if !links.is_empty() {
            workloads::check_interfaces(reconciler, Some(&links));
        }
        if are_devices_new {
            guard(reconciler);
            reconciler.kernel.nodes_changed();
        }
    }

    /// Retries what failed.
    fn poll(&mut self, reconciler: &mut Reconciler) {
        self.update_addresses(reconciler);
        if reconciler.problems.has(GUARD) {
            guard(reconciler);
        }
    }
}

impl News {
    fn add(&mut self, changes: Result<NetworkChanges, NetworkError>, devices: &DeviceCache) {
        self.read = Some(changes.as_ref().map(|_| ()).map_err(|error| api::sentence(error)));
        let Ok(NetworkChanges { links, addresses, ways_out }) = changes else { return };
        if ways_out || links.iter().any(|name| !is_interface(name)) {
            devices.invalidate();
            self.are_devices_new = true;
        }
        self.addresses = addresses.or(self.addresses.take());
        self.links.extend(links);
    }
}

fn guard(reconciler: &mut Reconciler) {
    let guarded = reconciler.kernel.guard_node();
    reconciler.problems.note(GUARD, guarded.map_err(message));
}

fn lock(news: &Mutex<News>) -> MutexGuard<'_, News> {
    // News are added field by field; a panic between two fields loses no other news.
    news.lock().unwrap_or_else(PoisonError::into_inner)
}
