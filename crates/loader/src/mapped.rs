//! The policy epoch in memory that a process shares with the kernel, so that reading it takes no system call.
#![expect(
    unsafe_code,
    reason = "mmap(2) returns an address; the mapping lives as long as the value that holds it"
)]

use crate::read::{self, ReadError};
use crate::{pin, sys};
use abi::config::Config;
use abi::map::MapId;
use std::io;
use std::mem::offset_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::Path;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

/// The policy epoch of a running packet path. Linux 5.5.
#[derive(Debug)]
pub struct MappedEpoch {
    config: NonNull<Config>,
}

// SAFETY: the memory is mapped until the value is dropped, in all threads, and is read by atomic loads only.
unsafe impl Send for MappedEpoch {}
// SAFETY: as above.
unsafe impl Sync for MappedEpoch {}

impl MappedEpoch {
    /// Maps the configuration's map that is pinned under the directory, to read it. Nothing can be written by the mapping.
    pub fn open(directory: &Path) -> Result<Self, ReadError> {
        let map = sys::open_pinned(&pin::map(directory, MapId::Config));
        map.and_then(|map| Self::map(map.as_fd())).map_err(read::failed(MapId::Config))
    }

    /// Maps the map of a descriptor. The kernel maps a map for reading only by a descriptor that can also write; it does not
    /// let such a mapping become writable, and the descriptor is not needed afterwards.
    fn map(map: BorrowedFd<'_>) -> io::Result<Self> {
        let (length, flags) = (size_of::<Config>(), libc::MAP_SHARED);
        // SAFETY: the kernel chooses the address, so that no other memory is replaced.
        let address =
            unsafe { libc::mmap(std::ptr::null_mut(), length, libc::PROT_READ, flags, map.as_raw_fd(), 0) };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let config = NonNull::new(address.cast()).ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(Self { config })
    }

    /// The epoch: every change whose epoch is not greater can be seen by lookups from now on.
    pub fn read(&self) -> u32 {
        // SAFETY: the address is that of the map's first value, which starts with a page and stays mapped while `self` lives.
        // The kernel writes the epoch, which is aligned, by words.
        let epoch = unsafe { &*self.config.as_ptr().byte_add(offset_of!(Config, epoch)).cast::<AtomicU32>() };
        epoch.load(Ordering::Acquire)
    }
}

impl Drop for MappedEpoch {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own, and no reference to it outlives a call.
        unsafe { libc::munmap(self.config.as_ptr().cast(), size_of::<Config>()) };
    }
}
