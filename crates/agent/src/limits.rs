//! What can be set about the node proxy, as it is written down.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Limits of the node proxy; what is left out is as [`proxy::Config`] has it by default. Times are in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ProxyLimits {
    /// How many connections there may be; fewer where the process may not have as many descriptors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections: Option<u32>,
    /// How many of a hundred of them one client identity may have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_share: Option<u8>,
    /// How many of a hundred of them one server may have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_share: Option<u8>,
    /// How long a new connection may stay silent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_byte_timeout: Option<u32>,
    /// How long a client may take for the head of a request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head_timeout: Option<u32>,
    /// How long a connection may stay open between two requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_timeout: Option<u32>,
    /// How long nothing may move within an exchange.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stall_timeout: Option<u32>,
    /// The same once the client has sent its last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub half_close_timeout: Option<u32>,
    /// How long connecting to a server may take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect_timeout: Option<u32>,
    /// How long a client or server that acknowledges nothing is taken to be there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unacknowledged_timeout: Option<u32>,
}

impl ProxyLimits {
    /// What it means.
    ///
    /// # Errors
    /// A sentence that names the field that makes no sense.
    pub fn config(&self) -> Result<proxy::Config, String> {
        let mut config = proxy::Config::default();
        let times = [
            ("firstByteTimeout", self.first_byte_timeout, &mut config.first_byte_timeout),
            ("headTimeout", self.head_timeout, &mut config.head_timeout),
            ("idleTimeout", self.idle_timeout, &mut config.idle_timeout),
            ("stallTimeout", self.stall_timeout, &mut config.stall_timeout),
            ("halfCloseTimeout", self.half_close_timeout, &mut config.half_close_timeout),
            ("connectTimeout", self.connect_timeout, &mut config.connect_timeout),
            ("unacknowledgedTimeout", self.unacknowledged_timeout, &mut config.unacknowledged_timeout),
        ];
        for (name, written, place) in times {
            match written {
                Some(0) => return Err(format!("proxy.{name}: give at least one second")),
                Some(seconds) => *place = Duration::from_secs(seconds.into()),
                None => {}
            }
        }
        let shares = [
            ("clientShare", self.client_share, &mut config.client_share),
            ("serverShare", self.server_share, &mut config.server_share),
        ];
        for (name, written, place) in shares {
            match written {
                Some(1..=100) => *place = written.unwrap_or(*place),
                Some(share) => {
                    return Err(format!("proxy.{name}: {share} is no share; give 1 to 100 of a hundred"));
                }
                None => {}
            }
        }
        match self.connections {
            Some(0) => return Err("proxy.connections: give at least one".into()),
            Some(connections) => config.max_connections = connections as usize,
            None => {}
        }
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_as_by_default_and_nonsense_is_named() {
        assert_eq!(ProxyLimits::default().config().unwrap(), proxy::Config::default());
        let limits =
            ProxyLimits { half_close_timeout: Some(3), client_share: Some(20), ..ProxyLimits::default() };
        let config = limits.config().unwrap();
        assert_eq!((config.half_close_timeout, config.client_share), (Duration::from_secs(3), 20));
        for (limits, named) in [
            (ProxyLimits { head_timeout: Some(0), ..ProxyLimits::default() }, "proxy.headTimeout"),
            (ProxyLimits { server_share: Some(101), ..ProxyLimits::default() }, "proxy.serverShare"),
            (ProxyLimits { connections: Some(0), ..ProxyLimits::default() }, "proxy.connections"),
        ] {
            assert!(limits.config().unwrap_err().starts_with(named));
        }
    }
}
