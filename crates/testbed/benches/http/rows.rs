//! The rows of the tables: who stands between client and server, and one measurement of it.

use crate::envoy::{Envoy, Mode};
use crate::load::{self, Client, Measured};
use crate::node::Node;
use crate::options::Options;
use crate::process::Process;
use crate::rules;
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use workload::NetworkNamespace;

/// The counts of HTTP rules that are measured; observed is the last.
const RULES: [usize; 2] = [1, 1000];
/// Proxy and agent may hand events over this long after the last request.
const AFTERMATH: Duration = Duration::from_millis(100);

/// What stands between client and server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A policy of ports, which needs no proxy.
    Ports,
    Nexin,
    /// The same, with an observer of all requests.
    Observed,
    Envoy(Mode),
}

/// A client and its server, with what stands between.
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    /// How many HTTP rules there are.
    pub(crate) rules: Option<usize>,
    client: Client,
    namespace: Arc<NetworkNamespace>,
    server: SocketAddr,
    path: String,
    proxy: Option<Process>,
    agent: Option<Process>,
    /// Index of the node, if it is one of Nexin.
    node: Option<usize>,
}

/// What was measured of a row in a round.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sample {
    requests: f64,
    time: Duration,
    /// The median of the latencies and the bound of the slowest hundredth, in microseconds.
    pub(crate) median: f64,
    pub(crate) tail: f64,
    proxy: Duration,
    agent: Duration,
}

/// All rows, and what serves them.
pub(crate) struct Stage {
    pub(crate) rows: Vec<Row>,
    nodes: Vec<Node>,
    envoys: Vec<Envoy>,
    /// What observers saw, by row.
    observations: BTreeMap<usize, Observation>,
}

/// Requests made while an observer watched, how many of them it saw, and how many events it saw to be lost.
#[derive(Clone, Copy, Debug, Default)]
struct Observation {
    made: u64,
    seen: u64,
    told: u64,
    counted: u64,
    observer: Duration,
}

impl Stage {
    pub(crate) fn new(options: &Options) -> Result<Self> {
        let mut stage =
            Self { rows: Vec::new(), nodes: Vec::new(), envoys: Vec::new(), observations: BTreeMap::new() };
        for (index, binary) in options.binaries.iter().enumerate() {
            stage.add_node(options, index).with_context(|| binary.display().to_string())?;
        }
        for mode in Mode::ALL {
            match Envoy::new(&options.envoy, mode, &RULES) {
                Ok(envoy) => stage.add_envoy(options, mode, envoy)?,
                Err(error) => println!("left out: {}, and ratios to it: {error:#}\n", mode.name()),
            }
        }
        Ok(stage)
    }

    fn add_node(&mut self, options: &Options, index: usize) -> Result<()> {
        let name = match options.binaries.len() {
            1 => "nexin".to_owned(),
            _ => options.binaries[index].display().to_string(),
        };
        let policies: Vec<Option<usize>> = [None].into_iter().chain(RULES.map(Some)).collect();
        let (node, client, servers) = Node::new(&options.binaries[index], index, &policies)?;
        let namespace = Arc::new(client.namespace);
        let mut row = |name: String, kind, rules: Option<usize>, server: SocketAddr| -> Result<()> {
            let path = rules.map_or("/".to_owned(), rules::allowed_path);
            let client = namespace.enter(|| Client::connect(server, &path, options.connections))??;
            let is_proxied = rules.is_some();
            let proxy = is_proxied.then_some(node.proxy);
            let (namespace, agent, node) = (Arc::clone(&namespace), Some(node.agent), Some(index));
            self.rows.push(Row { name, kind, rules, client, namespace, server, path, proxy, agent, node });
            Ok(())
        };
        for (rules, server) in policies.iter().zip(&servers) {
            let address = SocketAddr::new(server.address, rules::PORT);
            serve(&server.namespace, address)?;
            match rules {
                None if index > 0 => {}
                None => row(format!("{name}, policy of ports"), Kind::Ports, None, address)?,
                Some(count) => row(format!("{name}, HTTP rules: {count}"), Kind::Nexin, *rules, address)?,
            }
            if *rules == Some(RULES[RULES.len() - 1]) {
                row(format!("{name}, the same, with an observer"), Kind::Observed, *rules, address)?;
            }
        }
        self.nodes.push(node);
        Ok(())
    }

    fn add_envoy(&mut self, options: &Options, mode: Mode, envoy: Envoy) -> Result<()> {
        envoy.servers.iter().try_for_each(|server| serve(&envoy.server, *server))?;
        for (index, rules) in RULES.into_iter().enumerate() {
            let (server, path) = (envoy.destination(index), rules::allowed_path(rules));
            let client = envoy.client.enter(|| Client::connect(server, &path, options.connections))??;
            self.rows.push(Row {
                name: format!("{}, HTTP rules: {rules}", mode.name()),
                kind: Kind::Envoy(mode),
                rules: Some(rules),
                client,
                namespace: Arc::clone(&envoy.client),
                server,
                path,
                proxy: Some(envoy.process),
                agent: None,
                node: None,
            });
        }
        self.envoys.push(envoy);
        Ok(())
    }

