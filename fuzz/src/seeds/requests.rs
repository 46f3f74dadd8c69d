//! Seeds of HTTP: the literals of the tests of `l7`.

use super::literals;
use super::target::Seeds;
use std::io;
use std::path::Path;

/// Heads, bodies, and rules with a request each.
pub fn l7(root: &Path) -> io::Result<Seeds> {
    let read = |file: &str| {
        let source = std::fs::read_to_string(root.join("crates/l7/tests").join(file))?;
        Ok::<_, io::Error>(literals::strings(&source))
    };
    let mut seeds = Seeds::default();
    for text in read("requests.rs")? {
        seeds.add(0, &head(&text, "GET / HTTP/1.1\r\nHost: a\r\n"));
        if text.starts_with('/') {
            seeds.add(0, &format!("GET {text} HTTP/1.1\r\nHost: a\r\n\r\n"));
        }
    }
    for text in read("responses.rs")? {
        seeds.add(1, &head(&text, "HTTP/1.1 200 OK\r\n"));
    }
    for text in read("chunks.rs")? {
        seeds.add(2, &format!("\u{3}{text}"));
        seeds.add(2, &format!("\u{3}{text}0\r\ngrpc-status: 0\r\n\r\n"));
    }
    for expression in read("matching.rs")? {
        let expression = expression.replace('\n', "");
        seeds.add(3, &format!("GET\n{expression}\nsvc\nx-token\n1\n\n{expression}\n\n\n"));
        seeds.add(3, &format!("GET\n/a\nsvc\n\n\nGET|HEAD\n{expression}\nsvc.*\n\n\n\n/.*\n\nx-token\n1"));
    }
    let words = "chunked transfer-encoding: content-length: connection: upgrade: websocket close host: HTTP/1.1 HTTP/1.0 \
                 expect: 100-continue grpc-status application/grpc keep-alive HTTP/1.1\r\n \r\n\r\n";
    seeds.words.extend(words.split(' ').filter(|word| !word.is_empty()).map(str::to_owned));
    Ok(seeds)
}

/// A whole head: the text where it is one, otherwise its lines after the first line and a Host field.
fn head(text: &str, before: &str) -> String {
    let is_whole = text.contains("HTTP/1") && text.contains('\n');
    match (is_whole, text.ends_with("\r\n")) {
        (true, _) => text.to_owned(),
        (false, true) => format!("{before}{text}\r\n"),
        (false, false) => format!("{before}{text}\r\n\r\n"),
    }
}

impl Seeds {
    /// Adds an input of a kind, cut in two ways.
    fn add(&mut self, kind: u8, text: &str) {
        for cuts in [0, 0x85] {
            // Escapes such as \xff of a test stand for one byte.
            let bytes = text.chars().map(|next| u8::try_from(u32::from(next)).unwrap_or(b'?'));
            self.inputs.insert([kind, cuts].into_iter().chain(bytes).collect());
        }
    }
}
