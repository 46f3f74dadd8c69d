//! Writes the seeds and the dictionary of every target: `cargo run --example seeds`.

use checks::seeds::{self, Seeds};
use std::fs;
use std::io;
use std::path::Path;

fn main() -> io::Result<()> {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (target, seeds) in seeds::all(&fuzz.join(".."))? {
        write(&fuzz.join("seeds").join(target), &seeds)?;
        println!("{target}: {} seeds, {} words", seeds.inputs.len(), seeds.words.len());
    }
    Ok(())
}

fn write(directory: &Path, seeds: &Seeds) -> io::Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => fs::create_dir_all(directory)?,
    }
    for (number, input) in seeds.inputs.iter().enumerate() {
        fs::write(directory.join(format!("{number:05}")), input)?;
    }
    let quoted = |word: &String| {
        let bytes = word.bytes().map(|byte| format!("\\x{byte:02x}")).collect::<String>();
        format!("\"{bytes}\"\n")
    };
    // libFuzzer refuses an empty dictionary, and an empty word.
    let words = seeds.words.iter().filter(|word| !word.is_empty());
    let lines = ["# words\n".to_owned()].into_iter().chain(words.map(quoted));
    fs::write(directory.with_extension("dict"), lines.collect::<String>())
}
