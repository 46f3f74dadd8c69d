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
        self.show_text(&format!("{} of {all}: {name}", done + 1));
    }

    /// Shows a text, as much of it as fits into a line.
    pub(crate) fn show_text(&mut self, text: &str) {
        if self.on_terminal {
            let width =
                rustix::termios::tcgetwinsize(io::stderr()).map_or(0, |size| usize::from(size.ws_col));
            let fits: String = text.chars().take(if width == 0 { usize::MAX } else { width }).collect();
            // Errors are ignored: the line only shows progress.
            let _ = write!(io::stderr(), "\r\u{1b}[K{fits}");
            self.is_shown = true;
        }
    }

    /// Whether there is a terminal that shows the line.
    pub(crate) fn is_visible(&self) -> bool {
        self.on_terminal
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
