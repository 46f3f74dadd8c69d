//! The limits of the proxy and their defaults.

use std::time::Duration;

/// Limits of the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProxyConfig {
    /// How long a new connection may send nothing.
    pub first_byte_timeout: Duration,
    /// How long a client may take to send one head, from its first byte.
    pub head_timeout: Duration,
    /// How long a connection may stay open between requests.
    pub idle_timeout: Duration,
    /// How long a request, its response or a WebSocket may make no progress.
    pub stall_timeout: Duration,
    /// The same after the client closed its side: the client may still read, but may also be gone.
    pub half_close_timeout: Duration,
    /// How long a connection attempt to a server may take.
    pub connect_timeout: Duration,
    /// How long to wait for further bytes from a client after the last response. Bytes that do arrive are discarded, for at
    /// most ten times as long: a reset would destroy the response before the client reads it.
    pub linger_timeout: Duration,
    /// How long bytes or keepalive probes may stay unacknowledged (`TCP_USER_TIMEOUT`). Probes start after a quarter of this
    /// time without a segment (`TCP_KEEPIDLE`).
    pub unacknowledged_timeout: Duration,
    /// How often the proxy checks for a new policy while connections are open. After a change it judges open exchanges again.
    pub policy_interval: Duration,
    /// How long a new connection waits for a slot where all are taken by connections with an exchange.
    pub slot_timeout: Duration,
    /// Limit in bytes on the body of a denied request that is discarded to keep the connection open.
    pub discard_limit: u64,
    /// Limit on open connections.
    pub max_connections: usize,
    /// Percentage of the limit that one client identity may use.
    pub client_share: u8,
    /// Percentage of the limit that one server may use.
    pub server_share: u8,
}

impl Default for ProxyConfig {
    fn default() -> Self {
        Self {
            first_byte_timeout: Duration::from_secs(10),
            head_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(600),
            stall_timeout: Duration::from_secs(3600),
            half_close_timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(5),
            linger_timeout: Duration::from_secs(1),
            unacknowledged_timeout: Duration::from_secs(60),
            policy_interval: Duration::from_millis(10),
            slot_timeout: Duration::from_secs(1),
            discard_limit: 1 << 20,
            max_connections: 50_000,
            client_share: 50,
            server_share: 50,
        }
    }
}
