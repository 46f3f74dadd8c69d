//! Bodies: the split of the bytes makes no difference, and a re-encoded body carries the same data.

use crate::input::{Input, pieces};
use l7::{Body, Framing, Refusal};

/// The result of parsing a body.
#[derive(Debug, PartialEq)]
struct Outcome {
    result: Result<usize, Refusal>,
    is_done: bool,
    may_end: bool,
    out: Vec<u8>,
}

/// Parses a body at once and in pieces; with and without re-encoding.
pub fn body(bytes: &[u8], cuts: u8) {
    let mut input = Input::new(bytes);
    let kind = input.byte();
    let framing = match kind % 5 {
        0 => Framing::Empty,
        1 => Framing::Length(input.byte().into()),
        2 => Framing::UntilClose,
        _ => Framing::Chunked,
    };
    let bytes = input.rest();
    let data = read(Body::without_chunks(framing), &[bytes]);
    assert_eq!(data, read(Body::without_chunks(framing), &pieces(bytes, cuts)));
    for body in [Body::new(framing), Body::of_grpc(framing)] {
        let [at_once, in_pieces] =
            [&[bytes][..], &pieces(bytes, cuts)].map(|pieces| read(body.clone(), pieces));
        for read in [&at_once, &in_pieces] {
            assert_eq!(read.result, data.result);
            assert_eq!((read.is_done, read.may_end), (data.is_done, data.may_end));
            check_reframed(framing, read, &data);
        }
        assert_eq!(count(body, bytes), data.result);
    }
}

/// The forwarded bytes parse, and carry the received data.
fn check_reframed(framing: Framing, sent: &Outcome, data: &Outcome) {
    if framing != Framing::Chunked {
        return assert_eq!(sent.out, data.out);
    }
    let received = read(Body::without_chunks(framing), &[&sent.out]);
    assert_eq!(received.result, Ok(sent.out.len()));
    assert_eq!(received.out, data.out);
    assert_eq!(received.is_done, sent.is_done);
}

fn count(mut body: Body, bytes: &[u8]) -> Result<usize, Refusal> {
    body.advance(bytes)
}

fn read(mut body: Body, pieces: &[&[u8]]) -> Outcome {
    let (mut out, mut result) = (Vec::new(), Ok(0));
    for piece in pieces {
        let (taken, so_far) = match (body.reframe(piece, &mut out), result) {
            (Ok(taken), Ok(so_far)) => (taken, so_far),
            (Err(refusal), _) | (_, Err(refusal)) => {
                result = Err(refusal);
                break;
            }
        };
        result = Ok(so_far + taken);
        if taken < piece.len() {
            assert!(body.is_done(), "bytes were left over before the end of the body");
            break;
        }
    }
    Outcome { result, is_done: body.is_done(), may_end: body.may_end(), out }
}
