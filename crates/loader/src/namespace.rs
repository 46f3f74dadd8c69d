//! The number that the kernel gives a network namespace, by which programs recognise its sockets.
#![expect(unsafe_code, reason = "getsockopt(2) writes into a buffer; the call passes the size of the buffer")]

use std::io;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;

/// The number of the calling thread's network namespace. Linux 5.14.
pub(crate) fn namespace_cookie() -> io::Result<u64> {
    let socket = UdpSocket::bind("0.0.0.0:0").or_else(|_| UdpSocket::bind("[::]:0"))?;
    let mut cookie = 0_u64;
    let mut length = size_of::<u64>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes, which the number has.
    let failed = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    if failed == 0 { Ok(cookie) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_has_one_number() {
        let cookie = namespace_cookie().unwrap();
        assert_ne!(cookie, 0);
        assert_eq!(namespace_cookie().unwrap(), cookie);
    }
}
