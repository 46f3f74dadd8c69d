//! The chunked transfer coding, parsed strictly and re-encoded for the next hop (RFC 9112, section 7.1).
//!
//! Known attacks exploit lenient parsers. Therefore a size is plain hexadecimal, a line ends with CR LF, chunk data has the
//! length of its size, an extension has no control character, and no trailer is a framing field. The coding and its
//! extensions concern one hop, so none of the sender's size lines is forwarded. Trailers are dropped, because a server may
//! merge them into the fields that rules have matched; only gRPC responses keep the trailers that gRPC needs.

use crate::head::{is_field_value, parse_field, write_fields};
use crate::{Refusal, name};

/// Limit in bytes on the extensions of one chunk, and on all trailers together.
const MAX_LINES: u16 = 8192;

/// The parser of one chunked body.
#[derive(Clone, Debug, Default)]
pub struct Chunks {
    expected: Expected,
    /// Bytes of extensions or trailers that were counted against the limit.
    lines: u16,
    /// The bytes of an incomplete trailer.
    line: Vec<u8>,
    output: Output,
}

/// What is written for the next hop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Output {
    /// Re-encoded chunks, without trailers.
    #[default]
    Chunks,
    /// Re-encoded chunks, and the trailers of gRPC.
    ChunksAndGrpc,
    /// The data, without the coding.
    Data,
}

/// What the next byte must be part of.
#[derive(Clone, Copy, Debug)]
enum Expected {
    /// A chunk size of which this many digits were read.
    Size { digits: u8, size: u64 },
    /// A chunk extension.
    Extension { size: u64 },
    /// The line feed that ends a size line.
    SizeEnd { size: u64 },
    /// Chunk data; this many bytes are missing.
    Data(u64),
    /// The carriage return after data.
    DataReturn,
    /// The line feed after data.
    DataEnd,
    /// A trailer, or the empty line that ends the body.
    Line,
    /// The line feed after a trailer or after the empty line.
    LineEnd,
    /// Nothing: the body is complete.
    Done,
}

impl Default for Expected {
    fn default() -> Self {
        Self::Size { digits: 0, size: 0 }
    }
}

impl Chunks {
    /// The chunks of a gRPC response, whose trailers `grpc-*` are forwarded.
    pub(crate) fn of_grpc() -> Self {
        Self { output: Output::ChunksAndGrpc, ..Self::default() }
    }

    /// Chunks that are decoded for the next hop.
    pub(crate) fn data_only() -> Self {
        Self { output: Output::Data, ..Self::default() }
    }

    /// Does what [`crate::Body::advance`] does, and appends the bytes for the next hop to `out` where there is one.
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

    /// Checks a complete trailer, and writes it where it is forwarded.
    fn end_trailer(&mut self, out: Option<&mut Vec<u8>>) -> Result<Expected, Refusal> {
        let trailer = parse_field(&self.line)?;
        if name::is_forbidden_in_trailers(trailer.name) {
            return Err(Refusal::malformed("a trailer that is a framing or routing field"));
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

    /// Writes a part of the coding itself, unless chunks are decoded.
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
