//! Chores of the repository that are more than three lines long.
#![forbid(unsafe_code)]

mod agnhost;
mod architecture;
mod circles;
mod cluster;
mod command;
mod image;
mod kubernetes;
mod lacking;
mod source;
mod tidy;
mod tree;
mod words;

use anyhow::Context;
use lacking::Lacking;
use std::path::Path;
use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask tidy              check the shape of the tree
       cargo xtask architecture      write the table and the drawing of the crates into ARCHITECTURE.md
       cargo xtask circles [TREE]    show the circles between the files of each crate, of this tree or of another one
       cargo xtask words [TREE]      count the private words of this tree, or of another one by its path
       cargo xtask places [PART]     show where the private words of this tree stand; PART is a crate or a directory
       cargo xtask image BINARY ARCHIVE      write the OCI image of a static nexin; `make image` builds both
       cargo xtask kubernetes [MODULE...]    build the programs of Kubernetes that a cluster and its tests need
       cargo xtask cluster ...               run a Kubernetes cluster on this machine; without arguments it lists its commands";

fn main() -> ExitCode {
    cluster::run_timed_plugin().unwrap_or_else(run).unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        if error.is::<Lacking>() { ExitCode::from(lacking::EXIT_CODE) } else { ExitCode::FAILURE }
    })
}

/// Runs the command that the arguments name.
fn run() -> anyhow::Result<ExitCode> {
    let mut given = std::env::args();
    if given.next().is_some_and(|program| program.rsplit('/').next() == Some(agnhost::NAME)) {
        return agnhost::run(&given.collect::<Vec<_>>());
    }
    let arguments: Vec<String> = std::env::args().skip(2).collect();
    let argument = arguments.first().cloned();
    match std::env::args().nth(1).as_deref() {
        Some("tidy") => tidy(),
        Some("architecture") => architecture(),
        Some("circles") => circles(argument.as_deref()),
        Some("words") => words(argument.as_deref()),
        Some("places") => places(argument.as_deref()),
        Some("image") => match &arguments[..] {
            [binary, archive] => {
                image::write_own(Path::new(binary), Path::new(archive)).map(|()| ExitCode::SUCCESS)
            }
            _ => Ok(usage()),
        },
        Some("kubernetes") => kubernetes::build(&arguments).map(|()| ExitCode::SUCCESS),
        Some("cluster") => cluster::run(&arguments),
        _ => Ok(usage()),
    }
}

fn usage() -> ExitCode {
    eprintln!("{USAGE}");
    ExitCode::from(2)
}

/// Prints the findings of all checks; succeeds without findings.
fn tidy() -> anyhow::Result<ExitCode> {
    let files = tree::files(tree::root())?;
    let findings = tidy::check(&files, &tree::crates()?);
    for finding in &findings {
        eprintln!("{finding}");
    }
    println!("tidy: {} files, {} findings", files.len(), findings.len());
    Ok(if findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Writes the part of ARCHITECTURE.md that comes from the crates.
fn architecture() -> anyhow::Result<ExitCode> {
    let path = tree::root().join(architecture::FILE);
    let text = std::fs::read_to_string(&path)?;
    let written = architecture::rewritten(&text, &tree::crates()?);
    std::fs::write(&path, written.context("the marks of the part on the crates are missing")?)?;
    Ok(ExitCode::SUCCESS)
}

/// Prints the circles between files; succeeds without circles.
fn circles(tree: Option<&str>) -> anyhow::Result<ExitCode> {
    let circles = circles::find(&tree::files(tree.map_or(tree::root(), Path::new))?);
    for circle in &circles {
        print!("{circle}");
    }
    println!("circles: {}", circles.len());
    Ok(if circles.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Counts the private words of a tree.
fn words(tree: Option<&str>) -> anyhow::Result<ExitCode> {
    let files = tree::files(tree.map_or(tree::root(), Path::new))?;
    print!("{}", words::Counts(&words::find(&files)));
    Ok(ExitCode::SUCCESS)
}

/// Prints the places of the private words of this tree.
fn places(part: Option<&str>) -> anyhow::Result<ExitCode> {
    let files = tree::files(tree::root())?;
    let places = words::find(&files);
    for place in places.iter().filter(|place| part.is_none_or(|part| words::part(place.path) == part)) {
        println!("{place}");
    }
    Ok(ExitCode::SUCCESS)
}
