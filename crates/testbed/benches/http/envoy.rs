//! Envoy on a node of its own, between two namespaces that are wired as workloads are: transparent, or as a reverse proxy.

use crate::nftables;
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
use workload::{IpFamily, NetworkNamespace, NodeNamespace, Plan, Route, RouteKind, RoutingRule};

/// Addresses of client and node.
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 244, 0, 2));
const NODE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 244, 0, 1));
/// The port of the first listener.
const FIRST_PORT: u16 = 10_000;
/// The mark of packets for a transparent Envoy, and the table by which they are routed.
const MARK: u32 = 1;
const TABLE: u32 = 100;

/// How requests get to Envoy, and from Envoy to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// As with Nexin's proxy: the client connects to the server, and for each of its connections Envoy opens one to the
    /// original destination from the client's address. nftables passes the packets to Envoy (TPROXY).
    Transparent,
    /// The client connects to Envoy, and Envoy to the server from an address of the node.
    Reverse,
}

/// A running Envoy; dropping it removes everything.
pub(crate) struct Envoy {
    mode: Mode,
    child: Child,
    directory: PathBuf,
    pub(crate) process: Process,
    pub(crate) client: Arc<NetworkNamespace>,
    /// The servers, one for each count of rules.
    pub(crate) servers: Vec<SocketAddr>,
    pub(crate) server: Arc<NetworkNamespace>,
    /// Keeps the namespace.
    _node: NetworkNamespace,
}

impl Mode {
    pub(crate) const ALL: [Self; 2] = [Self::Transparent, Self::Reverse];

    /// The name in the tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Transparent => "Envoy, transparent",
            Self::Reverse => "Envoy, reverse proxy",
        }
    }
}

impl Envoy {
    /// Starts Envoy with one worker, and one listener and one server for each count of rules.
    pub(crate) fn new(binary: &Path, mode: Mode, rules: &[usize]) -> Result<Self> {
        let node = NetworkNamespace::anonymous()?;
        let [client, server] = [NetworkNamespace::anonymous()?, NetworkNamespace::anonymous()?];
        let servers: Vec<SocketAddr> = (0..rules.len()).map(server_address).collect();
        let addresses: Vec<IpAddr> = servers.iter().map(SocketAddr::ip).collect();
        node.enter(|| {
            wire([(&client, "client", &[CLIENT]), (&server, "server", &addresses)])?;
            if mode == Mode::Transparent { divert(&servers) } else { Ok(()) }
        })??;
        let directory = std::env::temp_dir().join(format!("nxb{}envoy{mode:?}", std::process::id()));
        fs::create_dir_all(&directory)?;
        let file = directory.join("envoy.json");
        fs::write(&file, configuration(mode, rules, &servers).to_string())?;
        let log = fs::File::create(directory.join("envoy.log"))?;
        let mut command = Command::new(binary);
        command.arg("-c").arg(&file).args(["--concurrency", "1", "--disable-hot-restart", "-l", "warning"]);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = node
            .enter(|| command.spawn())?
            .with_context(|| format!("{} does not start", binary.display()))?;
        let process = Process(child.id());
        let (client, server) = (Arc::new(client), Arc::new(server));
        let envoy = Self { mode, child, directory, process, client, servers, server, _node: node };
        (0..rules.len()).try_for_each(|index| envoy.wait(envoy.destination(index)))?;
        Ok(envoy)
    }

    /// Where the client connects to, for the rules of this index.
    pub(crate) fn destination(&self, index: usize) -> SocketAddr {
        match self.mode {
            Mode::Transparent => self.servers[index],
            Mode::Reverse => SocketAddr::new(NODE, listener_port(index)),
        }
    }

