//! `nexin demo`: runs the HTTP tutorial on a node of its own, and removes it.

mod client;
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
use flow::Flow;
use node::DemoNode;
use play::{PlayedStep, Reporter, play};
use script::SCENES;
use serde::Serialize;
use std::path::Path;
use std::time::Instant;
use transcript::{Silent, Transcript};

/// Run the HTTP tutorial: workloads, a service, a policy, and requests before and after it
///
/// The demo creates everything in a network namespace of its own and removes it at the end, also after ctrl-C; it
/// starts by removing the remains of a demo that crashed. Requests are printed as curl commands, and sent by a
/// built-in client. Exits with 1 if a request does not behave as expected.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  nexin demo\n  nexin demo -o json\n  nexin demo --keep\n  nexin demo --down"
)]
pub(crate) struct Demo {
    /// Keep everything running at the end
    #[arg(long, conflicts_with = "down")]
    keep: bool,
    /// Remove what --keep has kept running
    #[arg(long)]
    down: bool,
}

/// The whole run, for JSON output.
#[derive(Serialize)]
struct Report<'a> {
    held: bool,
    milliseconds: u128,
    kernel: String,
    steps: &'a [PlayedStep],
    flows: Vec<Flow>,
}

impl Demo {
    pub(crate) fn run(self, session: &Session) -> anyhow::Result<Outcome> {
        if self.down {
            DemoNode::down()?;
            return Ok(Outcome::Holds);
        }
        let begin = Instant::now();
        let interrupt = Interrupt::watch()?;
        let (mut transcript, mut silent) = (Transcript(session), Silent);
        let reporter: &mut dyn Reporter = if session.is_json() { &mut silent } else { &mut transcript };
        reporter.scene("A node of its own: a network namespace, and an agent in it")?;
        let mut node = DemoNode::start(interrupt, session.color_of_children())?;
        let steps = play(SCENES, &mut node, reporter)?;
        let held = steps.iter().all(|step| step.held);
        if session.is_json() {
            let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
            let (steps, flows) = (&steps, node.flows()?);
            let milliseconds = begin.elapsed().as_millis();
            session.print_json(&Report { held, milliseconds, kernel, steps, flows })?;
        } else {
            transcript.end(&steps, begin.elapsed())?;
        }
        if self.keep {
            node.keep()?;
            suggest(session, node.socket())?;
        }
        Ok(if held { Outcome::Holds } else { Outcome::Fails })
    }
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
