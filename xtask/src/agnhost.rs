//! Stands in for agnhost in its image where the kernel has no SCTP: answers and sends the first messages of an SCTP
//! handshake over raw sockets, and leaves everything else to agnhost itself.

mod handshake;

use anyhow::{Context, Result, bail};
use handshake::Message;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, connect, ipproto, recvfrom, send, sendto,
    socket_with, sockopt,
};
use std::collections::BTreeSet;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

/// The name of this program in the image.
pub(crate) const NAME: &str = "agnhost";
/// Where agnhost itself is in the image.
pub(crate) const ITSELF: &str = "/agnhost-itself";

/// What a variable of the environment begins with that names a port for `agnhost porter`.
const SERVED: &str = "SERVE_SCTP_PORT_";
/// The time after which an unanswered message is sent again.
const RETRANSMISSION: Duration = Duration::from_millis(250);
/// The time that a connection may take where the command line names none.
const PATIENCE: Duration = Duration::from_secs(30);

/// Whether the kernel has SCTP.
pub(crate) fn kernel_has_sctp() -> bool {
    let protocol = Some(ipproto::SCTP);
    socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, protocol).is_ok()
}

/// Runs the command that the arguments of agnhost name.
pub(crate) fn run(arguments: &[String]) -> Result<ExitCode> {
    match arguments.first().map(String::as_str) {
        Some("connect") if arguments.iter().any(|one| one == "--protocol=sctp") => {
            connect_to(&arguments[1..])
        }
        Some("porter") if served_ports().next().is_some() => serve(),
        _ => Err(Command::new(ITSELF).args(arguments).exec())
            .with_context(|| format!("could not run {ITSELF}")),
    }
}

/// The ports that the environment names.
fn served_ports() -> impl Iterator<Item = u16> {
    std::env::vars().filter_map(|(name, _)| name.strip_prefix(SERVED)?.parse().ok())
}

/// Answers the first message of every handshake, beside agnhost with what else the environment names.
fn serve() -> Result<ExitCode> {
    let ports: BTreeSet<u16> = served_ports().collect();
    let mut others = Command::new(ITSELF);
    others.arg("porter");
    for port in &ports {
        others.env_remove(format!("{SERVED}{port}"));
    }
    others.spawn().with_context(|| format!("could not run {ITSELF}"))?;
    let threads: Vec<_> = [AddressFamily::INET, AddressFamily::INET6]
        .into_iter()
        .map(|family| {
            let ports = ports.clone();
            std::thread::spawn(move || answer(family, &ports))
        })
        .collect();
    for thread in threads {
        thread.join().map_err(|_| anyhow::anyhow!("a server panicked"))??;
    }
    Ok(ExitCode::SUCCESS)
}

fn answer(family: AddressFamily, ports: &BTreeSet<u16>) -> Result<()> {
    let socket = raw_socket(family)?;
    let mut bytes = [0; 2048];
    loop {
        let (length, _, from) = recvfrom(&socket, &mut bytes[..], RecvFlags::empty())?;
        let received = Message::parse(payload(&bytes[..length], family));
        let Some(received) = received.filter(|message| ports.contains(&message.to) && message.is_first())
        else {
            continue;
        };
        if let Some(from) = from {
            // The client repeats a message whose answer is lost.
            let _ = sendto(&socket, &received.answer().bytes(), SendFlags::empty(), &from);
        }
    }
}

/// Sends the first message until it is answered; the outcome is printed as agnhost prints it.
fn connect_to(arguments: &[String]) -> Result<ExitCode> {
    let mut patience = PATIENCE;
    let mut to = None;
    for argument in arguments {
        match argument.split_once('=') {
            Some(("--timeout", time)) => patience = duration(time)?,
            _ if argument.starts_with("--") => {}
            _ => to = Some(argument),
        }
    }
    let to = to.context("the destination is missing")?;
    let Some(to) = to.to_socket_addrs().ok().and_then(|mut found| found.next()) else {
        eprintln!("DNS: {to} has no address");
        return Ok(ExitCode::FAILURE);
    };
    match is_answered(to, patience) {
        Ok(true) => return Ok(ExitCode::SUCCESS),
        Ok(false) => eprintln!("TIMEOUT"),
        Err(error) => eprintln!("OTHER: {error}"),
    }
    Ok(ExitCode::FAILURE)
}

fn is_answered(to: SocketAddr, patience: Duration) -> std::io::Result<bool> {
    let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = raw_socket(family)?;
    // The port of a raw socket is its protocol.
    connect(&socket, &SocketAddr::new(to.ip(), 0))?;
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(RETRANSMISSION))?;
    let first = Message::first(source_port(), to.port());
    let deadline = Instant::now() + patience;
    let mut bytes = [0; 2048];
    let mut next = Instant::now();
    while Instant::now() < deadline {
        if next <= Instant::now() {
            send(&socket, &first.bytes(), SendFlags::empty())?;
            next = Instant::now() + RETRANSMISSION;
        }
        match recvfrom(&socket, &mut bytes[..], RecvFlags::empty()) {
            Ok((length, _, _)) => {
                let received = Message::parse(payload(&bytes[..length], family));
                if received.is_some_and(|message| message == first.answer()) {
                    return Ok(true);
                }
            }
            Err(rustix::io::Errno::AGAIN) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(false)
}

/// A source port above those that the kernel assigns to sockets by default, another one for each process in turn.
fn source_port() -> u16 {
    const FIRST: u32 = 61_000;
    let port = FIRST + std::process::id() % (u32::from(u16::MAX) - FIRST);
    u16::try_from(port).expect("the port is below the highest one")
}

fn raw_socket(family: AddressFamily) -> std::io::Result<OwnedFd> {
    Ok(socket_with(family, SocketType::RAW, SocketFlags::CLOEXEC, Some(ipproto::SCTP))?)
}

/// What follows the IP header, which a raw socket of IPv4 returns with the packet.
fn payload(packet: &[u8], family: AddressFamily) -> &[u8] {
    let header = match packet.first() {
        Some(first) if family == AddressFamily::INET => usize::from(first & 0xf) * 4,
        _ => 0,
    };
    packet.get(header..).unwrap_or_default()
}

/// A duration as Go writes it, of whole seconds or milliseconds.
fn duration(text: &str) -> Result<Duration> {
    let number = |unit: &str| text.strip_suffix(unit).and_then(|number| number.parse().ok());
    match (number("ms"), number("s")) {
        (Some(milliseconds), _) => Ok(Duration::from_millis(milliseconds)),
        (_, Some(seconds)) => Ok(Duration::from_secs(seconds)),
        _ => bail!("`{text}` is no time in whole s or ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_writes_them() {
        assert_eq!(duration("5s").unwrap(), Duration::from_secs(5));
        assert_eq!(duration("300ms").unwrap(), Duration::from_millis(300));
        assert!(duration("1m0s").is_err());
    }

    #[test]
    fn the_payload_of_a_packet_follows_its_header() {
        assert_eq!(payload(&[&[0x46][..], &[0; 23], &[7]].concat(), AddressFamily::INET), [7]);
        assert_eq!(payload(&[7], AddressFamily::INET6), [7]);
        assert!(payload(&[0x45], AddressFamily::INET).is_empty());
    }
}
