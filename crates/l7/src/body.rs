//! Message bodies: finds the end of a body while its bytes pass. Chunked bodies are re-encoded for the next hop, other
//! bodies are forwarded unchanged.

use crate::Refusal;
use crate::chunk::Chunks;

/// How the length of a body is determined (RFC 9112, section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// The message has no body.
    Empty,
    /// By Content-Length.
    Length(u64),
    /// By the chunked transfer coding.
    Chunked,
    /// By the end of the connection; only a response can have this framing.
    UntilClose,
}

impl Framing {
    /// True where the body has a byte, or where its length is not known in advance.
    pub fn has_body(self) -> bool {
        !matches!(self, Self::Empty | Self::Length(0))
    }
}

/// A body that is being forwarded.
#[derive(Clone, Debug)]
pub enum Body {
    /// This many bytes are missing.
    Length(u64),
    /// A chunked body.
    Chunked(Chunks),
    /// All bytes of the connection belong to the body.
    UntilClose,
}

impl Body {
    /// A body at its first byte.
    pub fn new(framing: Framing) -> Self {
        match framing {
            Framing::Empty => Self::Length(0),
            Framing::Length(length) => Self::Length(length),
            Framing::Chunked => Self::Chunked(Chunks::default()),
            Framing::UntilClose => Self::UntilClose,
        }
    }

    /// The body of a gRPC response: its trailers whose names begin with `grpc-` are forwarded.
    pub fn of_grpc(framing: Framing) -> Self {
        match framing {
            Framing::Chunked => Self::Chunked(Chunks::of_grpc()),
            Framing::Empty | Framing::Length(_) | Framing::UntilClose => Self::new(framing),
        }
    }

    /// A body for an HTTP/1.0 client: chunks are decoded, and the end of the connection ends the body.
    pub fn without_chunks(framing: Framing) -> Self {
        match framing {
            Framing::Chunked => Self::Chunked(Chunks::data_only()),
            Framing::Empty | Framing::Length(_) | Framing::UntilClose => Self::new(framing),
        }
    }

    /// Returns how many bytes at the front of the input belong to the body, chunk framing included. The next call
    /// continues after these bytes. Where bytes are left over, the body has ended.
    pub fn advance(&mut self, input: &[u8]) -> Result<usize, Refusal> {
        match self {
            Self::Length(left) => {
                let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                *left -= taken as u64;
                Ok(taken)
            }
            Self::Chunked(chunks) => chunks.advance(input, None),
            Self::UntilClose => Ok(input.len()),
        }
    }

    /// Does the same as [`Self::advance`], and appends the bytes for the next hop to `out`. A caller may forward the input
    /// itself where [`Self::is_framed_anew`] is false.
    pub fn reframe(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<usize, Refusal> {
        match self {
            Self::Chunked(chunks) => chunks.advance(input, Some(out)),
            Self::Length(_) | Self::UntilClose => {
                let taken = self.advance(input)?;
                out.extend_from_slice(&input[..taken]);
                Ok(taken)
            }
        }
    }

    /// True where the forwarded bytes differ from the received ones.
    pub fn is_framed_anew(&self) -> bool {
        matches!(self, Self::Chunked(_))
    }

    /// Whether the body has ended.
    pub fn is_done(&self) -> bool {
        match self {
            Self::Length(left) => *left == 0,
            Self::Chunked(chunks) => chunks.is_done(),
            Self::UntilClose => false,
        }
    }

    /// True where the body is complete if the connection ends now.
    pub fn may_end(&self) -> bool {
        self.is_done() || matches!(self, Self::UntilClose)
    }
}
