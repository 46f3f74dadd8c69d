//! Reads requests from connections with bounded memory, and parses them strictly.

use api::{Cause, Envelope, Failure, Request};
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Maximum size of a request in bytes: the largest manifest (16 MiB) with every byte escaped, and the fields around
/// it.
const MAX_REQUEST: usize = 33 << 20;
/// Memory for the unfinished requests of all connections together, beyond [`FREE_BYTES`] of each.
const BUDGET: usize = 64 << 20;
/// Memory that each connection has outside the budget: no connection can keep another from sending a small request.
const FREE_BYTES: usize = 64 << 10;
/// How long a client may pause within a request.
const PAUSE: Duration = Duration::from_secs(30);

/// The budget of all connections.
static SHARED: Budget = Budget::new(BUDGET);

/// A number of bytes that can be reserved and released.
#[derive(Debug)]
struct Budget {
    left: Mutex<usize>,
}

/// Reserved bytes of a budget; dropping the reservation releases them.
#[derive(Debug)]
pub(crate) struct Reservation {
    budget: &'static Budget,
    bytes: usize,
}

/// The bytes of a request, and their reservation.
#[derive(Debug)]
pub(crate) struct RequestLine {
    bytes: Vec<u8>,
    reservation: Reservation,
}

/// The next input of a connection.
#[derive(Debug)]
pub(crate) enum Next {
    /// A complete request.
    Line(RequestLine),
    /// A request that is not read to its end; the connection must be closed.
    Refused(Failure),
    /// The client closed the connection.
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
    /// Extends the reservation to this many bytes; false if the budget is exhausted.
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
    // A client may pause between requests for any time, but not within a request.
    lines.get_ref().set_read_timeout(None)?;
    if lines.fill_buf()?.is_empty() {
        return Ok(Next::End);
    }
    lines.get_ref().set_read_timeout(Some(PAUSE))?;
    match read(lines, &SHARED) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            Ok(refused(format!("the request was not completed within {} s", PAUSE.as_secs())))
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
        if bytes.len() + piece > MAX_REQUEST {
            return Ok(refused(format!("the request is longer than {MAX_REQUEST} bytes")));
        }
        // The buffer is doubled here, so that the reservation equals its capacity.
        if bytes.capacity() < bytes.len() + piece {
            let wanted = (2 * bytes.capacity()).max(bytes.len() + piece).min(MAX_REQUEST);
            if !reservation.grow_to(wanted) {
                return Ok(refused(
                    "unfinished requests of other clients use all memory for large requests; try again"
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
    /// Parses the request; returns the reservation, too, which must be held until the request is answered.
    pub(crate) fn parse(self) -> (Result<Request, Failure>, Reservation) {
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
    fn requests_are_read_one_by_one_and_the_last_may_lack_its_newline() {
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
    fn a_request_that_is_too_long_is_refused_before_it_is_read_completely() {
        static BUDGET: Budget = Budget::new(MAX_REQUEST);
        let mut endless = BufReader::new(io::repeat(b'x'));
        let said = message(read(&mut endless, &BUDGET).unwrap());
        assert!(said.contains("longer than"), "{said}");
        assert_eq!(*BUDGET.left.lock().unwrap(), MAX_REQUEST, "the reservation is released");
    }

    #[test]
    fn unfinished_requests_share_a_budget_and_small_requests_need_none() {
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
