//! The files of an image's layer, taken from this machine.

use super::tar::Archive;
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Files, links and directories by their path in the image, without a leading slash.
#[derive(Debug, Default)]
pub(crate) struct Layer {
    entries: BTreeMap<String, Entry>,
}

#[derive(Debug, Clone)]
enum Entry {
    Directory { mode: u32 },
    Program(PathBuf),
    Text(String),
    Link(String),
}

impl Layer {
    /// Adds a directory of this mode.
    pub(crate) fn directory(&mut self, path: &str, mode: u32) {
        self.add(path, Entry::Directory { mode });
    }

    /// Adds a program and the shared libraries that it names.
    pub(crate) fn program(&mut self, path: &str, source: &Path) -> Result<()> {
        for library in libraries(source)? {
            self.add(&library, Entry::Program(PathBuf::from(&library)));
        }
        self.add(path, Entry::Program(source.to_owned()));
        Ok(())
    }

    /// Adds a program that names no library.
    pub(crate) fn static_program(&mut self, path: &str, source: &Path) -> Result<()> {
        let libraries = libraries(source)?;
        if !libraries.is_empty() {
            bail!(
                "{} is not static: it names {}; RUSTFLAGS=\"-C target-feature=+crt-static\" and --target make it static",
                source.display(),
                libraries.join(", ")
            );
        }
        self.program(path, source)
    }

    /// Adds a file with this text.
    pub(crate) fn text(&mut self, path: &str, text: &str) {
        self.add(path, Entry::Text(text.to_owned()));
    }

    /// Adds a symbolic link.
    pub(crate) fn link(&mut self, path: &str, target: &str) {
        self.add(path, Entry::Link(target.to_owned()));
    }

    fn add(&mut self, path: &str, entry: Entry) {
        let path = path.trim_matches('/');
        for (at, _) in path.match_indices('/') {
            self.entries.entry(path[..at].to_owned()).or_insert(Entry::Directory { mode: 0o755 });
        }
        self.entries.insert(path.to_owned(), entry);
    }

    /// The layer as a tar archive.
    pub(super) fn tar(&self) -> Result<Vec<u8>> {
        let mut archive = Archive::default();
        // A parent comes before what it holds, since its path is the shorter one of two that begin alike.
        for (path, entry) in &self.entries {
            match entry {
                Entry::Directory { mode } => archive.directory(path, *mode)?,
                Entry::Text(text) => archive.file(path, 0o644, text.as_bytes())?,
                Entry::Link(target) => archive.link(path, target)?,
                Entry::Program(source) => {
                    let bytes = std::fs::read(source);
                    archive.file(
                        path,
                        0o755,
                        &bytes.with_context(|| format!("could not read {}", source.display()))?,
                    )?;
                }
            }
        }
        Ok(archive.finish())
    }
}

/// The shared libraries that the dynamic linker would load for a program; none for a static one.
fn libraries(program: &Path) -> Result<Vec<String>> {
    if !program.exists() {
        bail!("there is no {} for an image", program.display());
    }
    let output = Command::new("ldd").arg(program).output().context("could not run ldd")?;
    Ok(paths(&String::from_utf8_lossy(&output.stdout)))
}

/// The paths in the output of `ldd`: `libc.so.6 => /lib/libc.so.6 (0x…)`, `/lib64/ld-linux-x86-64.so.2 (0x…)`.
fn paths(listed: &str) -> Vec<String> {
    let path = |line: &str| {
        let (before, _) = line.rsplit_once(" (0x")?;
        let path = before.rsplit(' ').next()?.trim();
        path.starts_with('/').then(|| path.to_owned())
    };
    listed.lines().filter_map(path).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_paths_of_libraries_are_read() {
        let listed = "\tlinux-vdso.so.1 (0x00007f)\n\tlibc.so.6 => /lib/libc.so.6 (0x00007f)\n\t/lib64/ld.so.2 (0x00007f)\n";
        assert_eq!(paths(listed), ["/lib/libc.so.6", "/lib64/ld.so.2"]);
        assert_eq!(paths("\tnot a dynamic executable\n"), [""; 0]);
    }

    #[test]
    fn parents_are_directories_and_keep_a_mode_that_was_set() {
        let mut layer = Layer::default();
        layer.directory("tmp", 0o1777);
        layer.link("/tmp/a/b", "c");
        let paths: Vec<&str> = layer.entries.keys().map(String::as_str).collect();
        assert_eq!(paths, ["tmp", "tmp/a", "tmp/a/b"]);
        assert!(matches!(layer.entries["tmp"], Entry::Directory { mode: 0o1777 }));
    }
}
