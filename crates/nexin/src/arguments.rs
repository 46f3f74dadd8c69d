//! The command line, as it is typed.

use crate::command::Command;
use crate::global::Global;
use clap::Parser;

/// Identity-based network security with eBPF.
#[derive(Debug, Parser)]
#[command(name = "nexin", version, subcommand_required = true, arg_required_else_help = true)]
#[command(
    after_help = "Start with `nexin demo`. Exit codes: 0 success, 1 the answer is no, or the command failed, 2 invalid input."
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_tree_is_valid() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_command_has_a_description_and_an_example() {
        fn check(command: &clap::Command, path: &str) {
            let path = format!("{path} {}", command.get_name());
            assert!(command.get_about().is_some(), "{path} has no description");
            if command.has_subcommands() {
                command.get_subcommands().for_each(|inner| check(inner, &path));
            } else if !command.is_hide_set() {
                let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
                assert!(after.contains("nexin "), "{path} has no example");
            }
        }
        check(&Arguments::command(), "");
    }
}
