//! What can be set, and what holds where it is not.

use std::time::Duration;

/// Limits of the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// How long a new connection may stay silent.
    pub first_byte_timeout: Duration,
    /// How long a client may take for one head, from its first byte on.
    pub head_timeout: Duration,
    /// How long a connection may stay open between requests.
    pub idle_timeout: Duration,
    /// How long nothing may move within a request, its response, or a WebSocket.
    pub stall_timeout: Duration,
    /// The same once the client has sent its last: it may still read, and it may be gone.
    pub half_close_timeout: Duration,
    /// How long connecting to a server may take.
    pub connect_timeout: Duration,
    /// How long to wait for more of the rest that a client sends after the last answer; that rest is read for ten times
    /// as long, so that the client gets the answer.
    pub linger_timeout: Duration,
    /// How long a peer may leave bytes or a question whether it is still there without an acknowledgement, by the
    /// kernel's count (`TCP_USER_TIMEOUT`); a quarter of it without a segment is when it is asked (`TCP_KEEPIDLE`).
    pub unacknowledged_timeout: Duration,
    /// How often the proxy looks whether policy has changed; what goes on is then judged again.
    pub policy_interval: Duration,
    /// How long a connection waits for a place where all are taken by exchanges that go on.
    pub slot_timeout: Duration,
    /// How many bytes of a denied request's body are read and thrown away to keep the connection.
    pub discard_limit: u64,
    /// How many connections there may be at a time.
    pub max_connections: usize,
    /// How many of a hundred of these one client identity may have.
    pub client_share: u8,
    /// How many of a hundred of these one server may have.
    pub server_share: u8,
}

impl Default for Config {
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
            policy_interval: Duration::from_millis(100),
            slot_timeout: Duration::from_secs(1),
            discard_limit: 1 << 20,
            max_connections: 50_000,
            client_share: 50,
            server_share: 50,
        }
    }
}
