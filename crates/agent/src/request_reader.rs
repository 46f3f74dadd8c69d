//! Requests as they come in: read with bounded memory, and understood strictly or refused.

use api::{Cause, Envelope, Failure, Request};
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Longest request that is read, in bytes: the largest manifest (16 MiB), each byte of it escaped, and what is around it.
const LONGEST_REQUEST: usize = 33 << 20;
/// What unfinished requests of all connections may take together, beyond [`FREE_BYTES`] of each.
const BUDGET: usize = 64 << 20;
/// What each connection may hold without taking of the budget of all: no connection keeps another from asking.
const FREE_BYTES: usize = 64 << 10;
/// How long a request that has begun may stand still.
const STANDSTILL: Duration = Duration::from_secs(30);

/// The budget that all connections reservation.
static SHARED: Budget = Budget::new(BUDGET);

/// A number of bytes that can be taken and given back.
#[derive(Debug)]
struct Budget {
    left: Mutex<usize>,
}

/// Bytes taken of a budget; dropping it gives them back.
#[derive(Debug)]
pub(crate) struct Reservation {
    budget: &'static Budget,
    bytes: usize,
}

/// A request's bytes, and their reservation of the budget.
#[derive(Debug)]
pub(crate) struct RequestLine {
    bytes: Vec<u8>,
    reservation: Reservation,
}

/// What comes next on a connection.
#[derive(Debug)]
pub(crate) enum Next {
    /// A whole request.
    Line(RequestLine),
    /// A request that is not read to its end; the connection cannot go on.
    Refused(Failure),
    /// Nothing more.
    End,
}

impl Budget {
    const fn new(bytes: usize) -> Self {
        Self { left: Mutex::new(bytes) }
    }

    fn take(&self, bytes: usize) -> bool {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let rest = left.checked_sub(bytes);
        *left = rest.unwrap_or(*left);
        rest.is_some()
    }
}

impl Reservation {
    /// Grows to what so many bytes need; false where there is no budget.
    fn grow_to(&mut self, bytes: usize) -> bool {
        let more = bytes.saturating_sub(FREE_BYTES).saturating_sub(self.bytes);
        let granted = self.budget.take(more);
        self.bytes += if granted { more } else { 0 };
        granted
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        *self.budget.left.lock().unwrap_or_else(PoisonError::into_inner) += self.bytes;
    }
}

/// Reads the next request of a connection.
pub(crate) fn next(lines: &mut BufReader<&UnixStream>) -> io::Result<Next> {
    // A client may be silent between requests for as long as it likes, but not within one.
    lines.get_ref().set_read_timeout(None)?;
    if lines.fill_buf()?.is_empty() {
        return Ok(Next::End);
    }
    lines.get_ref().set_read_timeout(Some(STANDSTILL))?;
    match read(lines, &SHARED) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            Ok(refused(format!("the request stood still for {} s", STANDSTILL.as_secs())))
        }
        next => next,
    }
}

fn read(lines: &mut impl BufRead, budget: &'static Budget) -> io::Result<Next> {
    let mut reservation = Reservation { budget, bytes: 0 };
    let mut bytes = Vec::new();
    while bytes.last() != Some(&b'\n') {
        let piece = lines.fill_buf()?.len();
        if piece == 0 {
            break;
        }
        if bytes.len() + piece > LONGEST_REQUEST {
            return Ok(refused(format!("the request is longer than {LONGEST_REQUEST} bytes")));
        }
        // Grown here by doubling, so that what is taken of the budget is what the buffer holds.
        if bytes.capacity() < bytes.len() + piece {
            let wanted = (2 * bytes.capacity()).max(bytes.len() + piece).min(LONGEST_REQUEST);
            if !reservation.grow_to(wanted) {
                return Ok(refused(
                    "other requests that are not finished take all budget there is for large ones; try again"
                        .into(),
                ));
            }
            bytes.reserve_exact(wanted - bytes.len());
        }
        lines.by_ref().take(piece as u64).read_until(b'\n', &mut bytes)?;
    }
    Ok(Next::Line(RequestLine { bytes, reservation }))
}

fn refused(message: String) -> Next {
    Next::Refused(Failure::new(Cause::Invalid, message))
}

impl RequestLine {
    /// The request that it is, and the reservation of the budget that it needs until it is answered.
    pub(crate) fn understand(self) -> (Result<Request, Failure>, Reservation) {
        (Envelope::parse(&self.bytes).map(|envelope| envelope.request), self.reservation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    fn read_with(budget: &'static Budget, text: &[u8]) -> Next {
        read(&mut BufReader::new(Cursor::new(text)), budget).unwrap()
    }

    fn message(next: Next) -> String {
        match next {
            Next::Refused(failure) => failure.to_string(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn requests_come_one_after_another_and_the_last_may_lack_its_end() {
        static BUDGET: Budget = Budget::new(0);
        let mut lines = BufReader::with_capacity(3, Cursor::new(b"first\nsecond"));
        for expected in [&b"first\n"[..], b"second"] {
            match read(&mut lines, &BUDGET).unwrap() {
                Next::Line(line) => assert_eq!(line.bytes, expected),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn a_request_that_is_too_long_is_refused_before_it_is_read_whole() {
        static BUDGET: Budget = Budget::new(LONGEST_REQUEST);
        let mut endless = BufReader::new(io::repeat(b'x'));
        let said = message(read(&mut endless, &BUDGET).unwrap());
        assert!(said.contains("longer than"), "{said}");
        assert_eq!(*BUDGET.left.lock().unwrap(), LONGEST_REQUEST, "what it took is given back");
    }

    #[test]
    fn unfinished_requests_share_bounded_room_and_small_ones_need_none() {
        static BUDGET: Budget = Budget::new(1 << 20);
        let large = vec![b'x'; 800 << 10];
        let first = read_with(&BUDGET, &large);
        assert!(matches!(first, Next::Line(_)));
        let said = message(read_with(&BUDGET, &large));
        assert!(said.contains("try again"), "{said}");
        assert!(matches!(read_with(&BUDGET, &large[..FREE_BYTES / 2]), Next::Line(_)));
        drop(first);
        assert!(matches!(read_with(&BUDGET, &large), Next::Line(_)));
        assert_eq!(*BUDGET.left.lock().unwrap(), 1 << 20);
    }
}
