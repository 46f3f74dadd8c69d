//! Accepts connections and serves each in its own task.

use crate::config::ProxyConfig;
use crate::connection;
use crate::event::Events;
use crate::handle::Command;
use crate::network::{self, ProxyNetwork};
use crate::policy::RequestPolicy;
use crate::resources::Resources;
use crate::slots::{Occupancy, Slots};
use socket2::SockRef;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

/// How many connections get a command before other tasks run.
const BATCH: usize = 32;

/// The proxy; clones share one limit on connections.
#[derive(Clone)]
pub struct Proxy {
    resources: Arc<Resources>,
}

impl Proxy {
    /// A proxy with this policy and this network.
    pub fn new(config: ProxyConfig, policy: Arc<dyn RequestPolicy>, network: Arc<dyn ProxyNetwork>) -> Self {
        let slots = Arc::new(Slots::new(&config));
        Self { resources: Arc::new(Resources { config, policy, network, slots }) }
    }

    /// The number of file descriptors that this many connections can need.
    pub fn descriptors(connections: usize) -> usize {
        // A connection has two sockets; one that waits for a slot has one.
        2 * connections + Slots::waiting_limit(connections)
    }

    /// The usage of the connection slots.
    pub fn occupancy(&self) -> Occupancy {
        self.resources.slots.occupancy()
    }

    /// Serves the connections of a non-blocking listener on the current runtime, for ever, and reports their requests;
    /// dropping the future stops accepting. Call it once per listener. With single-threaded runtimes, a connection stays on
    /// one CPU.
    pub async fn serve(&self, listener: TcpListener, events: Arc<dyn Events>) -> io::Result<()> {
        network::prepare(SockRef::from(&listener), self.resources.config.unacknowledged_timeout)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        loop {
            let (stream, peer) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    // No descriptor, no memory, or the client is gone already: the next connection may succeed.
                    tracing::warn!(%error, "a connection was not accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            let (resources, events) = (Arc::clone(&self.resources), Arc::clone(&events));
            tokio::spawn(async move {
                if let Err(error) = connection::serve(&resources, events, stream, peer).await {
                    tracing::debug!(client = %peer, %error, "a connection was not served");
                }
            });
        }
    }

    /// Lets connections judge their open exchanges again after each change of policy, for ever. Call it once for all
    /// listeners.
    pub async fn watch_policy(&self) {
        let Resources { config, policy, slots, .. } = &*self.resources;
        let mut known = policy.generation();
        loop {
            slots.wait_until_taken().await;
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
