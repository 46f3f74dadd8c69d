//! Real exchanges between network namespaces: servers at the receivers, and clients at the senders, all at the same time.

mod client;
mod server;

use crate::crossing::{Crossing, Sent};
use crate::engine::{EngineAnswer, EngineError};
use client::{Client, Seen};
use manifest::TransportProtocol;
use manifest::test::Expect;
use server::{Listener, Servers};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;
use workload::NetworkNamespace;

/// How long a probe may take: at first, and again where the client received nothing. The second covers the
/// retransmission of a SYN that the machine itself lost (RFC 6298: after a second).
const PATIENCE: [Duration; 2] = [Duration::from_millis(400), Duration::from_millis(1500)];

/// A crossing, and the namespaces of its ends.
#[derive(Clone, Copy)]
pub(crate) struct Exchange<'a> {
    pub(crate) crossing: &'a Crossing,
    pub(crate) from: &'a NetworkNamespace,
    /// None where no host has the destination: the address of a service without backends.
    pub(crate) to: Option<&'a NetworkNamespace>,
}

/// Carries out all exchanges, and returns the answer of each.
pub(crate) fn carry_out(exchanges: &[Exchange<'_>]) -> Result<Vec<EngineAnswer>, EngineError> {
    let _servers = serve(exchanges)?;
    let mut seen = send(exchanges, PATIENCE[0])?;
    let silent: Vec<usize> = (0..seen.len()).filter(|&index| seen[index] == Seen::Nothing).collect();
    let again: Vec<Exchange<'_>> = silent.iter().map(|&index| exchanges[index]).collect();
    for (index, second) in silent.into_iter().zip(send(&again, PATIENCE[1])?) {
        seen[index] = second;
    }
    Ok(exchanges.iter().zip(seen).map(|(exchange, seen)| answer(exchange.crossing, seen)).collect())
}

/// Why a packet cannot be sent for real, whatever its ends.
pub(crate) fn obstacle(crossing: &Crossing) -> Option<&'static str> {
    const ECHO: [u8; 2] = [8, 128];
    match crossing.sent {
        Sent::Icmp(kind) if kind != ECHO[usize::from(crossing.source.is_ipv6())] => {
            Some("of ICMP, only echo requests are sent for real")
        }
        _ => crossing.cannot_be_translated(),
    }
}

/// Starts the servers that exchanges need.
fn serve(exchanges: &[Exchange<'_>]) -> Result<Servers, EngineError> {
    let mut asked = BTreeSet::new();
    let mut listeners = Vec::new();
    for Exchange { crossing, to, .. } in exchanges {
        let (protocol, port) = match crossing.sent {
            Sent::Connection(protocol, port) => (protocol, port),
            Sent::Request(port, _) => (TransportProtocol::Tcp, port),
            Sent::Icmp(_) => continue,
        };
        if protocol == TransportProtocol::Sctp && !server::has_sctp() {
            continue;
        }
        let address = SocketAddr::new(crossing.destination, port);
        if let Some(namespace) = to.filter(|_| asked.insert((address, protocol))) {
            listeners.push(Listener::open(namespace, address, protocol)?);
        }
    }
    Servers::start(listeners)
}

/// Sends all crossings at the same time, and returns what each client received.
fn send(exchanges: &[Exchange<'_>], patience: Duration) -> Result<Vec<Seen>, EngineError> {
    std::thread::scope(|scope| {
        let clients: Vec<_> = exchanges
            .iter()
            .map(|&Exchange { crossing, from, to }| {
                scope.spawn(move || Client { crossing, from, to: to.unwrap_or(from), patience }.ask())
            })
            .collect();
        let seen = |client: std::thread::ScopedJoinHandle<'_, std::io::Result<Seen>>| {
            let seen = client.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            seen.map_err(EngineError::failed("sending as a client"))
        };
        clients.into_iter().map(seen).collect()
    })
}

fn answer(crossing: &Crossing, seen: Seen) -> EngineAnswer {
    let asks_request = matches!(crossing.sent, Sent::Request(..));
    let (verdict, reason) = match seen {
        Seen::Nothing => (Expect::Drop, "nothing came back".into()),
        Seen::Reset => (Expect::Drop, "the connection was reset".into()),
        Seen::Reached => (Expect::Allow, "it came through".into()),
        Seen::Status(status) => {
            let verdict = match status {
                200 => Expect::Allow,
                // The proxy reports that it cannot reach the server.
                502..=504 => Expect::Drop,
                _ if asks_request => Expect::Deny,
                // Connected; the probe has no request.
                _ => Expect::Allow,
            };
            (verdict, format!("connected, and answered with status {status}"))
        }
    };
    EngineAnswer { verdict, rule: None, reason }
}
