//! A line on the terminal that says how far a command is.

use std::io::{self, IsTerminal, Write};

/// A line on standard error, where that is a terminal.
#[derive(Debug)]
pub(crate) struct Progress {
    is_shown: bool,
    on_terminal: bool,
}

impl Progress {
    /// Shows nothing yet.
    pub(crate) fn start() -> Self {
        Self { is_shown: false, on_terminal: io::stderr().is_terminal() }
    }

    /// Shows that `done` of `all` are done, and what comes now.
    pub(crate) fn show(&mut self, name: &str, done: usize, all: usize) {
        if self.on_terminal {
            // An error is ignored: the line only passes the time.
            let _ = write!(io::stderr(), "\r\u{1b}[K{} of {all}: {name}", done + 1);
            self.is_shown = true;
        }
    }

    /// Removes the line.
    pub(crate) fn clear(&mut self) {
        if self.is_shown {
            let _ = write!(io::stderr(), "\r\u{1b}[K");
            self.is_shown = false;
        }
    }
}

/// An error leaves no line behind.
impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}
