//! IP protocol numbers that the product knows by name, as they stand in an IP header and in map keys.

/// The text of one table makes the constants, the names and the list.
macro_rules! protocols {
    ($($(#[$doc:meta])* $protocol:ident = $number:literal, $name:literal;)*) => {
        $($(#[$doc])* pub const $protocol: u8 = $number;)*

        /// All protocols with a name, by number.
        pub const ALL: &[u8] = &[$($number),*];

        /// The protocol's name; none for a number that has no name here.
        pub const fn name(number: u8) -> Option<&'static str> {
            match number { $($number => Some($name),)* _ => None }
        }
    };
}

protocols! {
    /// ICMP of IPv4.
    ICMP = 1, "ICMP";
    /// TCP.
    TCP = 6, "TCP";
    /// UDP.
    UDP = 17, "UDP";
    /// ICMP of IPv6.
    ICMP6 = 58, "ICMPv6";
    /// SCTP.
    SCTP = 132, "SCTP";
}

/// The protocols that have ports.
pub const WITH_PORTS: [u8; 3] = [TCP, UDP, SCTP];

/// The number of the protocol with this name, in letters of either case.
pub fn number(name: &str) -> Option<u8> {
    ALL.iter().copied().find(|&number| self::name(number).is_some_and(|own| own.eq_ignore_ascii_case(name)))
}

/// Whether the protocol is ICMP of either family, whose messages have a type and a code in place of ports.
///
/// Two comparisons, and no `matches!`, with which the verifier needs a sixth more instructions for `from_workload`.
#[inline(always)]
pub const fn is_icmp(number: u8) -> bool {
    number == ICMP || number == ICMP6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_protocol_is_found_by_its_name_in_any_case() {
        for &protocol in ALL {
            assert_eq!(number(name(protocol).unwrap()), Some(protocol));
        }
        assert_eq!(number("icmpv6"), Some(ICMP6));
        assert_eq!((number("GRE"), name(47)), (None, None));
    }
}
