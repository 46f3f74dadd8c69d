//! Has the kernel wait less long for packets that are on their way, while many interfaces are deleted.
//!
//! An interface with programs is deleted only after two grace periods, and nothing else changes in any network meanwhile:
//! some 30 ms for each of them. Expedited grace periods take less than 1 ms, at the price of an interrupt on every CPU.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The kernel's setting.
const SETTING: &str = "/sys/kernel/rcu_expedited";

/// Grace periods are expedited for as long as this value lasts.
#[derive(Debug)]
pub struct ExpeditedRcu {
    marker: PathBuf,
}

impl ExpeditedRcu {
    /// Begins to expedite; none where the kernel does so already, or does not let us. The marker is a file that tells,
    /// after a crash, that the setting is ours to set back.
    pub fn begin(marker: &Path) -> Option<Self> {
        let is_off = fs::read_to_string(SETTING).is_ok_and(|value| value.trim() == "0");
        if !is_off || fs::write(marker, "").is_err() {
            return None;
        }
        if fs::write(SETTING, "1").is_err() {
            // A marker that stays does no harm: what it has set back is as it was.
            let _ = fs::remove_file(marker);
            return None;
        }
        Some(Self { marker: marker.to_owned() })
    }

    /// Ends what a crash left: the setting is as it was before.
    pub fn recover(marker: &Path) -> io::Result<()> {
        if marker.try_exists()? {
            drop(Self { marker: marker.to_owned() });
        }
        Ok(())
    }
}

impl Drop for ExpeditedRcu {
    fn drop(&mut self) {
        // While the marker is there it is tried again at the next start.
        let _ = fs::write(SETTING, "0").and_then(|()| fs::remove_file(&self.marker));
    }
}
