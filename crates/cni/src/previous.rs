//! `prevResult`: the result of the plugin before this one, or of the ADD that CHECK and DEL refer to.

use crate::failure::{CniFailure, ErrorCode};
use serde::Deserialize;
use serde_json::Value;
use std::net::IpAddr;

/// A result that was handed to the plugin.
#[derive(Clone, Debug, PartialEq)]
pub struct PreviousResult {
    /// As it was handed over, with all fields.
    pub whole: Value,
    interfaces: Vec<PreviousInterface>,
    ips: Vec<PreviousAddress>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct PreviousInterface {
    name: String,
    #[serde(default)]
    sandbox: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct PreviousAddress {
    address: String,
    #[serde(default)]
    interface: Option<usize>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct KnownFields {
    interfaces: Vec<PreviousInterface>,
    ips: Vec<PreviousAddress>,
}

impl PreviousResult {
    pub(crate) fn parse(whole: Value) -> Result<Self, CniFailure> {
        let known = KnownFields::deserialize(&whole);
        let KnownFields { interfaces, ips } =
            known.map_err(|error| CniFailure::new(ErrorCode::Undecodable, format!("prevResult: {error}")))?;
        Ok(Self { whole, interfaces, ips })
    }

    /// Whether the container has this interface.
    pub fn has_interface(&self, name: &str) -> bool {
        self.interfaces.iter().any(|interface| interface.is_in_container(name))
    }

    /// The addresses of an interface in the container. Addresses without an interface are those of every interface.
    pub fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, CniFailure> {
        let is_its = |ip: &&PreviousAddress| match ip.interface {
            Some(index) => self.interfaces.get(index).is_some_and(|one| one.is_in_container(name)),
            None => true,
        };
        self.ips.iter().filter(is_its).map(|ip| parse_address("prevResult.ips", &ip.address)).collect()
    }
}

impl PreviousInterface {
    fn is_in_container(&self, name: &str) -> bool {
        self.name == name && !self.sandbox.is_empty()
    }
}

/// Parses an address, with or without the length of its block.
pub(crate) fn parse_address(field: &str, text: &str) -> Result<IpAddr, CniFailure> {
    let address = text.split_once('/').map_or(text, |(address, _)| address);
    address
        .parse()
        .map_err(|_| CniFailure::new(ErrorCode::InvalidConfig, format!("{field}: {text:?} is no IP address")))
}
