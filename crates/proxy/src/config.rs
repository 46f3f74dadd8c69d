//! What can be set, and what holds where it is not.

use std::time::Duration;

/// Limits of the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// How long a client may take for one head, from its first byte on.
    pub head_timeout: Duration,
    /// How long a connection may stay open between requests.
    pub idle_timeout: Duration,
    /// How long nothing may move within a request, its response, or a WebSocket.
    pub stall_timeout: Duration,
    /// How long connecting to a server may take.
    pub connect_timeout: Duration,
    /// How long to wait for more of the rest that a client sends after the last answer; that rest is read for ten times
    /// as long, so that the client gets the answer.
    pub linger_timeout: Duration,
    /// How many bytes of a denied request's body are read and thrown away to keep the connection.
    pub discard_limit: u64,
    /// How many connections there may be at a time; more wait to be accepted.
    pub max_connections: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            head_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(600),
            stall_timeout: Duration::from_secs(3600),
            connect_timeout: Duration::from_secs(5),
            linger_timeout: Duration::from_secs(1),
            discard_limit: 1 << 20,
            max_connections: 50_000,
        }
    }
}
