//! `nexin observe`: the flows of this node.

mod filters;

use crate::outcome::Outcome;
use crate::session::Session;
use api::ApiRequest;
use clap::Args;
use filters::Filters;
use flow::Observed;
use std::io::{self, Write};

/// Show flows: packets and HTTP requests with their verdict, the names of both ends and the rule that decided
///
/// The first packet of a connection, and a packet that policy drops, shows the verdict of policy: ALLOWED, DENIED, REDIRECTED to
/// the proxy, or AUDITED: forwarded in audit mode although policy denies it. Other packets and HTTP requests are FORWARDED or
/// DROPPED. In JSON and for --verdict these are FORWARDED, DROPPED, REDIRECTED and AUDIT.
///
/// Where events were lost, a line shows how many and why: the observer read too slowly, the ring buffer of the packet path was
/// full, or the proxy could not hand its events over.
///
/// Several values of one filter are alternatives; different filters must all match. With `-o json` each flow is one
/// line.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  nexin observe --follow\n  \
    nexin observe --last 100 --verdict dropped --to-pod app1\n  nexin observe -o json --http-path /private")]
pub(crate) struct Observe {
    /// Follow new flows
    #[arg(short, long)]
    follow: bool,
    /// Number of past flows to show [default: 20; with --follow: 0]
    #[arg(long, value_name = "NUMBER")]
    last: Option<usize>,
    #[command(flatten)]
    filters: Filters,
}

impl Observe {
    pub(crate) fn run(self, session: &Session) -> anyhow::Result<Outcome> {
        let last = self.last.unwrap_or(if self.follow { 0 } else { 20 });
        let request = ApiRequest::Observe { last, follow: self.follow, filters: self.filters.0 };
        for observed in session.agent()?.follow::<Observed>(request)? {
            print(session, &observed?)?;
        }
        Ok(Outcome::Holds)
    }
}

fn print(session: &Session, observed: &Observed) -> io::Result<()> {
    if session.is_json() {
        let mut out = io::stdout().lock();
        serde_json::to_writer(&mut out, observed)?;
        writeln!(out)?;
        return out.flush();
    }
    session.print_line(&match observed {
        Observed::Flow(flow) => flow::line(flow, session.flow_paint()),
        Observed::Lost { lost_events, time } => flow::gap(*lost_events, *time, session.flow_paint()),
    })
}
