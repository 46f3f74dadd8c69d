//! Where a body ends: told while its bytes pass through, without keeping any of them.

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

/// A body on its way through.
#[derive(Clone, Copy, Debug)]
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

    /// How many bytes at the front of the input are part of the body, frame included. All of them are valid; the
    /// next call continues behind them. Fewer than all: the body has ended there.
    pub fn advance(&mut self, input: &[u8]) -> Result<usize, Refusal> {
        match self {
            Self::Length(left) => {
                let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                *left -= taken as u64;
                Ok(taken)
            }
            Self::Chunked(chunks) => chunks.advance(input),
            Self::UntilClose => Ok(input.len()),
        }
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
