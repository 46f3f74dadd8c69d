//! The effective global options: the agent's socket, the output format, and the colours.

use crate::global::{Color, Global, Output};
use crate::table::Table;
use api::{CallError, Client};
use serde::Serialize;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;

/// The effective global options of one command.
#[derive(Debug)]
pub(crate) struct Session {
    /// The agent's socket.
    pub(crate) socket: PathBuf,
    /// The output format.
    pub(crate) output: Output,
    color: Color,
}

/// The role of a text, shown by its colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    /// Success, or allowed.
    Good,
    /// Failure, or denied.
    Bad,
    /// The most important part of a line.
    Strong,
    /// The least important part of a line.
    Faint,
}

impl Session {
    /// Resolves the options, with environment variables as defaults.
    pub(crate) fn new(typed: Global) -> Self {
        let from_environment = || std::env::var_os("NEXIN_SOCKET").map(PathBuf::from);
        let socket = typed.socket.or_else(from_environment).unwrap_or_else(|| api::DEFAULT_SOCKET.into());
        Self { socket, output: typed.output, color: typed.color }
    }

    /// Connects to the agent.
    pub(crate) fn agent(&self) -> Result<Client, CallError> {
        Client::connect(&self.socket)
    }

    /// Whether the output is JSON.
    pub(crate) fn is_json(&self) -> bool {
        self.output == Output::Json
    }

    /// Prints a value as JSON.
    pub(crate) fn print_json(&self, value: &impl Serialize) -> io::Result<()> {
        let mut out = io::stdout().lock();
        serde_json::to_writer_pretty(&mut out, value)?;
        writeln!(out)
    }

    /// Prints a table, at most as wide as the terminal.
    pub(crate) fn print_table<const N: usize>(&self, table: &Table<N>) -> io::Result<()> {
        let mut out = io::stdout().lock();
        for (index, line) in table.lines(terminal_width()).iter().enumerate() {
            let line = if index == 0 { self.paint(Tone::Strong, line) } else { line.clone() };
            writeln!(out, "{line}")?;
        }
        out.flush()
    }

    /// Prints a line and flushes it.
    pub(crate) fn print_line(&self, line: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        writeln!(out, "{line}")?;
        out.flush()
    }

    /// Prints a line on standard error.
    pub(crate) fn print_error_line(&self, line: &str) {
        let _ = writeln!(io::stderr(), "{line}");
    }

    /// Prints an error on standard error. A failure to print it cannot be reported.
    pub(crate) fn print_error(&self, message: &str) {
        let label = paint("error:", Tone::Bad, self.colors(&io::stderr()));
        let _ = writeln!(io::stderr(), "{label} {message}");
    }

    /// The text in its colour, if standard output is coloured.
    pub(crate) fn paint(&self, tone: Tone, text: &str) -> String {
        paint(text, tone, self.colors(&io::stdout()))
    }

    /// The value of `--color` for a command whose output this command prints.
    pub(crate) fn color_of_children(&self) -> &'static str {
        if self.colors(&io::stdout()) { "always" } else { "never" }
    }

    /// Whether lines of flows are coloured.
    pub(crate) fn flow_paint(&self) -> flow::Paint {
        if self.colors(&io::stdout()) { flow::Paint::Ansi } else { flow::Paint::Plain }
    }

    /// The width of the terminal; none if standard output is not a terminal.
    pub(crate) fn width(&self) -> Option<usize> {
        terminal_width()
    }

    fn colors(&self, stream: &impl IsTerminal) -> bool {
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        match self.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => stream.is_terminal() && !unwanted,
        }
    }
}

fn paint(text: &str, tone: Tone, colors: bool) -> String {
    let code = match tone {
        _ if !colors => return text.to_string(),
        Tone::Good => 32,
        Tone::Bad => 31,
        Tone::Strong => 1,
        Tone::Faint => 2,
    };
    format!("\u{1b}[{code}m{text}\u{1b}[0m")
}

/// The width of the terminal, if standard output is one.
fn terminal_width() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    (size.ws_col > 0).then_some(usize::from(size.ws_col))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_coloured_only_on_request() {
        assert_eq!(paint("allow", Tone::Good, true), "\u{1b}[32mallow\u{1b}[0m");
        assert_eq!(paint("allow", Tone::Good, false), "allow");
    }

    #[test]
    fn the_socket_of_the_command_line_takes_precedence() {
        let typed = Global { socket: Some("/tmp/x".into()), output: Output::Text, color: Color::Auto };
        assert_eq!(Session::new(typed).socket, PathBuf::from("/tmp/x"));
    }
}
