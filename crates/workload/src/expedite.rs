//! Shortens the RCU grace periods of the kernel while many interfaces are deleted.
//!
//! The kernel deletes an interface with programs after two grace periods, about 30 ms, and holds the lock of all network
//! configuration meanwhile. Expedited grace periods take less than 1 ms, and cost an interrupt on every CPU.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The kernel setting.
const SETTING: &str = "/sys/kernel/rcu_expedited";

/// Expedites grace periods until it is dropped.
#[derive(Debug)]
pub struct ExpeditedRcu {
    marker: PathBuf,
}

impl ExpeditedRcu {
    /// Sets the kernel setting; none where it is set already or cannot be written. The marker is a file; after a crash, it
    /// tells the next start to reset the setting.
    pub fn begin(marker: &Path) -> Option<Self> {
        let is_off = fs::read_to_string(SETTING).is_ok_and(|value| value.trim() == "0");
        if !is_off || fs::write(marker, "").is_err() {
            return None;
        }
        if fs::write(SETTING, "1").is_err() {
            // A marker that cannot be removed does no harm: the setting that it resets has not changed.
            let _ = fs::remove_file(marker);
            return None;
        }
        Some(Self { marker: marker.to_owned() })
    }

    /// Resets the setting where a crash left the marker.
    pub fn recover(marker: &Path) -> io::Result<()> {
        if marker.try_exists()? {
            drop(Self { marker: marker.to_owned() });
        }
        Ok(())
    }
}

impl Drop for ExpeditedRcu {
    fn drop(&mut self) {
        // Where this fails, the marker remains and the next start tries again.
        let _ = fs::write(SETTING, "0").and_then(|()| fs::remove_file(&self.marker));
    }
}
