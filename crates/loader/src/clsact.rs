//! Programs as filters of the clsact qdisc, for kernels without tcx links.

use crate::sys::TcxPoint;
use abi::Hook;
use netlink::message::RouteNetlinkMessage as Message;
use netlink::message::tc::{
    TcAttribute, TcBpfFlags, TcFilterBpf, TcFilterBpfOption as Bpf, TcHandle, TcMessage, TcOption,
};
use netlink::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, Socket};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// The priority of our filters: the first.
const PRIORITY: u32 = 1;
/// The handle of our filters ("NX"), by which they differ from other filters of the same priority.
const HANDLE: u32 = 0x4e58;
/// `ETH_P_ALL` in network order, as the lower half of a filter's `info`.
const EVERY_PROTOCOL: u32 = (libc::ETH_P_ALL as u16).to_be() as u32;

/// Attaches a program, and makes the clsact qdisc if there is none.
pub(crate) fn attach(
    socket: &mut Socket,
    interface: u32,
    hook: Hook,
    program: BorrowedFd<'_>,
) -> io::Result<()> {
    let mut qdisc = TcMessage::with_index(interface as i32);
    qdisc.header.parent = TcHandle::CLSACT;
    qdisc.header.handle = TcHandle::from(0xffff_0000);
    qdisc.attributes.push(TcAttribute::Kind("clsact".to_owned()));
    match socket.change(Message::NewQueueDiscipline(qdisc), NLM_F_CREATE | NLM_F_EXCL) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    socket
        .change(Message::NewTrafficFilter(filter(interface, hook, Some(program))), NLM_F_CREATE | NLM_F_EXCL)
}

/// Replaces the program of our filter, at once for every packet; without a filter the error is `ENOENT`.
pub(crate) fn replace(
    socket: &mut Socket,
    interface: u32,
    hook: Hook,
    program: BorrowedFd<'_>,
) -> io::Result<()> {
    socket.change(Message::NewTrafficFilter(filter(interface, hook, Some(program))), NLM_F_REPLACE)
}

/// Removes our filter. The qdisc stays, since other filters may use it.
pub(crate) fn detach(socket: &mut Socket, interface: u32, hook: Hook) -> io::Result<()> {
    socket.change(Message::DelTrafficFilter(filter(interface, hook, None)), 0)
}

/// The programs of all BPF filters, ours or not, at an attach point of an interface.
pub(crate) fn programs(socket: &mut Socket, interface: u32, point: TcxPoint) -> io::Result<Vec<u32>> {
    let mut request = TcMessage::with_index(interface as i32);
    request.header.parent = parent(point);
    let answers = socket.dump(Message::GetTrafficFilter(request))?;
    let program = |answer| match answer {
        Message::NewTrafficFilter(filter) => program_of(&filter),
        _ => None,
    };
    Ok(answers.into_iter().filter_map(program).collect())
}

fn program_of(filter: &TcMessage) -> Option<u32> {
    let options = filter.attributes.iter().find_map(|attribute| match attribute {
        TcAttribute::Options(options) => Some(options),
        _ => None,
    })?;
    options.iter().find_map(|option| match option {
        TcOption::Bpf(Bpf::ProgId(program)) => Some(*program),
        _ => None,
    })
}

fn filter(interface: u32, hook: Hook, program: Option<BorrowedFd<'_>>) -> TcMessage {
    let mut message = TcMessage::with_index(interface as i32);
    message.header.parent =
        parent(TcxPoint::of(hook.point()).expect("only classifiers are attached as filters"));
    message.header.handle = TcHandle::from(HANDLE);
    message.header.info = PRIORITY << 16 | EVERY_PROTOCOL;
    message.attributes.push(TcAttribute::Kind(TcFilterBpf::KIND.to_owned()));
    if let Some(program) = program {
        message.attributes.push(TcAttribute::Options(vec![
            TcOption::Bpf(Bpf::ProgFd(program.as_raw_fd() as u32)),
            TcOption::Bpf(Bpf::ProgName(format!("nexin:{hook}"))),
            TcOption::Bpf(Bpf::Flags(TcBpfFlags::DirectAction)),
        ]));
    }
    message
}

fn parent(point: TcxPoint) -> TcHandle {
    TcHandle::from(match point {
        TcxPoint::Ingress => 0xffff_fff2,
        TcxPoint::Egress => 0xffff_fff3,
    })
}
