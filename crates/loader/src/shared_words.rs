//! Words of memory that another process reads, so that writing one takes no system call.
#![expect(
    unsafe_code,
    reason = "mmap(2) returns an address; the mapping lives as long as the value that holds it"
)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

/// Words in memory that processes share.
#[derive(Debug)]
pub struct SharedWords {
    words: NonNull<AtomicU64>,
    count: usize,
}

// SAFETY: the memory is mapped until the value is dropped, in all threads, and is accessed by atomic operations only.
unsafe impl Send for SharedWords {}
// SAFETY: as above.
unsafe impl Sync for SharedWords {}

impl SharedWords {
    /// Maps this many words at the start of the memory behind a descriptor. The memory must be sealed against shrinking: a
    /// process that writes beyond its end is killed.
    pub fn map(memory: BorrowedFd<'_>, count: usize) -> io::Result<Self> {
        let (length, access) = (count * size_of::<u64>(), libc::PROT_READ | libc::PROT_WRITE);
        // SAFETY: the kernel chooses the address, so that no other memory is replaced.
        let address = unsafe {
            libc::mmap(std::ptr::null_mut(), length, access, libc::MAP_SHARED, memory.as_raw_fd(), 0)
        };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let words = NonNull::new(address.cast()).ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(Self { words, count })
    }

    /// Writes a word.
    ///
    /// # Panics
    /// There is no word at this index.
    pub fn store(&self, index: usize, value: u64) {
        assert!(index < self.count, "word {index} of {}", self.count);
        // SAFETY: the word is within the mapping, which starts with a page and so is aligned.
        unsafe { self.words.add(index).as_ref() }.store(value, Ordering::Relaxed);
    }
}

impl Drop for SharedWords {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own, and no reference to it outlives a call.
        unsafe { libc::munmap(self.words.as_ptr().cast(), self.count * size_of::<u64>()) };
    }
}
