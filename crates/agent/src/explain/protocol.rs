//! Protocols by name and number.

use api::{Cause, Failure};

/// The number of a protocol by name, in any case.
pub(super) fn protocol_number(name: &str) -> Result<u8, Failure> {
    Ok(match name.to_ascii_uppercase().as_str() {
        "TCP" => 6,
        "UDP" => 17,
        "SCTP" => 132,
        "ICMP" => 1,
        "ICMPV6" => 58,
        _ => {
            return Err(Failure::new(
                Cause::Invalid,
                format!("protocol {name:?} is none of TCP, UDP, SCTP, ICMP and ICMPv6"),
            ));
        }
    })
}

/// The name of a protocol by number, as in `80/TCP`.
pub fn protocol_name(number: u8) -> &'static str {
    match number {
        6 => "TCP",
        17 => "UDP",
        132 => "SCTP",
        1 => "ICMP",
        58 => "ICMPv6",
        _ => "ANY",
    }
}
