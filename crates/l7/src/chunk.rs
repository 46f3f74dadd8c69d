//! The chunked coding, read strictly while it passes through unchanged (RFC 9112, section 7.1).
//!
//! Known attacks live in what readers forgive: so sizes are plain hexadecimal, line ends are CR LF, chunk data ends
//! where its size says, extensions have no control characters, and trailers do not speak of framing.

use crate::Refusal;
use crate::head::{is_field_value, is_token};

/// The most bytes that one chunk's extensions, or all trailers together, may have.
const MAX_LINES: u16 = 8192;
/// Names that a trailer must not have, since they would tell a reader what to make of bytes it has read already.
const NO_TRAILER: [&str; 6] =
    ["content-length", "transfer-encoding", "host", "connection", "trailer", "upgrade"];
/// A name as long as the longest of [`NO_TRAILER`], and one more that tells it from longer ones.
const NAME: usize = 18;

/// How far a chunked body has been read.
#[derive(Clone, Copy, Debug)]
pub struct Chunks {
    at: At,
    /// Bytes of extensions or trailers so far.
    lines: u16,
}

/// What comes next.
#[derive(Clone, Copy, Debug)]
enum At {
    /// A digit of a size, of which this many were read.
    Size { digits: u8, size: u64 },
    /// More of an extension.
    Extension { size: u64 },
    /// The line feed after a size.
    SizeEnd { size: u64 },
    /// This much data.
    Data(u64),
    /// The carriage return after data.
    DataReturn,
    /// The line feed after data.
    DataEnd,
    /// A trailer or the last line.
    Line,
    /// More of a trailer's name, in lower case as far as it fits.
    Name { name: [u8; NAME], length: u8 },
    /// More of a trailer's value.
    Value,
    /// The line feed after a trailer.
    ValueEnd,
    /// The last line feed.
    End,
    /// Nothing.
    Done,
}

impl Default for Chunks {
    fn default() -> Self {
        Self { at: At::Size { digits: 0, size: 0 }, lines: 0 }
    }
}

impl Chunks {
    /// As [`crate::Body::advance`].
    pub(crate) fn advance(&mut self, input: &[u8]) -> Result<usize, Refusal> {
        let mut taken = 0;
        while taken < input.len() && !self.is_done() {
            if let At::Data(left) = self.at {
                let data = usize::try_from(left).unwrap_or(usize::MAX).min(input.len() - taken);
                taken += data;
                let left = left - data as u64;
                self.at = if left == 0 { At::DataReturn } else { At::Data(left) };
            } else {
                self.at = self.step(input[taken])?;
                taken += 1;
            }
        }
        Ok(taken)
    }

    pub(crate) fn is_done(&self) -> bool {
        matches!(self.at, At::Done)
    }

    fn step(&mut self, byte: u8) -> Result<At, Refusal> {
        Ok(match (self.at, byte) {
            (At::Size { digits, size }, _) if byte.is_ascii_hexdigit() && digits < 15 => {
                let digit = char::from(byte).to_digit(16).expect("a hexadecimal digit was seen");
                At::Size { digits: digits + 1, size: size << 4 | u64::from(digit) }
            }
            (At::Size { digits: 1.., size }, b'\r') => At::SizeEnd { size },
            (At::Size { digits: 1.., size }, b';') => self.counted(At::Extension { size })?,
            (At::Extension { size }, b'\r') => At::SizeEnd { size },
            (At::Extension { size }, _) if is_field_value(byte) => self.counted(At::Extension { size })?,
            (At::SizeEnd { size: 0 }, b'\n') => {
                self.lines = 0;
                At::Line
            }
            (At::SizeEnd { size }, b'\n') => At::Data(size),
            (At::DataReturn, b'\r') => At::DataEnd,
            (At::DataEnd, b'\n') => {
                self.lines = 0;
                At::Size { digits: 0, size: 0 }
            }
            (At::Line, b'\r') => At::End,
            (At::Line, _) if is_token(byte) => self.named([0; NAME], 0, byte)?,
            (At::Name { name, length }, _) if is_token(byte) => self.named(name, length, byte)?,
            (At::Name { name, length }, b':') => {
                if NO_TRAILER.iter().any(|no| no.as_bytes() == &name[..usize::from(length)]) {
                    return Err(Refusal::malformed("a trailer that speaks of framing or routing"));
                }
                At::Value
            }
            (At::Value, b'\r') => At::ValueEnd,
            (At::Value, _) if is_field_value(byte) => self.counted(At::Value)?,
            (At::ValueEnd, b'\n') => At::Line,
            (At::End, b'\n') => At::Done,
            _ => return Err(Refusal::malformed("a malformed chunk")),
        })
    }

    fn named(&mut self, mut name: [u8; NAME], length: u8, byte: u8) -> Result<At, Refusal> {
        let last = usize::from(length).min(NAME - 1);
        name[last] = byte.to_ascii_lowercase();
        self.counted(At::Name { name, length: last as u8 + 1 })
    }

    fn counted(&mut self, next: At) -> Result<At, Refusal> {
        self.lines += 1;
        if self.lines > MAX_LINES {
            return Err(Refusal::malformed("chunk extensions or trailers larger than 8 KiB"));
        }
        Ok(next)
    }
}
