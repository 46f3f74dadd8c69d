//! One direction of a connection: what came in from one end, and what may go out to the other.
//!
//! Heads and chunks are written anew and go out from a buffer of their own; other bodies go out from where they came
//! in, uncopied.

use l7::{Body, Refusal};
use std::io::IoSlice;

/// How much is read ahead; a head of the largest size must fit.
const LIMIT: usize = l7::head::MAX_HEAD + 4096;
/// How much is read at once.
const READ: usize = 16 * 1024;

/// Bytes on their way. Going out first: `written`; then the first `forwarding` bytes of what came in.
#[derive(Debug, Default)]
pub(crate) struct Pipe {
    input: Vec<u8>,
    /// Where in `input` the bytes begin that are still here.
    start: usize,
    forwarding: usize,
    written: Vec<u8>,
    /// How much of `written` has gone out.
    sent_of_written: usize,
    /// The end that bytes come from has sent its last.
    pub(crate) ended: bool,
}

impl Pipe {
    /// What came in and was not decided on.
    pub(crate) fn input(&self) -> &[u8] {
        &self.input[self.start + self.forwarding..]
    }

    /// The same bytes to be changed, and the place to write what goes out instead of them. Only while no body passes,
    /// for that would go out later.
    pub(crate) fn rewrite(&mut self) -> (&mut [u8], &mut Vec<u8>) {
        debug_assert_eq!(self.forwarding, 0, "a head would overtake a body");
        (&mut self.input[self.start..], &mut self.written)
    }

    /// Lets more of a body go out, as far as it has come and there is room; tells how many bytes were taken.
    pub(crate) fn forward_body(&mut self, body: &mut Body) -> Result<usize, Refusal> {
        if !body.is_framed_anew() {
            let count = body.advance(self.input())?;
            self.forward(count);
            return Ok(count);
        }
        // What is written is bounded whoever does not read: by this, and by what one input can become.
        if self.written.len() - self.sent_of_written >= READ {
            return Ok(0);
        }
        self.written.drain(..std::mem::take(&mut self.sent_of_written));
        let count = body.reframe(&self.input[self.start..], &mut self.written)?;
        self.discard(count);
        Ok(count)
    }

    /// Lets this many bytes of the input go out as they are.
    pub(crate) fn forward(&mut self, count: usize) {
        self.forwarding += count;
    }

    /// Drops this many bytes of the input.
    pub(crate) fn discard(&mut self, count: usize) {
        debug_assert_eq!(self.forwarding, 0, "the bytes before are still needed");
        self.start += count;
        self.compact();
    }

    /// Drops all that was to go out, since nobody takes it any more.
    pub(crate) fn discard_outgoing(&mut self) {
        self.start += std::mem::take(&mut self.forwarding);
        self.written.clear();
        self.sent_of_written = 0;
        self.compact();
    }

    /// Drops all that came in and all that was to go out.
    pub(crate) fn drop_input(&mut self) {
        self.discard_outgoing();
        self.start = self.input.len();
        self.compact();
    }

    /// Whether anything waits to go out.
    pub(crate) fn is_pending(&self) -> bool {
        self.forwarding > 0 || self.sent_of_written < self.written.len()
    }

    /// What is to go out, in order.
    pub(crate) fn outgoing(&self) -> [IoSlice<'_>; 2] {
        let forwarding = &self.input[self.start..self.start + self.forwarding];
        [IoSlice::new(&self.written[self.sent_of_written..]), IoSlice::new(forwarding)]
    }

    /// Notes that this many bytes of [`Self::outgoing`] went out.
    pub(crate) fn sent(&mut self, count: usize) {
        let from_written = count.min(self.written.len() - self.sent_of_written);
        self.sent_of_written += from_written;
        if self.sent_of_written == self.written.len() {
            self.written.clear();
            self.sent_of_written = 0;
        }
        self.start += count - from_written;
        self.forwarding -= count - from_written;
        self.compact();
    }

    /// Whether there is room to read more into.
    pub(crate) fn wants_input(&self) -> bool {
        !self.ended && self.input.len() - self.start < LIMIT
    }

    /// Where to read to: a buffer to append to, with room.
    pub(crate) fn read_buffer(&mut self) -> &mut Vec<u8> {
        let room = READ.min(LIMIT - (self.input.len() - self.start));
        if self.input.capacity() - self.input.len() < room {
            self.input.drain(..self.start);
            self.start = 0;
            self.input.reserve(room);
        }
        &mut self.input
    }

    fn compact(&mut self) {
        if self.start == self.input.len() {
            self.input.clear();
            self.start = 0;
        }
    }
}
