//! Adjusts the configuration on a host without IPv6.

use crate::config::AgentConfig;
use policy::rule::Cidr;
use workload::Ipv6;

/// Removes the IPv6 blocks if there is no IPv6; returns a note on what is missing.
pub(crate) fn fit(config: &mut AgentConfig, ipv6: Ipv6) -> anyhow::Result<Vec<String>> {
    if ipv6 == Ipv6::Enabled {
        return Ok(Vec::new());
    }
    let has_v6 = |blocks: &[Cidr]| blocks.iter().any(|block| !block.address().is_ipv4());
    let lacks = has_v6(&config.workload_addresses) || has_v6(&config.service_addresses);
    for blocks in [&mut config.workload_addresses, &mut config.service_addresses] {
        blocks.retain(|block| block.address().is_ipv4());
    }
    anyhow::ensure!(
        !config.workload_addresses.is_empty() || config.kubernetes.is_some(),
        "workloadAddresses has an IPv6 block alone, and {ipv6}; add an IPv4 block, or enable IPv6"
    );
    let consequence = if lacks {
        "workloads and services get IPv4 addresses alone"
    } else {
        "the proxy listens on IPv4 alone"
    };
    Ok(vec![format!("{ipv6}: {consequence}; enable IPv6 and start the agent again to have both")])
}

/// The note on an IPv6 that disappeared while the agent runs.
pub(crate) fn lost(ipv6: Ipv6) -> String {
    format!("{ipv6} since the agent started: new workloads and services get IPv4 addresses alone")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(workloads: &[&str], services: &[&str]) -> AgentConfig {
        let blocks = |written: &[&str]| {
            let block = |text: &&str| Cidr::new(text.parse().unwrap(), 16).unwrap();
            written.iter().map(block).collect()
        };
        AgentConfig {
            workload_addresses: blocks(workloads),
            service_addresses: blocks(services),
            ..AgentConfig::default()
        }
    }

    #[test]
    fn blocks_of_a_missing_family_are_removed_and_a_note_names_the_consequence() {
        let (both, four, six) = (&["10.1.0.0", "fd00:1::"][..], &["10.1.0.0"][..], &["fd00:1::"][..]);
        let fitted = |mut config: AgentConfig, ipv6: Ipv6| {
            let notes = fit(&mut config, ipv6).map_err(|error| error.to_string());
            (config.workload_addresses.len(), config.service_addresses.len(), notes)
        };
        assert_eq!(fitted(config(both, both), Ipv6::Enabled), (2, 2, Ok(vec![])));
        assert_eq!(fitted(config(six, six), Ipv6::Enabled), (1, 1, Ok(vec![])));
        let (workloads, services, notes) = fitted(config(both, both), Ipv6::Absent);
        assert_eq!((workloads, services), (1, 1));
        assert!(
            notes.unwrap()[0]
                .starts_with("the kernel has no IPv6: workloads and services get IPv4 addresses alone")
        );
        let (workloads, services, notes) = fitted(config(four, six), Ipv6::Disabled("net.x"));
        assert_eq!((workloads, services), (1, 0));
        assert!(notes.unwrap()[0].starts_with("IPv6 is disabled by net.x: workloads and services"));
        assert!(
            fitted(config(four, four), Ipv6::Absent).2.unwrap()[0]
                .contains("the proxy listens on IPv4 alone")
        );
        let refusal = fitted(config(six, both), Ipv6::Disabled("net.x")).2.unwrap_err();
        assert!(refusal.contains("workloadAddresses") && refusal.contains("net.x"), "{refusal}");
    }
}
