//! How explanations write peers and traffic.

use crate::rule::{
    CidrGroupRef, CidrReach, Entity, Family, HttpRule, Peer, Peers, Port, Protocol, ServiceRef, Traffic,
    TrafficMatch,
};
use std::fmt::{Display, Formatter, Result, Write};

impl Display for Peers {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::Any => f.write_str("any peer"),
            Self::Of(peers) if peers.is_empty() => f.write_str("no peer"),
            Self::Of(peers) => list(f, peers, " or "),
        }
    }
}

impl Display for Peer {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::Labels(selector) => selector.fmt(f),
            Self::Entity(entity) => write!(f, "entity {}", entity.name()),
            Self::Cidr { block, except, reach } => {
                block.fmt(f)?;
                if !except.is_empty() {
                    f.write_str(" except ")?;
                    list(f, except, ", ")?;
                }
                match reach {
                    CidrReach::World => f.write_str(" outside the cluster"),
                    CidrReach::Everything => Ok(()),
                }
            }
            Self::CidrGroup { groups, except } => {
                match groups {
                    CidrGroupRef::Named(name) => write!(f, "group {name}")?,
                    CidrGroupRef::Labelled(selector) => write!(f, "groups with {selector}")?,
                }
                if except.is_empty() {
                    return Ok(());
                }
                f.write_str(" except ")?;
                list(f, except, ", ")
            }
            Self::Service(ServiceRef::Named { namespace, name }) => write!(f, "service {namespace}/{name}"),
            Self::Service(ServiceRef::Labelled { namespace: Some(namespace), selector }) => {
                write!(f, "services of {namespace} with {selector}")
            }
            Self::Service(ServiceRef::Labelled { namespace: None, selector }) => {
                write!(f, "services with {selector}")
            }
            Self::Domain(pattern) => write!(f, "domain {pattern}"),
            Self::Nodes(selector) => write!(f, "nodes with {selector}"),
        }
    }
}

impl Display for Traffic {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::Any => f.write_str("any traffic"),
            Self::Of(matches) if matches.is_empty() => f.write_str("no traffic"),
            Self::Of(matches) => list(f, matches, " or "),
        }
    }
}

impl Display for TrafficMatch {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::Icmp { family: Family::Ipv4, kind } => write!(f, "ICMP type {kind}"),
            Self::Icmp { family: Family::Ipv6, kind } => write!(f, "ICMPv6 type {kind}"),
            Self::Port { protocol, port, http } => {
                write!(f, "{port}/{protocol}")?;
                match http {
                    None => Ok(()),
                    Some(rules) if rules.is_empty() => f.write_str(" with no request"),
                    Some(rules) => {
                        f.write_str(" with ")?;
                        rules.iter().enumerate().try_for_each(|(index, rule)| {
                            f.write_str(if index > 0 { " or " } else { "" })?;
                            request(f, rule)
                        })
                    }
                }
            }
        }
    }
}

impl Display for Port {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::Any => f.write_str("any port"),
            Self::Range(first, last) if first == last => first.fmt(f),
            Self::Range(first, last) => write!(f, "{first}-{last}"),
            Self::Named(name) => f.write_str(name),
        }
    }
}

impl Display for Protocol {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let name = match self.numbers() {
            [number] => abi::protocol::name(*number),
            _ => None,
        };
        f.write_str(name.unwrap_or("ANY"))
    }
}

impl Entity {
    /// The name of the entity in policies.
    pub fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::World => "world",
            Self::WorldIpv4 => "world-ipv4",
            Self::WorldIpv6 => "world-ipv6",
            Self::Cluster => "cluster",
            Self::Host => "host",
            Self::RemoteNode => "remote-node",
            Self::KubeApiserver => "kube-apiserver",
            Self::Ingress => "ingress",
            Self::Health => "health",
            Self::Init => "init",
            Self::Unmanaged => "unmanaged",
            Self::None => "none",
        }
    }
}

fn list(f: &mut Formatter<'_>, items: &[impl Display], separator: &str) -> Result {
    items.iter().enumerate().try_for_each(|(index, item)| {
        f.write_str(if index > 0 { separator } else { "" })?;
        item.fmt(f)
    })
}

/// Writes an HTTP rule like a request: method, path, host, headers.
pub(crate) struct Typed<'a>(pub(crate) &'a HttpRule);

impl Display for Typed<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        request(f, self.0)
    }
}

fn request(f: &mut Formatter<'_>, rule: &HttpRule) -> Result {
    f.write_str(rule.method.as_deref().unwrap_or("any method"))?;
    write!(f, " {}", rule.path.as_deref().unwrap_or("any path"))?;
    if let Some(host) = &rule.host {
        write!(f, " at {host}")?;
    }
    for header in &rule.headers {
        write!(f, " with {}", header.name)?;
        if let Some(value) = &header.value {
            f.write_char(':')?;
            write!(f, " {value}")?;
        }
    }
    Ok(())
}
