//! The filters of `nexin observe`: one option for each key of [`flow::Filter`].

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

/// Conditions, as `key=value`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Filters(pub(super) Vec<String>);

/// Keys, with the name of their value and their help.
const KEYS: &[(&str, &str, &str)] = &[
    ("verdict", "VERDICT", "forwarded, dropped, redirected or audit"),
    ("type", "TYPE", "drop, policy-verdict, trace or l7"),
    ("protocol", "PROTOCOL", "tcp, udp, sctp, icmp, icmpv4, icmpv6 or http"),
    ("http-method", "METHOD", "Method of the request"),
    ("http-path", "REGEX", "Path of the request"),
    ("http-status", "STATUS", "Status of the response: 403, or 5+ for 500 and above"),
    (
        "pod",
        "[NAMESPACE/]NAME",
        "Workload of either end, by a prefix of its name; without a namespace in `default`",
    ),
    (
        "from-pod",
        "[NAMESPACE/]NAME",
        "Workload of the source, by a prefix of its name; without a namespace in `default`",
    ),
    (
        "to-pod",
        "[NAMESPACE/]NAME",
        "Workload of the destination, by a prefix of its name; without a namespace in `default`",
    ),
    ("namespace", "NAMESPACE", "Namespace of either end"),
    ("from-namespace", "NAMESPACE", "Namespace of the source"),
    ("to-namespace", "NAMESPACE", "Namespace of the destination"),
    ("label", "[SOURCE:]KEY=VALUE", "Label of either end"),
    ("from-label", "[SOURCE:]KEY=VALUE", "Label of the source"),
    ("to-label", "[SOURCE:]KEY=VALUE", "Label of the destination"),
    ("identity", "IDENTITY", "Security identity of either end, by number or reserved name"),
    ("from-identity", "IDENTITY", "Security identity of the source, by number or reserved name"),
    ("to-identity", "IDENTITY", "Security identity of the destination, by number or reserved name"),
    ("ip", "ADDRESS", "Address or CIDR block of either end"),
    ("from-ip", "ADDRESS", "Address or CIDR block of the source"),
    ("to-ip", "ADDRESS", "Address or CIDR block of the destination"),
    ("port", "PORT", "Port of either end"),
    ("from-port", "PORT", "Port of the source"),
    ("to-port", "PORT", "Port of the destination"),
];

fn options() -> impl Iterator<Item = Arg> {
    KEYS.iter().map(|(key, value, help)| {
        let option = Arg::new(*key).long(*key).value_name(*value).help(*help);
        option.action(ArgAction::Append).help_heading("Filters")
    })
}

impl Args for Filters {
    fn augment_args(command: Command) -> Command {
        command.args(options())
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Filters {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut filters = Self::default();
        filters.update_from_arg_matches(matches)?;
        Ok(filters)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        for (key, ..) in KEYS {
            let values = matches.get_many::<String>(key).into_iter().flatten();
            self.0.extend(values.map(|value| format!("{key}={value}")));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_is_a_key_of_the_filter() {
        for (key, ..) in KEYS {
            if let Err(error) = flow::Filter::parse([format!("{key}=x").as_str()]) {
                assert!(!matches!(error, flow::FilterError::Key(_)), "{key} is not a key");
            }
        }
    }

    #[test]
    fn options_become_conditions() {
        let command = Filters::augment_args(Command::new("observe"));
        let matches = command.get_matches_from([
            "observe",
            "--to-pod",
            "app1",
            "--verdict",
            "drop",
            "--to-pod",
            "app2",
        ]);
        let filters = Filters::from_arg_matches(&matches).unwrap();
        assert_eq!(filters.0, ["verdict=drop", "to-pod=app1", "to-pod=app2"]);
    }
}
