//! Runs inputs through a target without a fuzzer: `cargo run --no-default-features --example replay TARGET FILE...`.

use std::fs;
use std::io;

fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let target = arguments.next().unwrap_or_default();
    let check = match target.as_str() {
        "api" => checks::api::check,
        "l7" => checks::l7::check,
        "manifest" => checks::manifest::check,
        "packet" => checks::packet::check,
        "planner" => checks::planner::check,
        "proxy" => checks::proxy::check,
        _ => return Err(io::Error::other("name a target: api, l7, manifest, packet, planner or proxy")),
    };
    for file in arguments {
        println!("{file}");
        check(&fs::read(file)?);
    }
    Ok(())
}
