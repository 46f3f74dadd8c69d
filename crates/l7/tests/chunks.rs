//! Chunked bodies: their end, refused ones, and what is forwarded.

use l7::{Body, Framing, Refusal};

/// Parses a chunked body in pieces of every size; returns its length.
#[track_caller]
fn chunked(input: &[u8]) -> Option<usize> {
    let mut results = Vec::new();
    for piece in 1..=input.len() {
        let mut body = Body::new(Framing::Chunked);
        let mut taken = 0;
        let result = input.chunks(piece).try_for_each(|part| {
            taken += body.advance(part)?;
            Ok::<_, Refusal>(())
        });
        results.push(result.is_ok().then_some(taken).filter(|_| body.is_done()));
    }
    assert!(results.windows(2).all(|pair| pair[0] == pair[1]), "{results:?} for {input:?}");
    results[0]
}

#[test]
fn chunks_end_where_their_sizes_say() {
    for (input, taken) in [
        (&b"0\r\n\r\n"[..], Some(5)),
        (b"3\r\nabc\r\n0\r\n\r\nGET /", Some(13)),
        (b"00a\r\n0123456789\r\n0\r\n\r\n", Some(22)),
        (b"A;x=y; z=\"q\"\r\n0123456789\r\n0;last\r\n\r\n", Some(36)),
        (b"0\r\nX-Sum: 1\r\nY:\r\n\r\n", Some(19)),
        (b"3\r\nabc\r\n0\r\n", None),
        (b"", None),
    ] {
        let found = if input.is_empty() { None } else { chunked(input) };
        assert_eq!(found, taken, "{}", String::from_utf8_lossy(input));
    }
}

#[test]
fn malformed_chunks_are_refused() {
    for input in [
        &b"3\r\nabcXX0\r\n\r\n"[..],
        b"3\r\nabc\n0\r\n\r\n",
        b"3\nabc\r\n0\r\n\r\n",
        b"2;\nxx\r\n0\r\n\r\n",
        b"2;\rxx\r\n0\r\n\r\n",
        b" 3\r\nabc\r\n0\r\n\r\n",
        b"3 \r\nabc\r\n0\r\n\r\n",
        b"0x3\r\nabc\r\n0\r\n\r\n",
        b"+3\r\nabc\r\n0\r\n\r\n",
        b"-1\r\nabc\r\n0\r\n\r\n",
        b"\r\nabc\r\n0\r\n\r\n",
        b";x\r\nabc\r\n0\r\n\r\n",
        b"10000000000000003\r\nabc\r\n0\r\n\r\n",
        b"0\r\nContent-Length: 3\r\n\r\n",
        b"0\r\ntransfer-encoding: chunked\r\n\r\n",
        b"0\r\nhost: evil\r\n\r\n",
        b"0\r\n folded\r\n\r\n",
        b"0\r\nX : y\r\n\r\n",
        b"0\r\nXY\r\n\r\n",
        b"0\r\nX: \0\r\n\r\n",
        b"0\r\nX: y\n\r\n",
        b"0\r\n\rX",
    ] {
        let refused = Body::new(Framing::Chunked).advance(input).is_err();
        assert!(refused, "{}", String::from_utf8_lossy(input));
    }
    let endless = format!("1;{}", "x".repeat(10_000));
    assert!(Body::new(Framing::Chunked).advance(endless.as_bytes()).is_err());
    // A name that only starts like a forbidden one is accepted.
    assert!(
        Body::new(Framing::Chunked).advance(b"0\r\ntransfer-encodings: x\r\nhostname: y\r\n\r\n").is_ok()
    );
}

/// The bytes that are forwarded of a chunked body that arrives in pieces of this size.
fn reframed(mut body: Body, input: &[u8], piece: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for part in input.chunks(piece) {
        assert_eq!(body.reframe(part, &mut out), Ok(part.len()));
    }
    assert!(body.is_done());
    out
}

#[test]
fn chunks_are_forwarded_without_extensions_and_trailers() {
    let input =
        b"5;ext=a\r\nhello\r\n0000C\r\n to you all.\r\n0;last\r\nX-Role: admin\r\ngrpc-status:  0 \r\n\r\n";
    let plain = b"5\r\nhello\r\nc\r\n to you all.\r\n0\r\n\r\n";
    assert_eq!(reframed(Body::new(Framing::Chunked), input, input.len()), plain);
    let grpc = reframed(Body::of_grpc(Framing::Chunked), input, input.len());
    assert_eq!(
        String::from_utf8_lossy(&grpc),
        "5\r\nhello\r\nc\r\n to you all.\r\n0\r\ngrpc-status: 0\r\n\r\n"
    );
    for piece in 1..input.len() {
        let out = reframed(Body::new(Framing::Chunked), input, piece);
        assert_eq!(chunked(&out), Some(out.len()));
        // Parsed again as one piece, the output has the same data and nothing else.
        let data = |chunks: &[u8]| {
            let text = String::from_utf8_lossy(chunks).into_owned();
            text.split("\r\n").skip(1).step_by(2).collect::<String>()
        };
        assert_eq!(data(&out), "hello to you all.", "{:?}", String::from_utf8_lossy(&out));
    }
    let large = vec![b'x'; 70_000];
    let input = [b"11170\r\n", &large[..], b"\r\n0\r\n\r\n"].concat();
    assert_eq!(reframed(Body::new(Framing::Chunked), &input, input.len()), input);
}

#[test]
fn chunks_are_decoded_for_an_old_client() {
    let input = b"3;x\r\nabc\r\n0a\r\n0123456789\r\n0\r\nX-Sum: 1\r\ngrpc-status: 0\r\n\r\nGET /";
    for piece in 1..=input.len() {
        let mut body = Body::without_chunks(Framing::Chunked);
        assert!(body.is_framed_anew() && !body.may_end());
        let (mut out, mut taken) = (Vec::new(), 0);
        for part in input.chunks(piece) {
            taken += body.reframe(part, &mut out).expect("it is well formed");
        }
        assert_eq!((String::from_utf8_lossy(&out).as_ref(), taken), ("abc0123456789", input.len() - 5));
        assert!(body.is_done());
    }
    let mut length = Body::without_chunks(Framing::Length(3));
    assert_eq!((length.is_framed_anew(), length.advance(b"abcd")), (false, Ok(3)));
}
