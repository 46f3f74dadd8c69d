//! Shortens the RCU grace periods of the kernel while interfaces are created and deleted, and where a change of policy waits for
//! packets.
//!
//! The kernel attaches a program to an interface after one grace period, and deletes an interface with programs after two, 16 ms
//! each, and holds the lock of all network configuration meanwhile. Expedited grace periods take less than 1 ms, and cost an
//! interrupt on every CPU that is busy.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The kernel setting.
const SETTING: &str = "/sys/kernel/rcu_expedited";

/// Expedites grace periods while any thread needs them.
#[derive(Debug)]
pub struct RcuExpediter {
    /// A file that exists while the setting is changed; after a crash, it tells the next start to reset the setting.
    marker: PathBuf,
    /// The kernel setting, open: it is reset without a free descriptor. None if the process may not write it.
    setting: Option<File>,
    users: Mutex<Users>,
}

#[derive(Debug, Default)]
struct Users {
    count: usize,
    has_set: bool,
    /// Nothing is expedited any more.
    is_over: bool,
}

/// Expedites grace periods until it is dropped.
#[derive(Debug)]
pub struct ExpeditedRcu(Arc<RcuExpediter>);

impl RcuExpediter {
    /// Nothing is expedited yet.
    pub fn new(marker: impl Into<PathBuf>) -> Arc<Self> {
        let setting = File::options().read(true).write(true).open(SETTING).ok();
        Arc::new(Self { marker: marker.into(), setting, users: Mutex::default() })
    }

    /// Expedites grace periods, unless the setting cannot be written. A setting of another program stays as it is.
    pub fn begin(self: &Arc<Self>) -> ExpeditedRcu {
        let mut users = self.users();
        if users.count == 0 && !users.is_over {
            users.has_set = self.set();
        }
        users.count += 1;
        ExpeditedRcu(Arc::clone(self))
    }

    /// Resets the setting before the process ends, also under a thread that still needs it, and does not change it again.
    pub fn end(&self) {
        let mut users = self.users();
        users.is_over = true;
        if std::mem::take(&mut users.has_set) {
            self.reset();
        }
    }

    /// Resets the setting where a crash left the marker.
    pub fn recover(&self) -> io::Result<()> {
        if self.marker.try_exists()? {
            self.reset();
        }
        Ok(())
    }

    fn set(&self) -> bool {
        if !self.is_off() || fs::write(&self.marker, "").is_err() {
            return false;
        }
        let is_set = self.write(b"1").is_ok();
        if !is_set {
            // A marker that cannot be removed does no harm: the setting that it resets has not changed.
            let _ = fs::remove_file(&self.marker);
        }
        is_set
    }

    fn reset(&self) {
        // Where this fails, the marker remains, and the next start tries again.
        let _ = self.write(b"0").and_then(|()| fs::remove_file(&self.marker));
    }

    fn is_off(&self) -> bool {
        let mut value = [0];
        self.setting.as_ref().is_some_and(|setting| setting.read_at(&mut value, 0).is_ok()) && value == *b"0"
    }

    fn write(&self, value: &[u8]) -> io::Result<()> {
        self.setting.as_ref().ok_or(io::ErrorKind::PermissionDenied)?.write_all_at(value, 0)
    }

    fn users(&self) -> MutexGuard<'_, Users> {
        // The count is right even after a panic, which drops the panicking thread's share.
        self.users.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for ExpeditedRcu {
    fn drop(&mut self) {
        let mut users = self.0.users();
        users.count -= 1;
        if users.count == 0 && std::mem::take(&mut users.has_set) {
            self.0.reset();
        }
    }
}
