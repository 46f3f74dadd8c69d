//! Measures how long a test-run of an empty program takes: the share of the test-run itself in the times of real programs.

use crate::sys;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

/// A program that does nothing, attached nowhere.
#[derive(Debug)]
pub struct Baseline {
    program: OwnedFd,
}

impl Baseline {
    /// Loads the program.
    pub fn load() -> io::Result<Self> {
        Ok(Self { program: sys::load_nothing()? })
    }

    /// Runs the program on a frame as [`crate::Loaded::run`] runs a hook's program, and returns the time of one run.
    pub fn measure(&self, frame: &[u8], repeat: u32) -> io::Result<Duration> {
        sys::time(self.program.as_fd(), frame, repeat).map(|time| Duration::from_nanos(time.into()))
    }
}