    /// Keeps all proxies on one CPU. Agents run where the kernel puts them.
    pub(crate) fn place(&self, cpu: usize) -> Result<()> {
        let proxies =
            self.nodes.iter().map(|node| node.proxy).chain(self.envoys.iter().map(|envoy| envoy.process));
        proxies.into_iter().try_for_each(|proxy| proxy.stay_on(cpu))
    }

    /// Takes a sample of a row.
    pub(crate) fn measure(
        &mut self,
        index: usize,
        options: &Options,
        sample: &impl Fn(&mut Row, &Options) -> Result<Sample>,
    ) -> Result<Sample> {
        let row = &mut self.rows[index];
        let (Kind::Observed, Some(node)) = (row.kind, row.node) else {
            return sample(row, options).with_context(|| row.name.clone());
        };
        let node = &self.nodes[node];
        let observer = node.observe()?;
        let (lost, time) = (node.lost()?, observer.process.cpu_time()?);
        let measured = sample(row, options).with_context(|| row.name.clone())?;
        let (seen, told) = observer.wait_for(measured.requests as u64);
        let observation = self.observations.entry(index).or_default();
        observation.made += measured.requests as u64;
        observation.seen += seen;
        observation.told += told;
        observation.counted += node.lost()? - lost;
        observation.observer += observer.process.cpu_time()?.saturating_sub(time);
        Ok(measured)
    }

    /// Sentences on what observers saw.
    pub(crate) fn observed(&self) -> Result<Vec<String>> {
        let sentence = |(index, observation): (&usize, &Observation)| {
            let Observation { made, seen, told, counted, observer } = *observation;
            let cost = observer.as_secs_f64() * 1e6 / made.max(1) as f64;
            format!(
                "{}: {made} requests, of which the observer saw {seen}; {told} events were reported to it as lost, and the \
                 status counted {counted}. The observer's own CPU time is {cost:.1} us per request.",
                self.rows[*index].name
            )
        };
        Ok(self.observations.iter().map(sentence).collect())
    }
}

impl Row {
    /// Sends requests on open connections.
    pub(crate) fn requests(&mut self, options: &Options) -> Result<Sample> {
        self.sample(|row| row.client.run(options.time))
    }

    /// Opens a connection for each request.
    pub(crate) fn new_connections(&mut self, options: &Options) -> Result<Sample> {
        let (namespace, server, path) = (Arc::clone(&self.namespace), self.server, self.path.clone());
        self.sample(|_| namespace.enter(|| load::connections(server, &path, options.time))?)
    }

    fn sample(&mut self, run: impl FnOnce(&mut Self) -> Result<Measured>) -> Result<Sample> {
        let cpu = |process: Option<Process>| process.map_or(Ok(Duration::ZERO), Process::cpu_time);
        let before = (cpu(self.proxy)?, cpu(self.agent)?);
        let mut measured = run(self)?;
        thread::sleep(AFTERMATH);
        // The time of a thread that ended meanwhile is missing.
        let proxy = cpu(self.proxy)?.saturating_sub(before.0);
        let agent = cpu(self.agent)?.saturating_sub(before.1);
        let latencies = &mut measured.latencies;
        latencies.sort_unstable();
        let quantile = |share: usize| {
            latencies[(latencies.len() * share / 100).min(latencies.len() - 1)].as_secs_f64() * 1e6
        };
        let (median, tail) = (quantile(50), quantile(99));
        Ok(Sample { requests: latencies.len() as f64, time: measured.time, median, tail, proxy, agent })
    }
}

impl Sample {
    /// Requests per second.
    pub(crate) fn rate(&self) -> f64 {
        self.requests / self.time.as_secs_f64()
    }

    /// Microseconds of the proxy's CPU time per request.
    pub(crate) fn proxy(&self) -> f64 {
        self.proxy.as_secs_f64() * 1e6 / self.requests
    }

    /// Microseconds of the agent's CPU time per request.
    pub(crate) fn agent(&self) -> f64 {
        self.agent.as_secs_f64() * 1e6 / self.requests
    }

    /// Microseconds of CPU time of proxy and agent per request.
    pub(crate) fn both(&self) -> f64 {
        self.proxy() + self.agent()
    }
}

/// Starts a server at an address of a namespace.
fn serve(namespace: &NetworkNamespace, address: SocketAddr) -> Result<()> {
    let listener = namespace.enter(|| TcpListener::bind(address))?.with_context(|| address.to_string())?;
    thread::Builder::new().name("server".into()).spawn(move || {
        if let Err(error) = load::serve(&listener) {
            eprintln!("error: the server ended: {error:#}");
        }
    })?;
    Ok(())
}
