//! A progress line on the terminal.

use std::io::{self, IsTerminal, Write};

/// A line on standard error, if that is a terminal.
#[derive(Debug)]
pub(crate) struct Progress {
    is_shown: bool,
    on_terminal: bool,
}

impl Progress {
    /// Shows no line yet.
    pub(crate) fn start() -> Self {
        Self { is_shown: false, on_terminal: io::stderr().is_terminal() }
    }

    /// Shows the number and name of the next step.
    pub(crate) fn show(&mut self, name: &str, done: usize, all: usize) {
        if self.on_terminal {
            // Errors are ignored: the line only shows progress.
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

/// Removes the line after an error, too.
impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}
