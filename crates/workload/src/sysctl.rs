//! Kernel settings of the calling thread's network namespace.

use std::io;
use std::path::Path;

/// A setting could not be written.
#[derive(Debug, thiserror::Error)]
#[error("setting net.{name} to {value}: {source}")]
pub struct SysctlError {
    /// The setting under `net`, with slashes.
    pub name: String,
    /// The value.
    pub value: &'static str,
    /// The error.
    pub source: io::Error,
}

/// Writes settings under `/proc/sys/net` that have other values; skips those of IPv6 where the kernel has no IPv6.
///
/// A setting is read first: for some, a writer spins on a CPU while another thread changes any network of the host.
pub(crate) fn write<'a>(
    settings: impl IntoIterator<Item = (&'a str, &'static str)>,
) -> Result<(), SysctlError> {
    let root = Path::new("/proc/sys/net");
    for (name, value) in settings {
        let path = root.join(name);
        if std::fs::read(&path).is_ok_and(|found| found.trim_ascii_end() == value.as_bytes()) {
            continue;
        }
        match std::fs::write(path, value) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && lacks_family(root, name) => {}
            Err(source) => return Err(SysctlError { name: name.to_owned(), value, source }),
            Ok(()) => {}
        }
    }
    Ok(())
}

/// True for a setting of IPv6 where the kernel has no IPv6, or removed it from the interface.
fn lacks_family(root: &Path, name: &str) -> bool {
    let absent = |path: &Path| matches!(path.try_exists(), Ok(false));
    name.starts_with("ipv6/") && (absent(&root.join("ipv6")) || root.join(name).parent().is_some_and(absent))
}
