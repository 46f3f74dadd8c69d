//! Chores of the repository that are more than three lines long.
#![forbid(unsafe_code)]

mod circles;
mod source;
mod tidy;
mod tree;

use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask tidy       check the shape of the tree
       cargo xtask circles    show the circles between the files of each crate";

fn main() -> anyhow::Result<ExitCode> {
    match std::env::args().nth(1).as_deref() {
        Some("tidy") => tidy(),
        Some("circles") => circles(),
        _ => {
            eprintln!("{USAGE}");
            Ok(ExitCode::from(2))
        }
    }
}

/// Prints what is out of shape; succeeds where nothing is.
fn tidy() -> anyhow::Result<ExitCode> {
    let files = tree::files()?;
    let findings = tidy::check(&files, &tree::crates()?);
    for finding in &findings {
        eprintln!("{finding}");
    }
    println!("tidy: {} files, {} findings", files.len(), findings.len());
    Ok(if findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Prints the circles between files; succeeds where there are none.
fn circles() -> anyhow::Result<ExitCode> {
    let circles = circles::find(&tree::files()?);
    for circle in &circles {
        print!("{circle}");
    }
    println!("circles: {}", circles.len());
    Ok(if circles.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
