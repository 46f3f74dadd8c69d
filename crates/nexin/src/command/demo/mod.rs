//! `nexin demo`: runs the HTTP tutorial on a node of its own, and removes it.

mod client;
mod cluster;
mod cluster_script;
mod node;
mod play;
mod script;
mod server;
mod sweep;
mod transcript;

pub(crate) use client::DemoClient;
pub(crate) use server::DemoServer;

use crate::interrupt::Interrupt;
use crate::outcome::Outcome;
use crate::session::Session;
use clap::Args;
use cluster::{ClusterChoice, ClusterDemo};
use flow::Flow;
use node::DemoNode;
use play::{PlayedStep, Reporter, play};
use script::SCENES;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::Instant;
use transcript::{Silent, Transcript};

/// Run the HTTP tutorial: workloads, a service, a policy, and requests before and after it
///
/// The demo creates everything in a network namespace of its own and removes it at the end, also after ctrl-C; it
/// starts by removing the remains of a demo that crashed. Requests are printed as curl commands, and sent by a
/// built-in client. Exits with 1 if a request does not behave as expected.
///
/// With --kubernetes it runs on a cluster where Nexin is installed, by kubectl, in the namespace nexin-demo. A policy is in force on each
/// node a moment after `kubectl apply`, so a request with another result than expected is sent again for up to 10 s.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  nexin demo\n  nexin demo -o json\n  nexin demo --keep\n  nexin demo --down\n  \
        nexin demo --kubernetes --context staging"
)]
pub(crate) struct Demo {
    /// Keep everything running at the end
    #[arg(long, conflicts_with = "down")]
    keep: bool,
    /// Remove what --keep has kept running
    #[arg(long)]
    down: bool,
    /// Run on a cluster, by kubectl
    #[arg(long)]
    kubernetes: bool,
    /// Kubeconfig of the cluster [default: kubectl's]
    #[arg(long, value_name = "PATH", requires = "kubernetes")]
    kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig [default: its current context]
    #[arg(long, value_name = "NAME", requires = "kubernetes")]
    context: Option<String>,
    /// Image of the application [default: the agents' image]
    #[arg(long, value_name = "IMAGE", requires = "kubernetes")]
    image: Option<String>,
}

/// The whole run, for JSON output.
#[derive(Serialize)]
struct Report<'a> {
    held: bool,
    milliseconds: u128,
    /// The kernel of the node; none for a cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    kernel: Option<String>,
    steps: &'a [PlayedStep],
    /// The flows of the node; none for a cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    flows: Option<Vec<Flow>>,
}

impl Demo {
    pub(crate) fn run(self, session: &Session) -> anyhow::Result<Outcome> {
        let cluster = ClusterChoice { kubeconfig: self.kubeconfig, context: self.context };
        match (self.kubernetes, self.down) {
            (false, true) => DemoNode::down().map(|()| Outcome::Holds),
            (true, true) => ClusterDemo::down(&cluster).map(|()| Outcome::Holds),
            (false, false) => on_a_node(session, self.keep),
            (true, false) => on_a_cluster(session, cluster, self.image, self.keep),
        }
    }
}

fn on_a_node(session: &Session, keep: bool) -> anyhow::Result<Outcome> {
    let (begin, interrupt) = (Instant::now(), Interrupt::watch()?);
    let reporter = &mut *reporter(session);
    reporter.scene("A node of its own: a network namespace, and an agent in it")?;
    let mut node = DemoNode::start(interrupt, session.color_of_children())?;
    let steps = play(SCENES, &mut node, reporter)?;
    if session.is_json() {
        let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
        print_report(session, &steps, begin, Some(kernel), Some(node.flows()?))?;
    } else {
        Transcript(session).end(&steps, begin.elapsed())?;
    }
    if keep {
        node.keep()?;
        suggest(session, node.socket())?;
    }
    Ok(outcome(&steps))
}

fn on_a_cluster(
    session: &Session,
    cluster: ClusterChoice,
    image: Option<String>,
    keep: bool,
) -> anyhow::Result<Outcome> {
    let (begin, interrupt) = (Instant::now(), Interrupt::watch()?);
    let mut demo = ClusterDemo::start(cluster, image, interrupt)?;
    let steps = play(cluster_script::SCENES, &mut demo, &mut *reporter(session))?;
    if session.is_json() {
        print_report(session, &steps, begin, None, None)?;
    } else {
        Transcript(session).end(&steps, begin.elapsed())?;
    }
    if keep {
        demo.keep()?;
        if !session.is_json() {
            session.print_line(
                "\nThe namespace nexin-demo stays. To remove it:\n$ nexin demo --kubernetes --down",
            )?;
        }
    }
    Ok(outcome(&steps))
}

fn reporter(session: &Session) -> Box<dyn Reporter + '_> {
    if session.is_json() { Box::new(Silent) } else { Box::new(Transcript(session)) }
}

fn held(steps: &[PlayedStep]) -> bool {
    steps.iter().all(|step| step.held)
}

fn outcome(steps: &[PlayedStep]) -> Outcome {
    if held(steps) { Outcome::Holds } else { Outcome::Fails }
}

fn print_report(
    session: &Session,
    steps: &[PlayedStep],
    begin: Instant,
    kernel: Option<String>,
    flows: Option<Vec<Flow>>,
) -> anyhow::Result<()> {
    let milliseconds = begin.elapsed().as_millis();
    Ok(session.print_json(&Report { held: held(steps), milliseconds, kernel, steps, flows })?)
}

/// Prints commands to try, and how to stop the node.
fn suggest(session: &Session, socket: &Path) -> anyhow::Result<()> {
    if session.is_json() {
        return Ok(());
    }
    Ok(session.print_line(&format!(
        "\nEverything keeps running. Try:\n\
         $ export NEXIN_SOCKET={}\n\
         $ nexin exec app2 -- curl http://app1-service/public\n\
         $ nexin policy explain --from app3 --to app1-a --port 80 --http 'GET /public'\n\
         $ nexin run --name app4 --label id=app2 -- bash\n\
         $ nexin observe --follow\n\
         $ nexin policy delete CiliumNetworkPolicy/default/rule1\n\
         To remove it:\n\
         $ nexin demo --down",
        socket.display()
    ))?)
}
