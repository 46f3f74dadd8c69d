//! Where a body ends: told while its bytes pass through. Chunks are framed anew on their way; all else stays as it is.

use crate::Refusal;
use crate::chunk::Chunks;

/// How the end of a body is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    Empty,
    /// By its length.
    Length(u64),
    /// Its chunks say.
    Chunked,
    /// By the end of the connection; responses only.
    UntilClose,
}

impl Framing {
    /// Whether there is a body, of one byte at least or of a length that is not known before.
    pub fn has_body(self) -> bool {
        !matches!(self, Self::Empty | Self::Length(0))
    }
}

/// A body on its way through.
#[derive(Clone, Debug)]
pub enum Body {
    /// This many bytes are still to come.
    Length(u64),
    /// Chunks.
    Chunked(Chunks),
    /// Everything is part of it.
    UntilClose,
}

impl Body {
    /// A body of which nothing has come yet.
    pub fn new(framing: Framing) -> Self {
        match framing {
            Framing::Empty => Self::Length(0),
            Framing::Length(length) => Self::Length(length),
            Framing::Chunked => Self::Chunked(Chunks::default()),
            Framing::UntilClose => Self::UntilClose,
        }
    }

    /// The body of a gRPC answer, whose trailers go on where their names begin with `grpc-`.
    pub fn of_grpc(framing: Framing) -> Self {
        match framing {
            Framing::Chunked => Self::Chunked(Chunks::of_grpc()),
            Framing::Empty | Framing::Length(_) | Framing::UntilClose => Self::new(framing),
        }
    }

    /// A body for a reader of HTTP/1.0: what was in chunks goes on without them, and the end of the connection ends it.
    pub fn without_chunks(framing: Framing) -> Self {
        match framing {
            Framing::Chunked => Self::Chunked(Chunks::data_only()),
            Framing::Empty | Framing::Length(_) | Framing::UntilClose => Self::new(framing),
        }
    }

    /// How many bytes at the front of the input are part of the body, frame included. All of them are valid; the
    /// next call continues behind them. Fewer than all: the body has ended there.
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

    /// As [`Self::advance`], and writes what goes on to the next hop. Only where [`Self::is_framed_anew`]; any other
    /// body goes on as it came.
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

    /// Whether what goes on is not what came.
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

    /// Whether the end of the connection is a good end of the body.
    pub fn may_end(&self) -> bool {
        self.is_done() || matches!(self, Self::UntilClose)
    }
}
