//! The addresses of the node as a source of changes.

use crate::problems::message;
use crate::reconciler::Reconciler;
use crate::source::ChangeSource;
use control::{Change, Node};

/// The failure, as status and log name it.
const UNKNOWN: &str = "the addresses of the node cannot be read";

/// Compares the addresses of the node's interfaces with the world's at every tick.
#[derive(Debug)]
pub(crate) struct NodeAddresses;

impl ChangeSource for NodeAddresses {
    fn deliver(&mut self, reconciler: &mut Reconciler) {
        let updated = update(reconciler);
        reconciler.problems.note(UNKNOWN, updated.map_err(message));
    }

    fn poll(&mut self, reconciler: &mut Reconciler) {
        self.deliver(reconciler);
    }
}

fn update(reconciler: &mut Reconciler) -> anyhow::Result<()> {
    let addresses = reconciler.wiring.node_addresses()?;
    let node = reconciler.world().node();
    if node.addresses == addresses {
        return Ok(());
    }
    let node = Node { addresses, ..node.clone() };
    reconciler.apply(vec![Change::Node(Box::new(node))])
}
