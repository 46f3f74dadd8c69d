//! Protocols, ports and actions of policy entries, as text.

use abi::policy::{VerdictKey, action};
use abi::protocol;

/// The name of a protocol, else its number.
pub(super) fn protocol_name(number: u8) -> String {
    protocol::name(number).map_or_else(|| number.to_string(), str::to_owned)
}

/// The protocol and ports that a verdict entry matches; `any` for all.
pub(super) fn traffic(key: &VerdictKey) -> (String, String) {
    let any = || "any".to_string();
    if key.prefix_bits < VerdictKey::ANY_PORT {
        return (any(), any());
    }
    let bits = key.prefix_bits - VerdictKey::ANY_PORT;
    let first = u16::from_be_bytes(key.port);
    let last = first | u16::MAX.checked_shr(bits).unwrap_or(0);
    let ports = match (bits, first == last) {
        (0, _) => any(),
        (8, _) if protocol::is_icmp(key.protocol) => format!("type {}", key.port[0]),
        (_, true) => first.to_string(),
        (_, false) => format!("{first}-{last}"),
    };
    (protocol_name(key.protocol), ports)
}

/// The name of a verdict's action.
pub(super) fn verdict(number: u32) -> &'static str {
    match number {
        action::ALLOW => "allow",
        action::REDIRECT => "proxy",
        _ => "deny",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prefix_determines_the_matched_ports() {
        let check = |prefix_bits: u32, protocol: u8, port: u16, expected: (&str, &str)| {
            let key = VerdictKey { prefix_bits, class: 1, direction: 0, protocol, port: port.to_be_bytes() };
            let (protocol, ports) = traffic(&key);
            assert_eq!((protocol.as_str(), ports.as_str()), expected);
        };
        check(VerdictKey::ANY_PROTOCOL, 0, 0, ("any", "any"));
        check(VerdictKey::ANY_PORT, 17, 0, ("UDP", "any"));
        check(VerdictKey::ONE_PORT, 6, 80, ("TCP", "80"));
        check(VerdictKey::ANY_PORT + 6, 6, 1024, ("TCP", "1024-2047"));
        check(VerdictKey::ANY_PORT + 15, 132, 80, ("SCTP", "80-81"));
        check(VerdictKey::ANY_PORT + 8, 1, 8 << 8, ("ICMP", "type 8"));
    }
}
