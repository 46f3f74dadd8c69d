//! Reads the manifest files of `-f`: a file, a directory of files, or standard input.

use crate::outcome::BadInput;
use clap::Args;
use manifest::Diagnostic;
use manifest::test::TestFile;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Whether to read sub-directories.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Args)]
pub(super) struct Depth {
    /// Read the sub-directories of directories, too
    #[arg(short = 'R', long)]
    recursive: bool,
}

/// A file with its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ManifestFile {
    /// Its name, for messages.
    pub(super) name: String,
    /// Its text.
    pub(super) text: String,
    /// How it was found.
    pub(super) origin: Origin,
}

/// How a file was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// It is named on the command line.
    Named,
    /// It is in a directory that is named on the command line.
    Found,
    /// It is an object of a cluster.
    Cluster,
}

/// Extensions of PolicyTest files.
const TESTS: [&str; 3] = [".test.yaml", ".test.yml", ".test.json"];

impl ManifestFile {
    /// Whether it is a PolicyTest file, by its name.
    pub(super) fn is_test(&self) -> bool {
        TESTS.iter().any(|ending| self.name.ends_with(ending))
    }

    /// Parses it as a PolicyTest file; paths in it are relative to its directory.
    pub(super) fn tests(&self) -> Result<TestFile, Vec<Diagnostic>> {
        let directory = Path::new(&self.name).parent().unwrap_or(Path::new(""));
        manifest::test::parse(&self.name, &self.text, &mut |path| fs::read_to_string(directory.join(path)))
    }
}

/// The message on skipped documents of other kinds, if there are any.
pub(super) fn skipped(number: usize) -> Option<String> {
    match number {
        0 => None,
        1 => Some("1 object of another kind skipped".to_owned()),
        many => Some(format!("{many} objects of other kinds skipped")),
    }
}

/// Reads files, and in directories all files that end in `.yaml`, `.yml` or `.json`, by name.
pub(super) fn read(named: &[PathBuf], depth: Depth) -> anyhow::Result<Vec<ManifestFile>> {
    let mut files = Vec::new();
    for path in named {
        if path.as_os_str() == "-" {
            let mut text = String::new();
            io::stdin().read_to_string(&mut text).map_err(|error| wrong(path, &error))?;
            files.push(ManifestFile { name: "<stdin>".into(), text, origin: Origin::Named });
        } else if path.is_dir() {
            for file in in_directory(path, depth)? {
                files.push(read_file(&file, Origin::Found)?);
            }
        } else {
            files.push(read_file(path, Origin::Named)?);
        }
    }
    Ok(files)
}

fn in_directory(directory: &Path, depth: Depth) -> Result<Vec<PathBuf>, BadInput> {
    let (mut files, mut waiting) = (Vec::new(), vec![directory.to_owned()]);
    let mut has_directories = false;
    while let Some(next) = waiting.pop() {
        for entry in fs::read_dir(&next).map_err(|error| wrong(&next, &error))? {
            let entry = entry.map_err(|error| wrong(&next, &error))?;
            let (path, kind) = (entry.path(), entry.file_type().map_err(|error| wrong(&next, &error))?);
            has_directories |= kind.is_dir();
            // Links to directories are not followed, since they may form a loop.
            if kind.is_dir() && depth.recursive {
                waiting.push(path);
            } else if path.is_file() && is_manifest(&path) {
                files.push(path);
            }
        }
    }
    files.sort();
    if files.is_empty() {
        let hint = if has_directories && !depth.recursive { "; -R reads its sub-directories" } else { "" };
        return Err(BadInput(format!(
            "{}: no file here ends in .yaml, .yml or .json{hint}",
            directory.display()
        )));
    }
    Ok(files)
}

fn is_manifest(path: &Path) -> bool {
    path.extension().is_some_and(|extension| ["yaml", "yml", "json"].iter().any(|known| extension == *known))
}

fn read_file(path: &Path, origin: Origin) -> Result<ManifestFile, BadInput> {
    let text = fs::read_to_string(path).map_err(|error| wrong(path, &error))?;
    Ok(ManifestFile { name: path.display().to_string(), text, origin })
}

fn wrong(path: &Path, error: &io::Error) -> BadInput {
    BadInput(format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manifests_of_a_directory_are_read_by_name() {
        let directory = std::env::temp_dir().join(format!("nexin-manifests-{}", std::process::id()));
        fs::create_dir_all(directory.join("sub.yaml/deep")).unwrap();
        fs::create_dir_all(directory.join("empty/sub")).unwrap();
        let files = [
            ("b.yml", "b"),
            ("a.yaml", "a"),
            ("c.json", "c"),
            ("notes.txt", "-"),
            ("sub.yaml/deep/d.yaml", "d"),
        ];
        for (name, text) in files {
            fs::write(directory.join(name), text).unwrap();
        }
        let texts = |recursive| {
            let files = read(std::slice::from_ref(&directory), Depth { recursive }).unwrap();
            files.into_iter().map(|file| file.text).collect::<Vec<_>>()
        };
        let found = [texts(false), texts(true)];
        let nothing =
            |recursive| read(&[directory.join("empty")], Depth { recursive }).unwrap_err().to_string();
        let said = [nothing(false), nothing(true)];
        fs::remove_dir_all(&directory).unwrap();
        assert_eq!(found, [vec!["a", "b", "c"], vec!["a", "b", "c", "d"]]);
        assert!(said[0].ends_with("no file here ends in .yaml, .yml or .json; -R reads its sub-directories"));
        assert!(said[1].ends_with("no file here ends in .yaml, .yml or .json"));
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = read(&["no/such/file.yaml".into()], Depth::default()).unwrap_err();
        assert!(error.downcast_ref::<BadInput>().is_some());
        assert_eq!(error.to_string(), "no/such/file.yaml: No such file or directory (os error 2)");
    }
}
