//! Accepts connections and serves each in a task of its own.

use crate::config::Config;
use crate::connection;
use crate::event::Events;
use crate::handle::Command;
use crate::network::Network;
use crate::policy::Policy;
use crate::resources::Resources;
use crate::slots::{Occupancy, Slots};
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

/// How many connections are told of a change at once; then others are served.
const BATCH: usize = 32;

/// The proxy; clones serve under one limit of connections.
#[derive(Clone)]
pub struct Proxy {
    resources: Arc<Resources>,
}

impl Proxy {
    /// A proxy that asks this policy, reports to these events, and reaches servers over this network.
    pub fn new(
        config: Config,
        policy: Arc<dyn Policy>,
        events: Arc<dyn Events>,
        network: Arc<dyn Network>,
    ) -> Self {
        let slots = Arc::new(Slots::new(&config));
        Self { resources: Arc::new(Resources { config, policy, events, network, slots }) }
    }

    /// How many descriptors this many connections may take.
    pub fn descriptors(connections: usize) -> usize {
        // The client's socket and the server's; those that wait have the one.
        2 * connections + Slots::waiting_limit(connections)
    }

    /// How the slots for connections are used.
    pub fn occupancy(&self) -> Occupancy {
        self.resources.slots.occupancy()
    }

    /// Serves connections of a non-blocking listener, on the runtime this runs in, for ever; dropping it stops
    /// accepting. One call for each listener; runtimes of one thread each keep a connection on one CPU.
    pub async fn serve(&self, listener: TcpListener) -> io::Result<()> {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        loop {
            let (stream, peer) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of descriptors or memory, or the client is gone again: others may still be served.
                    tracing::warn!(%error, "a connection was not accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            let resources = Arc::clone(&self.resources);
            tokio::spawn(async move {
                if let Err(error) = connection::serve(&resources, stream, peer).await {
                    tracing::debug!(client = %peer, %error, "a connection was not served");
                }
            });
        }
    }

    /// Has what goes on judged again whenever policy changes, for ever. One call for all listeners.
    pub async fn watch_policy(&self) {
        let Resources { config, policy, slots, .. } = &*self.resources;
        let mut known = policy.generation();
        loop {
            tokio::time::sleep(config.policy_interval).await;
            let generation = policy.generation();
            if generation == known {
                continue;
            }
            known = generation;
            for handles in slots.handles().chunks(BATCH) {
                handles.iter().for_each(|handle| handle.send(Command::Reevaluate));
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    }
}
