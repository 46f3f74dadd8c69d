//! The system calls that the node proxy may make; every other call fails with EPERM.

use seccompiler::SeccompCmpArgLen::Dword;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, apply_filter,
};
use std::collections::BTreeMap;

type Rules = BTreeMap<i64, Vec<SeccompRule>>;
type Result<T> = std::result::Result<T, seccompiler::Error>;

/// Allowed with any arguments: they act only on resources that the process has already.
const PLAIN: &[i64] = &[
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_pwrite64,
    libc::SYS_close,
    libc::SYS_lseek,
    libc::SYS_fstat,
    libc::SYS_statx,
    libc::SYS_newfstatat,
    libc::SYS_fcntl,
    // Connections.
    libc::SYS_accept4,
    libc::SYS_bind,
    libc::SYS_connect,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_getsockopt,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_shutdown,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_eventfd2,
    libc::SYS_ppoll,
    // Memory.
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    // Threads and time.
    libc::SYS_clone3,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_futex,
    libc::SYS_membarrier,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_getpriority,
    libc::SYS_setpriority,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_getrandom,
    libc::SYS_sysinfo,
    // Signals and exit.
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    libc::SYS_tgkill,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// Calls that newer architectures do not have.
#[cfg(target_arch = "x86_64")]
const OLD: &[i64] = &[libc::SYS_epoll_wait, libc::SYS_poll];
#[cfg(not(target_arch = "x86_64"))]
const OLD: &[i64] = &[];

/// Installs the filters for this thread and for threads that it starts.
pub(super) fn restrict() -> Result<()> {
    // The list of allowed calls comes last: it forbids installing further filters.
    apply_filter(&absent()?)?;
    apply_filter(&allowed()?)
}

fn allowed() -> Result<BpfProgram> {
    let mut rules: Rules = PLAIN.iter().chain(OLD).map(|call| (*call, Vec::new())).collect();
    // Of bpf(2) only lookups.
    rules.insert(libc::SYS_bpf, vec![all([equals(0, 1)?])?]);
    // No netlink, packet or unix sockets: with CAP_NET_ADMIN, netlink could reconfigure the network.
    let tcp = |domain: i32| -> Result<SeccompRule> {
        let kind = masked(1, !(libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK), libc::SOCK_STREAM)?;
        all([equals(0, domain)?, kind])
    };
    rules.insert(libc::SYS_socket, vec![tcp(libc::AF_INET)?, tcp(libc::AF_INET6)?]);
    rules.insert(libc::SYS_setsockopt, options()?);
    rules.insert(libc::SYS_ioctl, vec![all([equals(1, libc::FIONBIO as i32)?])?]);
    // Files may only be opened for reading.
    let writes = libc::O_WRONLY | libc::O_RDWR | libc::O_CREAT | libc::O_TRUNC;
    rules.insert(libc::SYS_openat, vec![all([masked(2, writes, 0)?])?]);
    // No memory becomes executable.
    for call in [libc::SYS_mmap, libc::SYS_mprotect] {
        rules.insert(call, vec![all([masked(2, libc::PROT_EXEC, 0)?])?]);
    }
    // New threads, but no new processes or namespaces.
    rules.insert(libc::SYS_clone, vec![all([masked(0, THREAD, THREAD)?, masked(0, NAMESPACES, 0)?])?]);
    rules.insert(libc::SYS_prctl, vec![all([equals(0, libc::PR_SET_NAME)?])?, all([equals(0, SET_VMA)?])?]);
    program(rules, SeccompAction::Errno(libc::EPERM as u32), SeccompAction::Allow)
}

/// Calls whose arguments a filter cannot inspect, and which the C library replaces by another call on ENOSYS.
fn absent() -> Result<BpfProgram> {
    let rules = Rules::from([(libc::SYS_clone3, Vec::new())]);
    program(rules, SeccompAction::Allow, SeccompAction::Errno(libc::ENOSYS as u32))
}

/// Flags of a thread.
const THREAD: i32 = libc::CLONE_VM | libc::CLONE_THREAD | libc::CLONE_SIGHAND;
const NAMESPACES: i32 = libc::CLONE_NEWNS
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWCGROUP;
/// `PR_SET_VMA`, by which allocators name memory.
const SET_VMA: i32 = 0x5356_4d41;

/// Socket and TCP options, and the options for binding foreign addresses.
fn options() -> Result<Vec<SeccompRule>> {
    let one = |level: i32, option: i32| all([equals(1, level)?, equals(2, option)?]);
    [libc::SOL_SOCKET, libc::IPPROTO_TCP]
        .into_iter()
        .map(|level| all([equals(1, level)?]))
        .chain([
            one(libc::IPPROTO_IP, libc::IP_TRANSPARENT),
            one(libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT),
            one(libc::IPPROTO_IPV6, libc::IPV6_TRANSPARENT),
            one(libc::IPPROTO_IPV6, libc::IPV6_V6ONLY),
        ])
        .collect()
}

fn program(rules: Rules, otherwise: SeccompAction, listed: SeccompAction) -> Result<BpfProgram> {
    let machine = std::env::consts::ARCH.try_into()?;
    Ok(SeccompFilter::new(rules, otherwise, listed, machine)?.try_into()?)
}

fn all<const N: usize>(conditions: [SeccompCondition; N]) -> Result<SeccompRule> {
    Ok(SeccompRule::new(conditions.into())?)
}

fn equals(argument: u8, value: i32) -> Result<SeccompCondition> {
    Ok(SeccompCondition::new(argument, Dword, SeccompCmpOp::Eq, u64::from(value.cast_unsigned()))?)
}

fn masked(argument: u8, mask: i32, value: i32) -> Result<SeccompCondition> {
    let mask = SeccompCmpOp::MaskedEq(u64::from(mask.cast_unsigned()));
    Ok(SeccompCondition::new(argument, Dword, mask, u64::from(value.cast_unsigned()))?)
}
