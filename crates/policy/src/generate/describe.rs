//! Ends and probes of a world in words, for the messages of tests.

use super::generated::{GeneratedEnd, GeneratedProbe, GeneratedWorld};
use abi::protocol;

impl GeneratedWorld {
    /// The name of an end: `namespace/name` of a workload.
    pub fn end_name(&self, end: GeneratedEnd) -> String {
        match end {
            GeneratedEnd::Workload(index) => {
                let workload = &self.workloads[index];
                format!("{}/{}", workload.namespace, workload.name)
            }
            GeneratedEnd::Other(index) => self.others[index].name.clone(),
        }
    }

    /// A probe in one line: both ends with their addresses, protocol, port and request.
    pub fn describe(&self, probe: &GeneratedProbe) -> String {
        let end = |end: GeneratedEnd| {
            let address = self.view(end, probe.family).address.map(|address| format!(" ({address})"));
            format!("{}{}", self.end_name(end), address.unwrap_or_default())
        };
        let request = probe.request.as_ref().map(|request| {
            let headers = request.headers.iter().map(|(name, value)| format!(" {name}: {value}"));
            format!(", {} {}{}{}", request.method, request.host, request.path, headers.collect::<String>())
        });
        let (from, to) = (end(probe.from), end(probe.to));
        format!("{from} to {to}, {}{}", sent(probe.protocol, probe.port), request.unwrap_or_default())
    }
}

/// Protocol and port: `TCP port 80`, `ICMP type 8 code 0`, `protocol 47`.
fn sent(number: u8, port: u16) -> String {
    let [kind, code] = port.to_be_bytes();
    match protocol::name(number) {
        Some(name) if protocol::is_icmp(number) => format!("{name} type {kind} code {code}"),
        Some(name) => format!("{name} port {port}"),
        None => format!("protocol {number}"),
    }
}