    fn wait(&self, destination: SocketAddr) -> Result<()> {
        let until = Instant::now() + Duration::from_secs(30);
        while self
            .client
            .enter(|| TcpStream::connect_timeout(&destination, Duration::from_millis(100)))?
            .is_err()
        {
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

fn server_address(index: usize) -> SocketAddr {
    SocketAddr::from(([10, 244, 1, 1 + index as u8], rules::PORT))
}

fn listener_port(index: usize) -> u16 {
    FIRST_PORT + index as u16
}

/// Wires the namespaces to the node that the calling thread is in, and gives the node its address.
fn wire(ends: [(&NetworkNamespace, &str, &[IpAddr]); 2]) -> Result<()> {
    let mut node = NodeNamespace::current()?;
    node.prepare()?;
    let mut interface = 0;
    for (namespace, host, addresses) in ends {
        let wired = node.wire(namespace, &Plan { host, addresses, mtu: 1500, index: None, alias: None })?;
        node.up(&wired)?;
        interface = wired.interface;
    }
    node.network().add_address(interface, NODE, 32)?;
    Ok(())
}

/// Diverts packets to the servers, and packets of transparent sockets, to the node that the calling thread is in.
fn divert(servers: &[SocketAddr]) -> Result<()> {
    let mut node = NodeNamespace::current()?;
    let network = node.network();
    let loopback = network.link("lo")?.context("the node has no loopback interface")?.index;
    network.up(loopback)?;
    network.add_rule(&RoutingRule {
        family: IpFamily::V4,
        mark: MARK,
        mask: u32::MAX,
        table: TABLE,
        priority: 100,
    })?;
    network.add_route(&Route {
        destination: Ipv4Addr::UNSPECIFIED.into(),
        prefix: 0,
        interface: loopback,
        kind: RouteKind::Local,
        table: TABLE,
    })?;
    let redirects = servers.iter().enumerate().map(|(index, server)| {
        let (address, port, listener) = (server.ip(), server.port(), listener_port(index));
        format!("ip daddr {address} tcp dport {port} tproxy to :{listener} meta mark set {MARK} accept;\n")
    });
    nftables::load(&format!(
        "table ip envoy {{\nchain prerouting {{\ntype filter hook prerouting priority mangle; policy accept;\n\
         meta l4proto tcp socket transparent 1 meta mark set {MARK} accept;\n{}}}\n}}\n",
        redirects.collect::<String>()
    ))
}

fn configuration(mode: Mode, rules: &[usize], servers: &[SocketAddr]) -> Value {
    let listeners: Vec<Value> =
        rules.iter().enumerate().map(|(index, rules)| listener(mode, index, *rules)).collect();
    let clusters: Vec<Value> =
        servers.iter().enumerate().map(|(index, server)| cluster(mode, index, server)).collect();
    json!({"static_resources": {"listeners": listeners, "clusters": clusters}})
}

fn cluster(mode: Mode, index: usize, server: &SocketAddr) -> Value {
    let name = cluster_name(index);
    match mode {
        Mode::Transparent => json!({
            "name": name,
            "type": "ORIGINAL_DST",
            "lb_policy": "CLUSTER_PROVIDED",
            "connect_timeout": "5s",
            "connection_pool_per_downstream_connection": true,
        }),
        Mode::Reverse => json!({
            "name": name,
            "type": "STATIC",
            "connect_timeout": "5s",
            "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [
                {"endpoint": {"address": address(&server.ip().to_string(), server.port())}},
            ]}]},
        }),
    }
}

fn cluster_name(index: usize) -> String {
    format!("server{index}")
}

fn listener(mode: Mode, index: usize, rules: usize) -> Value {
    let manager = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "http",
        "normalize_path": true,
        "merge_slashes": true,
        "path_with_escaped_slashes_action": "UNESCAPE_AND_REDIRECT",
        "generate_request_id": false,
        "route_config": {"virtual_hosts": [
            {"name": "all", "domains": ["*"], "routes": [
                {"match": {"prefix": "/"}, "route": {"cluster": cluster_name(index)}},
            ]},
        ]},
        "http_filters": [
            rules::rbac(rules),
            {"name": "envoy.filters.http.router", "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
                "suppress_envoy_headers": true,
            }},
        ],
    });
    let is_transparent = mode == Mode::Transparent;
    json!({
        "name": format!("listener{index}"),
        "address": address("0.0.0.0", listener_port(index)),
        "transparent": is_transparent,
        "listener_filters": if is_transparent { original_addresses() } else { json!([]) },
        "filter_chains": [{"filters": [
            {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager},
        ]}],
    })
}

/// Filters by which Envoy connects to the original destination from the original source address.
fn original_addresses() -> Value {
    let filter = |kind: &str, message: &str| {
        json!({
            "name": format!("envoy.filters.listener.{kind}"),
            "typed_config": {
                "@type": format!("type.googleapis.com/envoy.extensions.filters.listener.{kind}.v3.{message}"),
            },
        })
    };
    json!([filter("original_dst", "OriginalDst"), filter("original_src", "OriginalSrc")])
}

fn address(address: &str, port: u16) -> Value {
    json!({"socket_address": {"address": address, "port_value": port}})
}
