//! The kernel's home of the packet path: entry points, maps and packet access; every decision is in `datapath`.
#![no_std]
#![no_main]

mod from_outside;
mod from_workload;
mod maps;
mod packet;
mod proxy_socket;
mod sockets;
mod to_outside;
mod to_proxy;
mod to_workload;

/// Some of the kernel's functions are for GPL-compatible programs.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

/// Nothing here panics; the verifier would not load a program that could loop for ever.
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
