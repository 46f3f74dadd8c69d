//! Lists the programs, maps and attachments of the machine, ours and others: what `nexin bpf` shows.

use crate::spec::kind_name;
use crate::sys::{self, Table, TcxPoint};
use crate::{clsact, pin};
use abi::map::Kind;
use aya::maps::MapInfo;
use aya::programs::ProgramInfo;
use netlink::Socket;
use netlink::message::RouteNetlinkMessage as Message;
use netlink::message::link::{LinkAttribute, LinkMessage, LinkXdp};
use std::error::Error;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

/// A program in the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// Number.
    pub id: u32,
    /// Name, cut to 15 bytes by the kernel.
    pub name: String,
    /// Hash of its instructions.
    pub tag: String,
    /// Kind, as the kernel's headers name it.
    pub kind: String,
    /// Instructions that the verifier went through.
    pub verified_instructions: Option<u32>,
    /// Bytes of BPF code after translation; 0 where the kernel does not return the number.
    pub translated_bytes: u32,
    /// Bytes of machine code.
    pub machine_bytes: u32,
    /// Time that its runs took while [`RunStatistics`] were on.
    pub run_time: Duration,
    /// Runs while [`RunStatistics`] were on.
    pub runs: u64,
    /// Numbers of the maps it uses.
    pub maps: Vec<u32>,
}

/// A map in the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadedMap {
    /// Number.
    pub id: u32,
    /// Name, cut to 15 bytes by the kernel.
    pub name: String,
    /// Kind, as `bpftool` writes it.
    pub kind: &'static str,
    /// Bytes of a key.
    pub key_size: u32,
    /// Bytes of a value.
    pub value_size: u32,
    /// How many entries fit; of a ring buffer, how many bytes.
    pub capacity: u32,
    /// Bytes of memory that the map takes now.
    pub memory: Option<u64>,
}

/// A program at an interface, or at the network namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// Index of the interface; 0 at the namespace.
    pub interface: u32,
    /// Name of the interface; [`NAMESPACE`] at the namespace.
    pub name: String,
    /// Where the kernel runs the program.
    pub point: AttachPoint,
    /// Number of the program; programs at one point are listed in the order they run.
    pub program: u32,
    /// Number of the link, where there is one.
    pub link: Option<u32>,
}

/// The name of an [`Attachment`] at the network namespace.
pub const NAMESPACE: &str = "(namespace)";

/// An attach point, and how a program is attached there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AttachPoint {
    /// XDP in the driver.
    XdpDriver,
    /// XDP in the stack.
    XdpGeneric,
    /// XDP in the device.
    XdpOffload,
    /// Tcx, packets in.
    TcxIngress,
    /// Tcx, packets out.
    TcxEgress,
    /// Clsact filter, packets in.
    ClsactIngress,
    /// Clsact filter, packets out.
    ClsactEgress,
    /// The lookup of a listener, at the network namespace.
    SocketLookup,
}

/// Makes the kernel measure run times until it is dropped, at some cost to every program.
#[derive(Debug)]
pub struct RunStatistics {
    _descriptor: OwnedFd,
}

/// Something could not be listed.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {source}")]
pub struct InspectError {
    /// What was to be listed.
    pub what: &'static str,
    /// Why.
    pub source: io::Error,
}

impl RunStatistics {
    /// Starts the measurement.
    pub fn start() -> Result<Self, InspectError> {
        let descriptor =
            aya::sys::enable_stats(aya::sys::Stats::RunTime).map_err(failed("run-time statistics"))?;
        Ok(Self { _descriptor: descriptor })
    }
}

/// All programs, by number.
pub fn programs() -> Result<Vec<Program>, InspectError> {
    let failed = failed("programs");
    there(aya::programs::loaded_programs().map(|info| Program::of(&info?))).map_err(failed)
}

/// All maps, by number.
pub fn maps() -> Result<Vec<LoadedMap>, InspectError> {
    let failed = failed("maps");
    there(aya::maps::loaded_maps().map(|info| info.map(|info| LoadedMap::of(&info)))).map_err(failed)
}

