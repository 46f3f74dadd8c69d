//! The packet path in the kernel: entry points, maps and packet access; every decision is in `datapath`.
#![no_std]
#![no_main]

mod from_outside;
mod from_workload;
mod maps;
mod packet;
mod processes;
mod proxy_socket;
mod sockets;
mod to_outside;
mod to_proxy;
mod to_workload;
mod tracking;

/// The kernel gives some of its helpers to GPL-compatible programs only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

/// No program calls this: the verifier refuses a program that could loop without end.
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
