//! Finds out whether a process has a file open for writing, by a request for a read lease (fcntl(2)).
#![expect(
    unsafe_code,
    reason = "fcntl(2) takes a number of another meaning for each command; those used here take no address"
)]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// `F_SETSIG` of `asm-generic/fcntl.h`, which `libc` does not name.
const SET_SIGNAL: libc::c_int = 10;

/// The result of a request for a read lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadLease {
    /// No process has the file open for writing, and none can open it for writing before the reader closes it.
    Held,
    /// A process has it open for writing.
    Written,
    /// The file system allows no leases, or the process lacks the right.
    Unknown,
}

/// Requests a read lease on a file that is open for reading only. The lease ends when the file is closed.
///
/// A process that opens the file for writing waits until the lease ends, so the caller must close the file soon.
pub fn read_lease(file: &File) -> ReadLease {
    let descriptor = file.as_raw_fd();
    // SAFETY: `F_SETSIG` takes a signal's number and touches no memory. A writer that waits makes the kernel send a
    // signal to the reader; the usual one, SIGIO, would end the process, and SIGURG is ignored unless it is handled.
    let signal = unsafe { libc::fcntl(descriptor, SET_SIGNAL, libc::SIGURG) };
    if signal != 0 {
        return ReadLease::Unknown;
    }
    // SAFETY: `F_SETLEASE` takes a kind of lease and touches no memory.
    match unsafe { libc::fcntl(descriptor, libc::F_SETLEASE, libc::F_RDLCK) } {
        0 => ReadLease::Held,
        _ if io::Error::last_os_error().kind() == io::ErrorKind::WouldBlock => ReadLease::Written,
        _ => ReadLease::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::thread;

    #[test]
    fn a_file_that_is_open_for_writing_gets_no_lease_and_a_writer_waits_for_the_end_of_one() {
        let path = std::env::temp_dir().join(format!("nexin-lease-{}", std::process::id()));
        let writer = File::create(&path).unwrap();
        let reader = File::open(&path).unwrap();
        assert_eq!(read_lease(&reader), ReadLease::Written);
        drop(writer);
        assert_eq!(read_lease(&reader), ReadLease::Held);
        let late = path.clone();
        let writer = thread::spawn(move || File::options().write(true).open(late).unwrap());
        thread::sleep(std::time::Duration::from_millis(50));
        assert!(!writer.is_finished());
        drop(reader);
        drop(writer.join().unwrap());
        fs::remove_file(path).unwrap();
    }
}
