//! Blocks of addresses, and exceptions from them.

use crate::item::Item;
use policy::rule::{Cidr, CidrReach, Peer};
use std::net::IpAddr;

/// A block as `10.0.0.0/8` or `2001:db8::/32`.
pub(crate) fn block(item: &Item<'_>) -> Option<Cidr> {
    let text = item.text()?;
    let Some((address, length)) = text.split_once('/') else {
        item.error(format!("{text:?} has no `/`; write a block such as \"10.0.0.0/8\" or \"2001:db8::/32\""));
        return None;
    };
    let Ok(address) = address.parse::<IpAddr>() else {
        item.error(format!(
            "{address:?} is not an IP address; write a block such as \"10.0.0.0/8\" or \"2001:db8::/32\""
        ));
        return None;
    };
    // Packets with such addresses are IPv4, so the block would match nothing or repeat the IPv4 block.
    if let IpAddr::V6(address) = address
        && let Some(v4) = address.to_ipv4_mapped()
    {
        item.error(format!("{text:?} maps IPv4 into IPv6; write the block of {v4} as IPv4"));
        return None;
    }
    let digits = !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit());
    let exact = digits && (length == "0" || !length.starts_with('0'));
    let block = length.parse().ok().filter(|_| exact).and_then(|length| Cidr::new(address, length));
    let Some(block) = block else {
        let most = if address.is_ipv4() { 32 } else { 128 };
        item.error(format!("the prefix length {length:?} is invalid; write a number from 0 to {most}"));
        return None;
    };
    if block.address() != address {
        item.warn(format!("{text} has bits set after the prefix length; it is read as {block}"));
    }
    Some(block)
}

/// A block with the list of its exceptions.
pub(crate) fn peer(block: Cidr, except: Option<Item<'_>>, reach: CidrReach) -> Peer {
    let items = except.iter().flat_map(Item::list);
    let except = items.filter_map(|item| {
        let inner = self::block(&item)?;
        if !block.encloses(&inner) {
            item.error(format!("{inner} is not within {block}; an exception must be part of the block"));
        } else if inner == block && reach == CidrReach::Everything {
            item.error(format!("{inner} is the whole block; an exception must be smaller"));
        }
        Some(inner)
    });
    Peer::Cidr { block, except: except.collect(), reach }
}
