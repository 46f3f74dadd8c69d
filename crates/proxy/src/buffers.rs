//! Receive buffers that a connection has only while it holds bytes, so that an idle connection takes little memory.

use std::cell::RefCell;

/// Bytes of a buffer.
pub(crate) const SIZE: usize = 16 * 1024;
/// How many unused buffers a thread keeps.
const KEPT: usize = 32;

thread_local! {
    static UNUSED: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// An empty buffer with at least [`SIZE`] bytes of room.
pub(crate) fn take() -> Vec<u8> {
    UNUSED.with_borrow_mut(Vec::pop).unwrap_or_else(|| Vec::with_capacity(SIZE))
}

/// Takes a buffer back; one that has grown is freed.
pub(crate) fn put_back(mut buffer: Vec<u8>) {
    if buffer.capacity() < SIZE || buffer.capacity() >= 2 * SIZE {
        return;
    }
    buffer.clear();
    UNUSED.with_borrow_mut(|unused| {
        if unused.len() < KEPT {
            unused.push(buffer);
        }
    });
}
