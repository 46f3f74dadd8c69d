//! Requests read from a connection: with bounded memory, and parsed strictly or refused.

use crate::{ApiRequest, Cause, Envelope, Failure};
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Longest request, in bytes: the largest manifest (16 MiB) with every byte escaped, and the fields around it.
pub const LONGEST_REQUEST: usize = 33 << 20;
/// Bytes that unfinished requests of all connections may take together, beyond [`FREE_BYTES`] of each.
const BUDGET: usize = 64 << 20;
/// Bytes that a request takes without a reservation, so that a small request can always be read.
const FREE_BYTES: usize = 64 << 10;
/// How long a connection may send nothing within a request.
const STANDSTILL: Duration = Duration::from_secs(30);

/// The budget of all connections.
static SHARED: Budget = Budget::new(BUDGET);

/// A number of bytes that requests reserve and give back.
#[derive(Debug)]
pub struct Budget {
    left: Mutex<usize>,
}

/// Bytes reserved of a budget; dropping the reservation gives them back.
#[derive(Debug)]
pub struct Reservation {
    budget: &'static Budget,
    bytes: usize,
}

/// The bytes of one request, and their reservation.
#[derive(Debug)]
pub struct RequestLine {
    bytes: Vec<u8>,
    reservation: Reservation,
}

/// What a connection sends next.
#[derive(Debug)]
pub enum Next {
    /// A whole request.
    Line(RequestLine),
    /// A request that was refused before its end; nothing after it can be read from the connection.
    Refused(Failure),
    /// The connection ended.
    End,
}

impl Budget {
    /// A budget of this many bytes.
    pub const fn new(bytes: usize) -> Self {
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
    /// Grows so that a request of this many bytes fits; returns false, and reserves nothing, where the budget lacks them.
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
///
/// # Errors
/// The connection broke.
pub fn next(lines: &mut BufReader<&UnixStream>) -> io::Result<Next> {
    // Silence between two requests has no limit; within one it has.
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

/// Reads one request: bytes up to a line feed or the end.
///
/// # Errors
/// The input broke.
pub fn read(lines: &mut impl BufRead, budget: &'static Budget) -> io::Result<Next> {
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
        // The buffer grows here, by doubling, so that the reservation is as large as its capacity.
        if bytes.capacity() < bytes.len() + piece {
            let wanted = (2 * bytes.capacity()).max(bytes.len() + piece).min(LONGEST_REQUEST);
            if !reservation.grow_to(wanted) {
                return Ok(refused(
                    "other requests that are not finished take all the memory for large ones; try again"
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
    /// Parses the request; the reservation must be kept until the request is answered.
    pub fn parse(self) -> (Result<ApiRequest, Failure>, Reservation) {
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
