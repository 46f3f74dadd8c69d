//! Protocols by name and number, with failures for the API.

use abi::protocol;
use api::{Cause, Failure};

/// The number of a protocol by name, in any case.
pub(super) fn protocol_number(name: &str) -> Result<u8, Failure> {
    protocol::number(name).ok_or_else(|| {
        let message = format!("protocol {name:?} is none of TCP, UDP, SCTP, ICMP and ICMPv6");
        Failure::new(Cause::Invalid, message)
    })
}

/// The name of a protocol by number, as in `80/TCP`.
pub fn protocol_name(number: u8) -> &'static str {
    protocol::name(number).unwrap_or("ANY")
}
