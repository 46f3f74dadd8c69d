//! Accepts connections and serves each in a task of its own.

use crate::config::Config;
use crate::connection;
use crate::event::Events;
use crate::network::Network;
use crate::policy::Policy;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// What all connections share.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) policy: Arc<dyn Policy>,
    pub(crate) events: Arc<dyn Events>,
    pub(crate) network: Arc<dyn Network>,
}

/// The proxy; clones serve under one limit of connections.
#[derive(Clone)]
pub struct Proxy {
    shared: Arc<Shared>,
    room: Arc<Semaphore>,
}

impl Proxy {
    /// A proxy that asks this policy, reports to these events, and reaches servers over this network.
    pub fn new(
        config: Config,
        policy: Arc<dyn Policy>,
        events: Arc<dyn Events>,
        network: Arc<dyn Network>,
    ) -> Self {
        let room = Arc::new(Semaphore::new(config.max_connections));
        Self { shared: Arc::new(Shared { config, policy, events, network }), room }
    }

    /// Serves connections of a non-blocking listener, on the runtime this runs in, for ever; dropping it stops
    /// accepting. One call for each listener; runtimes of one thread each keep a connection on one CPU.
    pub async fn serve(&self, listener: TcpListener) -> io::Result<()> {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        loop {
            let room = Arc::clone(&self.room).acquire_owned().await.map_err(io::Error::other)?;
            let (stream, peer) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of descriptors or memory, or the client is gone again: others may still be served.
                    tracing::warn!(%error, "a connection was not accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            let shared = Arc::clone(&self.shared);
            tokio::spawn(async move {
                if let Err(error) = connection::serve(&shared, stream, peer).await {
                    tracing::debug!(client = %peer, %error, "a connection was not served");
                }
                drop(room);
            });
        }
    }
}
