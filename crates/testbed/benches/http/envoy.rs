//! Envoy as a reverse proxy on a node of its own, between two namespaces that are wired as workloads are.

use crate::node::Workload;
use crate::process::Process;
use crate::rules;
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use workload::{NetworkNamespace, NodeNamespace, Plan};

/// Addresses of client, server and node.
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 244, 0, 2));
const SERVER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 244, 0, 3));
const NODE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 244, 0, 1));
/// The port of the first listener.
const FIRST_PORT: u16 = 10_000;

/// A running Envoy; dropping it removes everything.
pub(crate) struct Envoy {
    child: Child,
    directory: PathBuf,
    pub(crate) process: Process,
    pub(crate) client: Arc<NetworkNamespace>,
    pub(crate) server: Workload,
    /// Keeps the namespace.
    _node: NetworkNamespace,
}

impl Envoy {
    /// Starts Envoy with one worker, and one listener for each count of rules.
    pub(crate) fn new(binary: &Path, rules: &[usize]) -> Result<Self> {
        let node = NetworkNamespace::anonymous()?;
        let [client, server] = [NetworkNamespace::anonymous()?, NetworkNamespace::anonymous()?];
        node.enter(|| wire([(&client, "client", CLIENT), (&server, "server", SERVER)]))??;
        let directory = std::env::temp_dir().join(format!("nxb{}envoy", std::process::id()));
        fs::create_dir_all(&directory)?;
        let file = directory.join("envoy.json");
        fs::write(&file, configuration(rules).to_string())?;
        let log = fs::File::create(directory.join("envoy.log"))?;
        let mut command = Command::new(binary);
        command.arg("-c").arg(&file).args(["--concurrency", "1", "--disable-hot-restart", "-l", "warning"]);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = node
            .enter(|| command.spawn())?
            .with_context(|| format!("{} does not start", binary.display()))?;
        let process = Process(child.id());
        let (client, server) = (Arc::new(client), Workload { namespace: server, address: SERVER });
        let envoy = Self { child, directory, process, client, server, _node: node };
        (0..rules.len()).try_for_each(|index| envoy.wait(envoy.listener(index)))?;
        Ok(envoy)
    }

    /// The address of the listener with the rules of this index.
    pub(crate) fn listener(&self, index: usize) -> SocketAddr {
        SocketAddr::new(NODE, FIRST_PORT + index as u16)
    }

    fn wait(&self, listener: SocketAddr) -> Result<()> {
        let until = Instant::now() + Duration::from_secs(30);
        while self.client.enter(|| TcpStream::connect_timeout(&listener, Duration::from_secs(1)))?.is_err() {
            if Instant::now() > until {
                bail!("envoy does not listen: {}", fs::read_to_string(self.directory.join("envoy.log"))?);
            }
            thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }
}

impl Drop for Envoy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// Wires the namespaces to the node that the calling thread is in, and gives the node its address.
fn wire(ends: [(&NetworkNamespace, &str, IpAddr); 2]) -> Result<()> {
    let mut node = NodeNamespace::current()?;
    node.prepare()?;
    let mut interface = 0;
    for (namespace, host, address) in ends {
        let wired =
            node.wire(namespace, &Plan { host, addresses: &[address], mtu: 1500, index: None, alias: None })?;
        node.up(&wired)?;
        interface = wired.interface;
    }
    node.network().add_address(interface, NODE, 32)?;
    Ok(())
}

fn configuration(rules: &[usize]) -> Value {
    let listeners: Vec<Value> =
        rules.iter().enumerate().map(|(index, rules)| listener(FIRST_PORT + index as u16, *rules)).collect();
    json!({"static_resources": {
        "listeners": listeners,
        "clusters": [{
            "name": "server",
            "type": "STATIC",
            "connect_timeout": "5s",
            "load_assignment": {"cluster_name": "server", "endpoints": [{"lb_endpoints": [
                {"endpoint": {"address": address(&SERVER.to_string(), rules::PORT)}},
            ]}]},
        }],
    }})
}

fn listener(port: u16, rules: usize) -> Value {
    let manager = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "http",
        "normalize_path": true,
        "generate_request_id": false,
        "route_config": {"virtual_hosts": [
            {"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "server"}}]},
        ]},
        "http_filters": [
            rules::rbac(rules),
            {"name": "envoy.filters.http.router", "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
                "suppress_envoy_headers": true,
            }},
        ],
    });
    json!({
        "name": format!("listener{port}"),
        "address": address("0.0.0.0", port),
        "filter_chains": [{"filters": [
            {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager},
        ]}],
    })
}

fn address(address: &str, port: u16) -> Value {
    json!({"socket_address": {"address": address, "port_value": port}})
}
