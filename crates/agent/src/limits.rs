//! The limits of the node proxy, as they are configured.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Limits of the node proxy; [`proxy::ProxyConfig`] has the defaults. Times are in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ProxyLimits {
    /// Maximum number of connections; the limit of descriptors may reduce it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections: Option<u32>,
    /// Maximum share of one client identity, in percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_share: Option<u8>,
    /// Maximum share of one server, in percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_share: Option<u8>,
    /// Time until the first byte of a new connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_byte_timeout: Option<u32>,
    /// Time until a request's head is complete.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head_timeout: Option<u32>,
    /// Time that a connection may be idle between two requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_timeout: Option<u32>,
    /// Time without progress within an exchange.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stall_timeout: Option<u32>,
    /// Time without progress once the client has closed its sending side.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub half_close_timeout: Option<u32>,
    /// Time to connect to a server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect_timeout: Option<u32>,
    /// Time without acknowledgement until a client or server counts as gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unacknowledged_timeout: Option<u32>,
}

impl ProxyLimits {
    /// The proxy's configuration with these limits.
    ///
    /// # Errors A sentence that names the invalid field.
    pub fn config(&self) -> Result<proxy::ProxyConfig, String> {
        let mut config = proxy::ProxyConfig::default();
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
                    return Err(format!("proxy.{name}: {share} is not a share; give 1 to 100 percent"));
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
    fn omitted_limits_have_defaults_and_invalid_ones_are_named() {
        assert_eq!(ProxyLimits::default().config().unwrap(), proxy::ProxyConfig::default());
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
