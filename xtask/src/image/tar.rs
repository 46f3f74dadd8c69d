//! Writes tar archives in the ustar format, with root as the owner and no time, so that equal content has equal bytes.

use anyhow::{Result, bail};

const BLOCK: usize = 512;
/// The longest path; the format's prefix field for longer ones is not needed here.
const LONGEST_PATH: usize = 100;

/// A tar archive in memory.
#[derive(Debug, Default)]
pub(super) struct Archive {
    bytes: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    File = b'0' as isize,
    Link = b'2' as isize,
    Directory = b'5' as isize,
}

/// The header of an entry.
#[derive(Debug)]
struct Header<'a> {
    path: &'a str,
    kind: Kind,
    mode: u32,
    size: usize,
    target: &'a str,
}

impl Archive {
    pub(super) fn directory(&mut self, path: &str, mode: u32) -> Result<()> {
        self.header(&Header { path, kind: Kind::Directory, mode, size: 0, target: "" })
    }

    pub(super) fn link(&mut self, path: &str, target: &str) -> Result<()> {
        self.header(&Header { path, kind: Kind::Link, mode: 0o777, size: 0, target })
    }

    pub(super) fn file(&mut self, path: &str, mode: u32, content: &[u8]) -> Result<()> {
        self.header(&Header { path, kind: Kind::File, mode, size: content.len(), target: "" })?;
        self.bytes.extend_from_slice(content);
        self.bytes.resize(self.bytes.len().next_multiple_of(BLOCK), 0);
        Ok(())
    }

    /// The archive with its end, two blocks of zeros.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.bytes.resize(self.bytes.len() + 2 * BLOCK, 0);
        self.bytes
    }

    fn header(&mut self, header: &Header<'_>) -> Result<()> {
        if header.path.len() > LONGEST_PATH || header.target.len() > LONGEST_PATH {
            bail!("{} has more than {LONGEST_PATH} bytes, the most of a path in an image", header.path);
        }
        self.bytes.extend_from_slice(&header.block());
        Ok(())
    }
}

impl Header<'_> {
    fn block(&self) -> [u8; BLOCK] {
        let mut block = [0; BLOCK];
        let mut put = |at: usize, text: &str| block[at..at + text.len()].copy_from_slice(text.as_bytes());
        put(0, self.path);
        put(100, &format!("{:07o}", self.mode));
        put(108, "0000000");
        put(116, "0000000");
        put(124, &format!("{:011o}", self.size));
        put(136, "00000000000");
        // The checksum counts its own field as spaces.
        put(148, "        ");
        put(157, self.target);
        put(257, "ustar\x0000");
        block[156] = self.kind as u8;
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        block
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::process::{Command, Stdio};

    /// Lists an archive with the machine's own tar.
    fn listed(bytes: &[u8]) -> String {
        let mut tar = Command::new("tar")
            .args(["--list", "--verbose", "--numeric-owner", "--utc"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        tar.stdin.take().unwrap().write_all(bytes).unwrap();
        let output = tar.wait_with_output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap().split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn tar_reads_what_is_written() {
        let mut archive = Archive::default();
        archive.directory("tmp", 0o1777).unwrap();
        archive.file("tmp/a", 0o755, &[1; 513]).unwrap();
        archive.link("tmp/b", "/tmp/a").unwrap();
        let time = "1970-01-01 00:00";
        let wanted = format!(
            "drwxrwxrwt 0/0 0 {time} tmp -rwxr-xr-x 0/0 513 {time} tmp/a lrwxrwxrwx 0/0 0 {time} tmp/b -> /tmp/a"
        );
        assert_eq!(listed(&archive.finish()).replace("tmp/ -", "tmp -"), wanted);
    }

    #[test]
    fn a_path_that_does_not_fit_is_refused() {
        assert!(Archive::default().directory(&"a/".repeat(51), 0o755).is_err());
    }
}
