//! Responses that the proxy writes itself.

/// Whether the connection stays open after a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeepAlive {
    Yes,
    No,
}

/// The body of the response to a denied request. It is Envoy's as Cilium sends it, because clients may check for it.
const DENIED: &str = "Access denied\r\n";

/// Appends the response to a denied request. The response to HEAD has the fields of the body, but no body.
pub(crate) fn deny(method: &str, then: KeepAlive, out: &mut Vec<u8>) {
    write(403, "Forbidden", DENIED, then, out);
    if method == "HEAD" {
        out.truncate(out.len() - DENIED.len());
    }
}

/// Appends the response to a request that cannot be served. The connection is closed after it.
pub(crate) fn refuse(status: u16, reason: &str, out: &mut Vec<u8>) {
    let phrase = match status {
        400 => "Bad Request",
        408 => "Request Timeout",
        417 => "Expectation Failed",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        _ => "Error",
    };
    write(status, phrase, &format!("{reason}\r\n"), KeepAlive::No, out);
}

fn write(status: u16, phrase: &str, body: &str, then: KeepAlive, out: &mut Vec<u8>) {
    let connection = match then {
        KeepAlive::Yes => "",
        KeepAlive::No => "Connection: close\r\n",
    };
    let length = body.len();
    let response = format!(
        "HTTP/1.1 {status} {phrase}\r\nContent-Length: {length}\r\nContent-Type: text/plain\r\n{connection}\r\n{body}"
    );
    out.extend_from_slice(response.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_response_to_a_denied_request_is_403() {
        let mut out = Vec::new();
        deny("GET", KeepAlive::Yes, &mut out);
        let expected = "HTTP/1.1 403 Forbidden\r\nContent-Length: 15\r\nContent-Type: text/plain\r\n\r\nAccess denied\r\n";
        assert_eq!(String::from_utf8_lossy(&out), expected);
        out.clear();
        deny("HEAD", KeepAlive::No, &mut out);
        let expected = "HTTP/1.1 403 Forbidden\r\nContent-Length: 15\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n";
        assert_eq!(String::from_utf8_lossy(&out), expected);
    }
}
