//! One direction of a connection: bytes received from one end, and bytes to be sent to the other.
//!
//! Heads and chunks are rewritten into a buffer of their own; other bodies are sent from the receive buffer, without a copy
//! unless they are short.

use crate::buffers;
use l7::{Body, Refusal};
use std::io::IoSlice;

/// Limit in bytes on the receive buffer; the largest head must fit.
const LIMIT: usize = l7::head::MAX_HEAD + 4096;
/// Bytes per read.
const READ: usize = buffers::SIZE;
/// Maximum capacity of the buffer for rewritten bytes that a connection keeps while it is empty. A body is copied behind the
/// rewritten bytes before it as far as it fits, because one part is cheaper to send than two.
const KEPT: usize = 2048;

/// The buffers of one direction. `written` is sent first, then the first `forwarding` bytes of `input`.
#[derive(Debug, Default)]
pub(crate) struct Pipe {
    /// Without a buffer while there are no bytes.
    input: Vec<u8>,
    /// The offset of the first byte in `input` that is still needed.
    start: usize,
    forwarding: usize,
    written: Vec<u8>,
    /// How many bytes of `written` were sent.
    sent_of_written: usize,
    /// The sender closed its side.
    pub(crate) ended: bool,
}

impl Pipe {
    /// The received bytes that were neither forwarded nor discarded.
    pub(crate) fn input(&self) -> &[u8] {
        &self.input[self.start + self.forwarding..]
    }

    /// The received bytes for parsing in place, and the buffer for the bytes that are sent instead. Must not be called while
    /// a body is being forwarded: the new bytes would be sent before it.
    pub(crate) fn rewrite(&mut self) -> (&mut [u8], &mut Vec<u8>) {
        debug_assert_eq!(self.forwarding, 0, "a head would overtake a body");
        (&mut self.input[self.start..], &mut self.written)
    }

    /// Forwards the received part of a body, as far as the buffer has room; returns how many bytes were consumed.
    pub(crate) fn forward_body(&mut self, body: &mut Body) -> Result<usize, Refusal> {
        if !body.is_framed_anew() {
            let count = body.advance(self.input())?;
            self.forward(count);
            return Ok(count);
        }
        // Bounds the buffer where the receiver does not read: it has at most this and what one input is rewritten to.
        if self.written.len() - self.sent_of_written >= READ {
            return Ok(0);
        }
        self.written.drain(..std::mem::take(&mut self.sent_of_written));
        let count = body.reframe(&self.input[self.start..], &mut self.written)?;
        self.discard(count);
        Ok(count)
    }

    /// Forwards this many received bytes unchanged.
    pub(crate) fn forward(&mut self, count: usize) {
        let follows = self.forwarding == 0 && self.sent_of_written < self.written.len();
        if follows && self.written.len() + count <= KEPT {
            self.written.extend_from_slice(&self.input[self.start..self.start + count]);
            self.discard(count);
        } else {
            self.forwarding += count;
        }
    }

    /// Discards this many received bytes.
    pub(crate) fn discard(&mut self, count: usize) {
        debug_assert_eq!(self.forwarding, 0, "the bytes before were not sent yet");
        self.start += count;
        self.compact();
    }

    /// Discards all bytes that were to be sent.
    pub(crate) fn discard_outgoing(&mut self) {
        self.start += std::mem::take(&mut self.forwarding);
        self.written.clear();
        self.sent_of_written = 0;
        self.compact();
    }

    /// Discards all received bytes and all bytes that were to be sent.
    pub(crate) fn drop_input(&mut self) {
        self.discard_outgoing();
        self.start = self.input.len();
        self.compact();
    }

    /// True where bytes wait to be sent.
    pub(crate) fn is_pending(&self) -> bool {
        self.forwarding > 0 || self.sent_of_written < self.written.len()
    }

    /// The bytes to be sent, in order.
    pub(crate) fn outgoing(&self) -> [IoSlice<'_>; 2] {
        let forwarding = &self.input[self.start..self.start + self.forwarding];
        [IoSlice::new(&self.written[self.sent_of_written..]), IoSlice::new(forwarding)]
    }

