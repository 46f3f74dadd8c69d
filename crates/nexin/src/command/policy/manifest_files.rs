//! The manifest files that `-f` names: one file, a directory of them, or standard input.

use crate::outcome::BadInput;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// A file and what is in it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ManifestFile {
    /// Its name, for messages.
    pub(super) name: String,
    /// Its text.
    pub(super) text: String,
}

/// Reads what was named; of directories the files that end in `.yaml`, `.yml` or `.json`, in order of name.
pub(super) fn read(named: &[PathBuf]) -> anyhow::Result<Vec<ManifestFile>> {
    let mut files = Vec::new();
    for path in named {
        if path.as_os_str() == "-" {
            let mut text = String::new();
            io::stdin().read_to_string(&mut text).map_err(|error| wrong(path, &error))?;
            files.push(ManifestFile { name: "<stdin>".into(), text });
        } else if path.is_dir() {
            for file in in_directory(path)? {
                files.push(read_file(&file)?);
            }
        } else {
            files.push(read_file(path)?);
        }
    }
    Ok(files)
}

fn in_directory(directory: &Path) -> Result<Vec<PathBuf>, BadInput> {
    let entries = fs::read_dir(directory).map_err(|error| wrong(directory, &error))?;
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.retain(|path| path.is_file() && is_manifest(path));
    files.sort();
    if files.is_empty() {
        return Err(BadInput(format!("{}: no file here ends in .yaml, .yml or .json", directory.display())));
    }
    Ok(files)
}

fn is_manifest(path: &Path) -> bool {
    path.extension().is_some_and(|extension| ["yaml", "yml", "json"].iter().any(|known| extension == *known))
}

fn read_file(path: &Path) -> Result<ManifestFile, BadInput> {
    let text = fs::read_to_string(path).map_err(|error| wrong(path, &error))?;
    Ok(ManifestFile { name: path.display().to_string(), text })
}

fn wrong(path: &Path, error: &io::Error) -> BadInput {
    BadInput(format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_gives_its_manifests_in_order() {
        let directory = std::env::temp_dir().join(format!("nexin-manifests-{}", std::process::id()));
        fs::create_dir_all(directory.join("sub.yaml")).unwrap();
        for (name, text) in [("b.yml", "b"), ("a.yaml", "a"), ("c.json", "c"), ("notes.txt", "-")] {
            fs::write(directory.join(name), text).unwrap();
        }
        let texts: Vec<_> =
            read(std::slice::from_ref(&directory)).unwrap().into_iter().map(|file| file.text).collect();
        fs::remove_dir_all(&directory).unwrap();
        assert_eq!(texts, ["a", "b", "c"]);
    }

    #[test]
    fn what_is_not_there_is_named() {
        let error = read(&["no/such/file.yaml".into()]).unwrap_err();
        assert!(error.downcast_ref::<BadInput>().is_some());
        assert_eq!(error.to_string(), "no/such/file.yaml: No such file or directory (os error 2)");
    }
}
