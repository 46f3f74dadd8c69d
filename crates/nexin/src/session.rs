//! What the global options mean here: where the agent is, how to print, and whether in colour.

use crate::global::{Color, Global, Output};
use crate::table::Table;
use api::{CallError, Client};
use serde::Serialize;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;

/// The surroundings of one command.
#[derive(Debug)]
pub(crate) struct Session {
    /// Where the agent listens.
    pub(crate) socket: PathBuf,
    /// How data is printed.
    pub(crate) output: Output,
    color: Color,
}

/// What a piece of text is, where there are colours to say so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    /// It holds, it was allowed.
    Good,
    /// It does not hold, it was refused.
    Bad,
    /// What matters on this line.
    Strong,
    /// What can be skipped.
    Faint,
}

impl Session {
    /// Works out what was typed, with the environment for what was not.
    pub(crate) fn new(typed: Global) -> Self {
        let told = || std::env::var_os("NEXIN_SOCKET").map(PathBuf::from);
        let socket = typed.socket.or_else(told).unwrap_or_else(|| api::DEFAULT_SOCKET.into());
        Self { socket, output: typed.output, color: typed.color }
    }

    /// A connection to the agent.
    pub(crate) fn agent(&self) -> Result<Client, CallError> {
        Client::connect(&self.socket)
    }

    /// Whether data is wanted for machines.
    pub(crate) fn is_json(&self) -> bool {
        self.output == Output::Json
    }

    /// Prints a value for machines.
    pub(crate) fn print_json(&self, value: &impl Serialize) -> io::Result<()> {
        let mut out = io::stdout().lock();
        serde_json::to_writer_pretty(&mut out, value)?;
        writeln!(out)
    }

    /// Prints a table, as wide as the terminal at most.
    pub(crate) fn print_table<const N: usize>(&self, table: &Table<N>) -> io::Result<()> {
        let mut out = io::stdout().lock();
        for (index, line) in table.lines(terminal_width()).iter().enumerate() {
            let line = if index == 0 { self.paint(Tone::Strong, line) } else { line.clone() };
            writeln!(out, "{line}")?;
        }
        out.flush()
    }

    /// Prints a line for people, at once.
    pub(crate) fn print_line(&self, line: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        writeln!(out, "{line}")?;
        out.flush()
    }

    /// Prints a finding, where errors belong.
    pub(crate) fn print_error_line(&self, line: &str) {
        let _ = writeln!(io::stderr(), "{line}");
    }

    /// Prints what went wrong, where errors belong. That nobody listens there cannot be told to anybody.
    pub(crate) fn print_error(&self, message: &str) {
        let label = paint("error:", Tone::Bad, self.colors(&io::stderr()));
        let _ = writeln!(io::stderr(), "{label} {message}");
    }

    /// The text in its tone, where standard output shows colours.
    pub(crate) fn paint(&self, tone: Tone, text: &str) -> String {
        paint(text, tone, self.colors(&io::stdout()))
    }

    /// What `--color` is for a command whose output is shown by this one.
    pub(crate) fn color_of_children(&self) -> &'static str {
        if self.colors(&io::stdout()) { "always" } else { "never" }
    }

    /// Whether the lines of flows have colours.
    pub(crate) fn flow_paint(&self) -> flow::Paint {
        if self.colors(&io::stdout()) { flow::Paint::Ansi } else { flow::Paint::Plain }
    }

    /// How many columns the terminal has; nothing where output goes elsewhere.
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

/// Columns of the terminal that standard output is, if it is one.
fn terminal_width() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    (size.ws_col > 0).then_some(usize::from(size.ws_col))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_painted_only_where_colours_are_wanted() {
        assert_eq!(paint("allow", Tone::Good, true), "\u{1b}[32mallow\u{1b}[0m");
        assert_eq!(paint("allow", Tone::Good, false), "allow");
    }

    #[test]
    fn the_typed_socket_wins() {
        let typed = Global { socket: Some("/tmp/x".into()), output: Output::Text, color: Color::Auto };
        assert_eq!(Session::new(typed).socket, PathBuf::from("/tmp/x"));
    }
}
