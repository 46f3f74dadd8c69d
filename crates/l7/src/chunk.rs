//! The chunked coding, read strictly and framed anew for the next hop (RFC 9112, section 7.1).
//!
//! Known attacks live in what readers forgive: so sizes are plain hexadecimal, line ends are CR LF, chunk data ends
//! where its size says, extensions have no control characters, and no trailer is a framing field. The coding and its
//! extensions are for one hop, so that none of the sender's own lines go on. Trailers are dropped: a server may merge
//! them into the fields that rules have decided on. Only the answers of gRPC cannot do without theirs.

use crate::head::{is_field_value, parse_field, write_fields};
use crate::{Refusal, name};

/// The most bytes that one chunk's extensions, or all trailers together, may have.
const MAX_LINES: u16 = 8192;

/// How far a chunked body has been read.
#[derive(Clone, Debug, Default)]
pub struct Chunks {
    expected: Expected,
    /// Bytes of extensions or trailers so far.
    lines: u16,
    /// The trailer that is being read.
    line: Vec<u8>,
    output: Output,
}

/// What goes on to the next hop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Output {
    /// Chunks framed anew, and no trailers.
    #[default]
    Chunks,
    /// The same, and the trailers of gRPC.
    ChunksAndGrpc,
    /// The data alone.
    Data,
}

/// What comes next.
#[derive(Clone, Copy, Debug)]
enum Expected {
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
    /// A trailer, more of it, or the last line.
    Line,
    /// The line feed after a trailer or the last line.
    LineEnd,
    /// Nothing.
    Done,
}

impl Default for Expected {
    fn default() -> Self {
        Self::Size { digits: 0, size: 0 }
    }
}

impl Chunks {
    /// Chunks of a gRPC answer, whose trailers `grpc-*` go on.
    pub(crate) fn of_grpc() -> Self {
        Self { output: Output::ChunksAndGrpc, ..Self::default() }
    }

    /// Chunks of which the data alone goes on.
    pub(crate) fn data_only() -> Self {
        Self { output: Output::Data, ..Self::default() }
    }

    /// As [`crate::Body::advance`]; what goes on is written where there is a place for it.
    pub(crate) fn advance(&mut self, input: &[u8], mut out: Option<&mut Vec<u8>>) -> Result<usize, Refusal> {
        let mut taken = 0;
        while taken < input.len() && !self.is_done() {
            if let Expected::Data(left) = self.expected {
                let length = usize::try_from(left).unwrap_or(usize::MAX).min(input.len() - taken);
                if let Some(out) = &mut out {
                    let data = &input[taken..taken + length];
                    match self.output {
                        Output::Chunks | Output::ChunksAndGrpc => write_chunk(data, out),
                        Output::Data => out.extend_from_slice(data),
                    }
                }
                taken += length;
                let left = left - length as u64;
                self.expected = if left == 0 { Expected::DataReturn } else { Expected::Data(left) };
            } else {
                self.expected = self.step(input[taken], out.as_deref_mut())?;
                taken += 1;
            }
        }
        Ok(taken)
    }

    pub(crate) fn is_done(&self) -> bool {
        matches!(self.expected, Expected::Done)
    }

    fn step(&mut self, byte: u8, out: Option<&mut Vec<u8>>) -> Result<Expected, Refusal> {
        Ok(match (self.expected, byte) {
            (Expected::Size { digits, size }, _) if byte.is_ascii_hexdigit() && digits < 15 => {
                let digit = char::from(byte).to_digit(16).expect("a hexadecimal digit was seen");
                Expected::Size { digits: digits + 1, size: size << 4 | u64::from(digit) }
            }
            (Expected::Size { digits: 1.., size }, b'\r') => Expected::SizeEnd { size },
            (Expected::Size { digits: 1.., size }, b';') => self.counted(Expected::Extension { size })?,
            (Expected::Extension { size }, b'\r') => Expected::SizeEnd { size },
            (Expected::Extension { size }, _) if is_field_value(byte) => {
                self.counted(Expected::Extension { size })?
            }
            (Expected::SizeEnd { size: 0 }, b'\n') => {
                self.lines = 0;
                self.append(out, b"0\r\n");
                Expected::Line
            }
            (Expected::SizeEnd { size }, b'\n') => Expected::Data(size),
            (Expected::DataReturn, b'\r') => Expected::DataEnd,
            (Expected::DataEnd, b'\n') => {
                self.lines = 0;
                Expected::Size { digits: 0, size: 0 }
            }
            (Expected::Line, b'\r') => Expected::LineEnd,
            (Expected::Line, _) if is_field_value(byte) => {
                self.line.push(byte);
                self.counted(Expected::Line)?
            }
            (Expected::LineEnd, b'\n') if self.line.is_empty() => {
                self.append(out, b"\r\n");
                Expected::Done
            }
            (Expected::LineEnd, b'\n') => self.end_trailer(out)?,
            _ => return Err(Refusal::malformed("a malformed chunk")),
        })
    }

    /// A trailer is there as a whole.
    fn end_trailer(&mut self, out: Option<&mut Vec<u8>>) -> Result<Expected, Refusal> {
        let trailer = parse_field(&self.line)?;
        if name::is_forbidden_in_trailers(trailer.name) {
            return Err(Refusal::malformed("a trailer that speaks of framing or routing"));
        }
        let is_grpc = trailer.name.get(..5).is_some_and(|start| start.eq_ignore_ascii_case("grpc-"));
        if let Some(out) = out
            && self.output == Output::ChunksAndGrpc
            && is_grpc
        {
            write_fields(&[trailer], out);
        }
        self.line.clear();
        Ok(Expected::Line)
    }

    /// Writes a part of the coding itself, where that goes on.
    fn append(&self, out: Option<&mut Vec<u8>>, bytes: &[u8]) {
        if let Some(out) = out.filter(|_| self.output != Output::Data) {
            out.extend_from_slice(bytes);
        }
    }

    fn counted(&mut self, next: Expected) -> Result<Expected, Refusal> {
        self.lines += 1;
        if self.lines > MAX_LINES {
            return Err(Refusal::malformed("chunk extensions or trailers larger than 8 KiB"));
        }
        Ok(next)
    }
}

fn write_chunk(data: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = (usize::BITS - data.len().leading_zeros()).div_ceil(4);
    out.extend((0..digits).rev().map(|digit| DIGITS[data.len() >> (4 * digit) & 15]));
    for part in [b"\r\n", data, b"\r\n"] {
        out.extend_from_slice(part);
    }
}