    /// Records that this many bytes of [`Self::outgoing`] were sent.
    pub(crate) fn sent(&mut self, count: usize) {
        let from_written = count.min(self.written.len() - self.sent_of_written);
        self.sent_of_written += from_written;
        if self.sent_of_written == self.written.len() {
            self.written.clear();
            self.written.shrink_to(KEPT);
            self.sent_of_written = 0;
        }
        self.start += count - from_written;
        self.forwarding -= count - from_written;
        self.compact();
    }

    /// True where the receive buffer has room and the sender did not close.
    pub(crate) fn wants_input(&self) -> bool {
        !self.ended && self.input.len() - self.start < LIMIT
    }

    /// The receive buffer, with room for one read at its end. After a read that returned nothing, the caller must call
    /// [`Self::release`].
    pub(crate) fn read_buffer(&mut self) -> &mut Vec<u8> {
        if self.input.capacity() == 0 {
            self.input = buffers::take();
        }
        let room = READ.min(LIMIT - (self.input.len() - self.start));
        if self.input.capacity() - self.input.len() < room {
            self.input.drain(..self.start);
            self.start = 0;
            self.input.reserve(room);
        }
        &mut self.input
    }

    /// Gives up a receive buffer without bytes.
    pub(crate) fn release(&mut self) {
        self.compact();
    }

    fn compact(&mut self) {
        if self.start == self.input.len() && self.input.capacity() > 0 {
            buffers::put_back(std::mem::take(&mut self.input));
            self.start = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_without_bytes_has_no_receive_buffer() {
        let mut pipe = Pipe::default();
        for _ in 0..2 {
            pipe.read_buffer().extend_from_slice(b"body");
            assert!(pipe.input.capacity() >= READ);
            pipe.forward(4);
            pipe.sent(4);
            assert_eq!(pipe.input.capacity(), 0);
            pipe.read_buffer();
            pipe.release();
            assert_eq!(pipe.input.capacity(), 0);
        }
    }

    #[test]
    fn a_short_body_is_sent_with_its_head_and_a_long_one_after_it() {
        for (length, parts) in [(1, [5, 0]), (KEPT - 5, [KEPT - 1, 0]), (KEPT, [4, KEPT])] {
            let mut pipe = Pipe::default();
            pipe.read_buffer().extend_from_slice(&vec![b'b'; length + 1]);
            pipe.rewrite().1.extend_from_slice(b"head");
            pipe.forward(length);
            assert_eq!(pipe.outgoing().map(|part| part.len()), parts);
            assert_eq!(pipe.input(), b"b");
            // What follows a body stays behind it.
            pipe.forward(1);
            let sent: Vec<u8> = pipe.outgoing().iter().flat_map(|part| part.to_vec()).collect();
            assert_eq!(sent, [b"head".as_slice(), &vec![b'b'; length + 1]].concat());
            pipe.sent(4 + length + 1);
            assert!(!pipe.is_pending() && pipe.input().is_empty());
        }
    }

    #[test]
    fn many_short_parts_of_a_body_that_is_not_sent_fill_the_receive_buffer() {
        let mut pipe = Pipe::default();
        pipe.rewrite().1.extend_from_slice(b"head");
        let mut count = 0;
        while pipe.wants_input() && count < 10_000 {
            pipe.read_buffer().extend_from_slice(&[b'b'; 100]);
            pipe.forward(100);
            count += 1;
        }
        assert!(pipe.written.len() <= KEPT && count * 100 < LIMIT + KEPT + READ, "{count}");
    }

    #[test]
    fn a_rewritten_head_leaves_no_large_buffer() {
        let mut pipe = Pipe::default();
        pipe.rewrite().1.extend_from_slice(&[b'x'; 50_000]);
        pipe.sent(50_000);
        assert!(pipe.written.capacity() <= KEPT);
    }
}
