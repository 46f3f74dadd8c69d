//! Checks whether an agent can run with its configuration; an error names the field and the valid values.

use policy::rule::Cidr;
use std::net::IpAddr;
use std::path::Path;

/// Maximum length of an instance: a DNS label, since it is part of names of network namespaces and pins.
const MAX_INSTANCE: usize = 63;
/// Maximum length of an interface's name (`IFNAMSIZ` without the terminator).
const MAX_INTERFACE: usize = 15;
/// Maximum length of a file's name (`NAME_MAX`).
const MAX_NAME: usize = 255;
/// Maximum length of a unix socket's path (`sun_path` without the terminator).
const MAX_SOCKET: usize = 107;

/// Blocks without unicast addresses of hosts.
const SPECIAL: [(&str, u8); 8] = [
    ("0.0.0.0", 8),
    ("127.0.0.0", 8),
    ("169.254.0.0", 16),
    ("224.0.0.0", 3),
    ("::", 127),
    ("::ffff:0.0.0.0", 96),
    ("fe80::", 10),
    ("ff00::", 8),
];

/// Checks everything that types do not ensure.
pub(crate) fn check(config: &agent::AgentConfig) -> Result<(), String> {
    let instance = &config.instance;
    if !is_label(instance) {
        return Err(format!(
            "instance: {instance:?} should be 1 to {MAX_INSTANCE} letters, digits, inner hyphens and underscores"
        ));
    }
    let paths = [
        ("directory", &config.directory),
        ("stateDirectory", &config.state_directory),
        ("policies", &config.policies),
    ];
    for (field, path) in paths {
        if path.as_os_str().is_empty() {
            return Err(format!("{field}: give the path of a directory"));
        }
    }
    check_sockets(&config.paths())?;
    if let Some(name) = &config.network_namespace
        && (name.is_empty() || name == "." || name == ".." || name.contains('/') || name.len() > MAX_NAME)
    {
        return Err(format!("networkNamespace: {name:?} is not a name as `ip netns` lists it"));
    }
    if config.proxy_port == 0 {
        return Err("proxyPort: give a port from 1 to 65535".into());
    }
    if let Some(name) = config.host_devices.iter().find(|name| !is_interface(name)) {
        return Err(format!(
            "hostDevices: {name:?} is not a name of an interface, which has 1 to {MAX_INTERFACE} characters, none of them \
             `/` or a space"
        ));
    }
    if config.node_name.as_ref().is_some_and(String::is_empty) {
        return Err("nodeName: give a name, or leave it out for the host's".into());
    }
    check_blocks(config)
}

fn check_sockets(paths: &agent::Paths) -> Result<(), String> {
    let too_long = |path: &Path| path.as_os_str().len() > MAX_SOCKET;
    let sockets = [paths.socket(), paths.request_events()];
    sockets.iter().find(|path| too_long(path)).map_or(Ok(()), |path| {
        Err(format!(
            "directory: {} is longer than a socket's path may be ({MAX_SOCKET} bytes); choose a shorter directory",
            path.display()
        ))
    })
}

fn check_blocks(config: &agent::AgentConfig) -> Result<(), String> {
    let fields =
        [("workloadAddresses", &config.workload_addresses), ("serviceAddresses", &config.service_addresses)];
    for (field, blocks) in fields {
        for block in blocks {
            let max_length = if block.address().is_ipv4() { 30 } else { 126 };
            if block.length() > max_length {
                return Err(format!(
                    "{field}: {block} is too small; give a block of length {max_length} or less"
                ));
            }
            if let Some(special) = special().find(|special| overlap(*special, *block)) {
                return Err(format!(
                    "{field}: {block} contains addresses of {special}, which hosts cannot have; give another block"
                ));
            }
        }
    }
    let mut pairs = config
        .service_addresses
        .iter()
        .flat_map(|service| config.workload_addresses.iter().map(move |workload| (service, workload)));
    pairs.find(|(service, workload)| overlap(**service, **workload)).map_or(Ok(()), |(service, workload)| {
        Err(format!(
            "serviceAddresses: {service} contains addresses of the workloads' block {workload}; give another block"
        ))
    })
}

fn special() -> impl Iterator<Item = Cidr> {
    SPECIAL.into_iter().map(|(address, length)| {
        let address: IpAddr = address.parse().expect("the table has addresses");
        Cidr::new(address, length).expect("the table has lengths that fit")
    })
}

fn overlap(one: Cidr, other: Cidr) -> bool {
    one.contains(other.address()) || other.contains(one.address())
}

fn is_label(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let ends = [text.bytes().next(), text.bytes().last()];
    text.len() <= MAX_INSTANCE
        && text.bytes().all(inner)
        && ends.iter().all(|end| end.is_some_and(|byte| byte.is_ascii_alphanumeric()))
}

fn is_interface(name: &str) -> bool {
    (1..=MAX_INTERFACE).contains(&name.len())
        && name != "."
        && name != ".."
        && !name.contains(|character: char| character == '/' || character == ':' || character.is_whitespace())
}
