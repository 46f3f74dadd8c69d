//! Rules of nftables.

use anyhow::{Context, Result, ensure};
use std::io::Write;
use std::process::{Command, Stdio};

/// Loads rules in the calling thread's namespace.
pub(crate) fn load(rules: &str) -> Result<()> {
    let mut nft = Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("`nft` does not start; it comes with the package nftables")?;
    nft.stdin.take().expect("its input is a pipe").write_all(rules.as_bytes())?;
    let output = nft.wait_with_output()?;
    let reason = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "nft refuses the rules: {}", reason.trim_end());
    Ok(())
}
