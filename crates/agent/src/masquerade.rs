//! What packets of workloads to addresses outside the cluster get, by configuration and by the node's external interfaces.

use crate::config::AgentConfig;
use crate::kernel::Kernel;
use crate::problems::{Problem, Problems, message};
use control::Masquerade;
use std::fs;
use std::ops::RangeInclusive;

/// The failure, as the status names it.
const ADDRESSES: Problem = Problem::new(
    "the address that workloads have outside the cluster is not known",
    "the agent tries again when an interface or an address changes",
);

/// The ports of masqueraded flows: below those that the kernel gives the node's own sockets, and below node ports.
const PORTS: RangeInclusive<u16> = 16_384..=29_999;

/// The setting of the ports that the kernel gives sockets; the one of a network namespace.
const OWN_PORTS: &str = "/proc/sys/net/ipv4/ip_local_port_range";

/// What the node masquerades with; none if the configuration forbids to. Without an address nothing leaves the node.
pub(crate) fn wanted(config: &AgentConfig, kernel: &mut Kernel, problems: &Problems) -> Option<Masquerade> {
    if !config.masquerade {
        return None;
    }
    let found = kernel.external_addresses();
    let addresses = found.as_ref().cloned().unwrap_or_default();
    problems.note(ADDRESSES, found.map(drop).map_err(message));
    Some(Masquerade { addresses, ports: PORTS, except: config.unmasqueraded_addresses.clone() })
}

/// A note if the node's own connections may use ports of masqueraded flows.
pub(crate) fn note(config: &AgentConfig) -> Option<String> {
    if !config.masquerade {
        return None;
    }
    let text = fs::read_to_string(OWN_PORTS).ok()?;
    let mut numbers = text.split_whitespace().filter_map(|number| number.parse::<u16>().ok());
    let (first, last) = (numbers.next()?, numbers.next()?);
    let is_shared = first <= *PORTS.end() && last >= *PORTS.start();
    is_shared.then(|| {
        format!(
            "net.ipv4.ip_local_port_range ({first}-{last}) shares ports with masqueraded connections ({}-{}): a connection of \
             the node and one of a workload to the same address and port may get the same port",
            PORTS.start(),
            PORTS.end()
        )
    })
}