/// The listed objects, without those that were removed while the list was read.
fn there<T, E: Error + 'static>(listed: impl Iterator<Item = Result<T, E>>) -> Result<Vec<T>, E> {
    listed.filter(|one| !one.as_ref().is_err_and(|error| is_gone(error))).collect()
}

/// Whether the object with a listed number is gone.
fn is_gone(error: &(dyn Error + 'static)) -> bool {
    let code = error.downcast_ref::<io::Error>().map(io::Error::kind);
    code == Some(io::ErrorKind::NotFound) || error.source().is_some_and(is_gone)
}

/// Numbers of the maps that are pinned under a directory ([`crate::pin_directory`]); none where there is no directory.
pub fn pinned_maps(directory: &Path) -> Result<Vec<u32>, InspectError> {
    const WHAT: &str = "pinned maps";
    let paths = pin::pins(&pin::maps(directory)).map_err(failed(WHAT))?;
    let number = |path| MapInfo::from_pin(path).map(|info| info.id());
    paths.into_iter().map(number).collect::<Result<_, _>>().map_err(failed(WHAT))
}

/// How many entries a pinned map of any layout has: a hash or a trie, whose entries exist once they are written.
pub fn count_entries(path: &Path) -> Result<usize, InspectError> {
    let count = |descriptor| Table::open(descriptor, Kind::Hash)?.count_rows();
    sys::open_pinned_to_read(path).and_then(count).map_err(failed("entries of a pinned map"))
}

/// The programs at every interface of this network namespace, and those at the namespace itself.
pub fn attachments() -> Result<Vec<Attachment>, InspectError> {
    let mut socket = Socket::open().map_err(failed("netlink"))?;
    let links = socket.dump(Message::GetLink(LinkMessage::default())).map_err(failed("interfaces"))?;
    let mut attachments = Vec::new();
    for link in links {
        let Message::NewLink(link) = link else { continue };
        let interface = Interface::of(&link);
        attachments.extend(interface.xdp(&link));
        for point in [TcxPoint::Ingress, TcxPoint::Egress] {
            interface.tcx(point, &mut attachments).map_err(failed("tcx programs"))?;
            interface.clsact(&mut socket, point, &mut attachments).map_err(failed("clsact filters"))?;
        }
    }
    attachments.extend(socket_lookups().map_err(failed("socket lookups"))?);
    Ok(attachments)
}

/// The programs at the lookup of listeners in this network namespace.
fn socket_lookups() -> io::Result<impl Iterator<Item = Attachment>> {
    let namespace = Interface { index: 0, name: NAMESPACE.to_owned() };
    let programs = match sys::query_lookup(File::open("/proc/thread-self/ns/net")?.as_fd()) {
        // A kernel before 5.9 does not know the attach point.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Vec::new(),
        found => found?,
    };
    Ok(programs
        .into_iter()
        .map(move |program| namespace.attachment(AttachPoint::SocketLookup, program, None)))
}

/// An interface while its programs are listed.
struct Interface {
    index: u32,
    name: String,
}

impl Interface {
    fn of(link: &LinkMessage) -> Self {
        let name = link.attributes.iter().find_map(|attribute| match attribute {
            LinkAttribute::IfName(name) => Some(name.clone()),
            _ => None,
        });
        Self { index: link.header.index, name: name.unwrap_or_default() }
    }

    fn attachment(&self, point: AttachPoint, program: u32, link: Option<u32>) -> Attachment {
        Attachment { interface: self.index, name: self.name.clone(), point, program, link }
    }

    fn xdp(&self, link: &LinkMessage) -> Vec<Attachment> {
        let programs = link.attributes.iter().filter_map(|attribute| match attribute {
            LinkAttribute::Xdp(options) => Some(options),
            _ => None,
        });
        let attachment = |option: &LinkXdp| match *option {
            LinkXdp::DrvProgId(program) => Some(self.attachment(AttachPoint::XdpDriver, program, None)),
            LinkXdp::SkbProgId(program) => Some(self.attachment(AttachPoint::XdpGeneric, program, None)),
            LinkXdp::HwProgId(program) => Some(self.attachment(AttachPoint::XdpOffload, program, None)),
            _ => None,
        };
        programs.flatten().filter_map(attachment).collect()
    }

    fn tcx(&self, point: TcxPoint, into: &mut Vec<Attachment>) -> io::Result<()> {
        let found = match sys::query(self.index, point) {
            // A kernel before 6.6 does not know the attach point, and the interface may be gone by now.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENODEV)) => return Ok(()),
            found => found?,
        };
        let shown = if point == TcxPoint::Ingress { AttachPoint::TcxIngress } else { AttachPoint::TcxEgress };
        into.extend(found.into_iter().map(|found| {
            let link = Some(found.link).filter(|link| *link != 0);
            self.attachment(shown, found.program, link)
        }));
        Ok(())
    }

    fn clsact(&self, socket: &mut Socket, point: TcxPoint, into: &mut Vec<Attachment>) -> io::Result<()> {
        let shown =
            if point == TcxPoint::Ingress { AttachPoint::ClsactIngress } else { AttachPoint::ClsactEgress };
        let found = match clsact::programs(socket, self.index, point) {
            // No clsact qdisc, or no interface any more.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENODEV)) => return Ok(()),
            found => found?,
        };
        into.extend(found.into_iter().map(|program| self.attachment(shown, program, None)));
        Ok(())
    }
}

impl Program {
    fn of(info: &ProgramInfo) -> Result<Self, aya::programs::ProgramError> {
        Ok(Self {
            id: info.id(),
            name: info.name_as_str().unwrap_or_default().to_owned(),
            tag: format!("{:016x}", info.tag()),
            kind: format!("{:?}", info.program_type()),
            verified_instructions: info.verified_instruction_count(),
            translated_bytes: info.size_translated().unwrap_or_default(),
            machine_bytes: info.size_jitted(),
            run_time: info.run_time(),
            runs: info.run_count(),
            maps: info.map_ids()?.unwrap_or_default(),
        })
    }
}

impl LoadedMap {
    fn of(info: &MapInfo) -> Self {
        Self {
            id: info.id(),
            name: info.name_as_str().unwrap_or_default().to_owned(),
            kind: kind_name(info.map_type().map_or(0, |kind| kind as u32)),
            key_size: info.key_size(),
            value_size: info.value_size(),
            capacity: info.max_entries(),
            memory: info.fd().ok().and_then(|map| memory(map.as_fd())),
        }
    }
}

/// The memory of a map, which the kernel reports with the descriptor alone, and not with the map's other properties.
fn memory(map: BorrowedFd<'_>) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", map.as_raw_fd())).ok()?;
    text.lines().find_map(|line| line.strip_prefix("memlock:"))?.trim().parse().ok()
}

impl fmt::Display for AttachPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::XdpDriver => "xdp",
            Self::XdpGeneric => "xdpgeneric",
            Self::XdpOffload => "xdpoffload",
            Self::TcxIngress => "tcx/ingress",
            Self::TcxEgress => "tcx/egress",
            Self::ClsactIngress => "clsact/ingress",
            Self::ClsactEgress => "clsact/egress",
            Self::SocketLookup => "netns/sk_lookup",
        })
    }
}

fn failed<E: Into<Box<dyn Error + Send + Sync>>>(what: &'static str) -> impl Fn(E) -> InspectError {
    move |error| InspectError { what, source: io::Error::other(error) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aya::maps::MapError;
    use aya::sys::SyscallError;

    fn refused(code: i32) -> MapError {
        let io_error = io::Error::from_raw_os_error(code);
        MapError::SyscallError(SyscallError { call: "bpf_map_get_fd_by_id", io_error })
    }

    #[test]
    fn what_goes_while_it_is_listed_is_left_out() {
        assert_eq!(there([Ok(1), Err(refused(libc::ENOENT)), Ok(2)].into_iter()).unwrap(), [1, 2]);
        assert!(there([Ok(1), Err(refused(libc::EPERM))].into_iter()).is_err());
    }
}
