//! The result of ADD.

use crate::version::SpecVersion;
use serde_json::{Map, Value, json};
use std::net::IpAddr;

/// What ADD made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddResult {
    /// The interfaces, on the node and in the container.
    pub interfaces: Vec<ResultInterface>,
    /// The addresses.
    pub addresses: Vec<AssignedAddress>,
    /// The routes in the container.
    pub routes: Vec<ResultRoute>,
}

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResultInterface {
    /// Its name.
    pub name: String,
    /// Its link-layer address; empty where it has none.
    pub mac: String,
    /// Its MTU, which results have since 1.1.0.
    pub mtu: Option<u32>,
    /// Path of the network namespace, if it is in the container.
    pub sandbox: Option<String>,
}

/// An address in the container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssignedAddress {
    /// The address.
    pub address: IpAddr,
    /// The length of its block.
    pub length: u8,
    /// Its gateway.
    pub gateway: Option<IpAddr>,
    /// The index of its interface in the list of interfaces.
    pub interface: usize,
}

/// A route in the container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResultRoute {
    /// The destination, as in `0.0.0.0/0`.
    pub destination: String,
    /// The gateway.
    pub gateway: IpAddr,
}

impl AddResult {
    /// The result as the plugin prints it.
    pub fn to_json(&self, version: SpecVersion) -> Value {
        let interfaces = self.interfaces.iter().map(|interface| interface.to_json(version));
        let ips = self.addresses.iter().map(|address| address.to_json(version));
        let routes = self.routes.iter().map(|route| json!({ "dst": route.destination, "gw": route.gateway }));
        let mut json = json!({ "cniVersion": version.text() });
        json["interfaces"] = interfaces.collect();
        json["ips"] = ips.collect();
        if !self.routes.is_empty() {
            json["routes"] = routes.collect();
        }
        json["dns"] = json!({});
        json
    }
}

impl ResultInterface {
    fn to_json(&self, version: SpecVersion) -> Value {
        let mut json = Map::from_iter([("name".to_owned(), self.name.as_str().into())]);
        if !self.mac.is_empty() {
            json.insert("mac".into(), self.mac.as_str().into());
        }
        if let Some(mtu) = self.mtu.filter(|_| version >= SpecVersion::V1_1_0) {
            json.insert("mtu".into(), mtu.into());
        }
        if let Some(sandbox) = &self.sandbox {
            json.insert("sandbox".into(), sandbox.as_str().into());
        }
        json.into()
    }
}

impl AssignedAddress {
    fn to_json(&self, version: SpecVersion) -> Value {
        let mut json = Map::new();
        if version < SpecVersion::V1_0_0 {
            json.insert("version".into(), if self.address.is_ipv4() { "4" } else { "6" }.into());
        }
        json.insert("interface".into(), self.interface.into());
        json.insert("address".into(), format!("{}/{}", self.address, self.length).into());
        if let Some(gateway) = self.gateway {
            json.insert("gateway".into(), gateway.to_string().into());
        }
        json.into()
    }
}
