//! The user and the capabilities of a command, from `--user` and `--cap-drop`.

use crate::outcome::BadInput;
use anyhow::Context;
use std::fs;
use std::process::Command;
use workload::{Capabilities, Privileges, User};

/// The privileges of a command, and the environment variables of its user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ProcessLimits {
    privileges: Privileges,
    environment: Vec<(&'static str, String)>,
}

/// A user of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Account {
    name: String,
    user: u32,
    group: u32,
    home: String,
}

impl ProcessLimits {
    /// Resolves the options by the users and groups of this host.
    pub(super) fn parse(user: Option<&str>, dropped: &[String]) -> anyhow::Result<Self> {
        let mut limits = match user {
            Some(user) => {
                let read = |file| fs::read(file).with_context(|| format!("reading {file}"));
                let (accounts, groups) = (read("/etc/passwd")?, read("/etc/group")?);
                let texts = [accounts, groups].map(|text| String::from_utf8_lossy(&text).into_owned());
                Self::for_user(user, &texts)?
            }
            None => Self::default(),
        };
        for name in dropped {
            let named = Capabilities::named(name).ok_or_else(|| {
                BadInput(format!(
                    "--cap-drop {name}: there is no such capability; name one as capabilities(7) does, or ALL"
                ))
            })?;
            let known = limits.privileges.dropped;
            limits.privileges.dropped = Some(known.map_or(named, |known| known.and(named)));
        }
        Ok(limits)
    }

    /// Sets the privileges and environment of a command.
    pub(super) fn set(self, command: &mut Command) {
        command.envs(self.environment);
        self.privileges.limit(command);
    }

    fn for_user(typed: &str, [accounts, groups]: &[String; 2]) -> Result<Self, BadInput> {
        let wrong = |what: &str| BadInput(format!("--user {typed}: {what}"));
        let (user, group) = match typed.split_once(':') {
            Some((user, group)) => (user, Some(group)),
            None => (typed, None),
        };
        if user.is_empty() || group.is_some_and(str::is_empty) {
            return Err(wrong("give a user, or a user and a group, as in 1000:1000"));
        }
        let known: Vec<Account> = accounts.lines().filter_map(account).collect();
        let number = user.parse::<u32>().ok().filter(|number| *number != u32::MAX);
        let by_name = known.iter().find(|account| account.name == user);
        let account = by_name.or_else(|| known.iter().find(|account| Some(account.user) == number));
        let number = account.map(|account| account.user).or(number);
        let number = number.ok_or_else(|| wrong(&format!("there is no user {user} in /etc/passwd")))?;
        let (first, others) = match group {
            Some(group) => {
                let found = group_number(group, groups);
                let none = || wrong(&format!("there is no group {group} in /etc/group"));
                (found.ok_or_else(none)?, Vec::new())
            }
            None => account.map_or((number, Vec::new()), |account| {
                (account.group, groups_of(&account.name, account.group, groups))
            }),
        };
        let environment = match account {
            Some(Account { name, home, .. }) => {
                vec![("HOME", home.clone()), ("USER", name.clone()), ("LOGNAME", name.clone())]
            }
            None => {
                vec![("HOME", "/".to_owned()), ("USER", number.to_string()), ("LOGNAME", number.to_string())]
            }
        };
        let user = Some(User { user: number, group: first, others });
        Ok(Self { privileges: Privileges { user, dropped: None }, environment })
    }
}

/// A line of `/etc/passwd` (passwd(5)).
fn account(line: &str) -> Option<Account> {
    let fields: Vec<&str> = line.split(':').collect();
    let [name, _, user, group, _, home, ..] = fields[..] else { return None };
    Some(Account {
        name: name.into(),
        user: user.parse().ok()?,
        group: group.parse().ok()?,
        home: home.into(),
    })
}

/// Name, number and members of a line of `/etc/group` (group(5)).
fn group(line: &str) -> Option<(&str, u32, &str)> {
    let fields: Vec<&str> = line.split(':').collect();
    let [name, _, number, members, ..] = fields[..] else { return None };
    Some((name, number.parse().ok()?, members))
}

fn group_number(typed: &str, groups: &str) -> Option<u32> {
    let by_name = groups.lines().filter_map(group).find(|(name, ..)| *name == typed);
    by_name.map(|(_, number, _)| number).or_else(|| typed.parse().ok().filter(|number| *number != u32::MAX))
}

/// The groups of a user, including the primary group.
fn groups_of(user: &str, first: u32, groups: &str) -> Vec<u32> {
    let is_member = |members: &str| members.split(',').any(|member| member == user);
    let member = groups.lines().filter_map(group).filter(|(_, _, members)| is_member(members));
    let others = member.map(|(_, number, _)| number).filter(|number| *number != first);
    std::iter::once(first).chain(others).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCOUNTS: &str =
        "root:x:0:0:root:/root:/bin/sh\nweb:x:33:34::/srv/web:/bin/sh\n7:x:70:70::/seven:\nbroken\n";
    const GROUPS: &str = "root:x:0:\nweb:x:34:\nlogs:x:4:web,7\nother:x:5:webber\nbroken\n";

    fn parse(typed: &str) -> Result<ProcessLimits, String> {
        ProcessLimits::for_user(typed, &[ACCOUNTS.into(), GROUPS.into()]).map_err(|BadInput(said)| said)
    }

    #[test]
    fn users_are_found_by_name_and_number_with_their_groups() {
        let check = |typed: &str, user: u32, group: u32, others: &[u32], home: &str| {
            let limits = parse(typed).unwrap();
            let found = limits.privileges.user.unwrap();
            assert_eq!(found, User { user, group, others: others.to_vec() }, "{typed}");
            assert_eq!(limits.environment[0], ("HOME", home.to_owned()), "{typed}");
        };
        check("web", 33, 34, &[34, 4], "/srv/web");
        check("33", 33, 34, &[34, 4], "/srv/web");
        check("web:logs", 33, 4, &[], "/srv/web");
        check("web:99", 33, 99, &[], "/srv/web");
        check("1000", 1000, 1000, &[], "/");
        check("1000:web", 1000, 34, &[], "/");
        check("0", 0, 0, &[0], "/root");
        check("7", 70, 70, &[70, 4], "/seven");
    }

    #[test]
    fn an_unknown_user_or_group_is_refused_by_name() {
        let check = |typed: &str, expected: &str| {
            let said = parse(typed).unwrap_err();
            assert!(said.starts_with(&format!("--user {typed}: ")) && said.contains(expected), "{said}");
        };
        check("nobody-here", "no user nobody-here");
        check("web:nobody-here", "no group nobody-here");
        check("4294967295", "no user 4294967295");
        check("web:4294967295", "no group 4294967295");
        check("-1", "no user -1");
        for empty in ["", ":", "web:", ":web"] {
            check(empty, "as in 1000:1000");
        }
    }

    #[test]
    fn several_capabilities_are_combined_and_unknown_ones_are_refused() {
        let dropped = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(ToString::to_string).collect();
            ProcessLimits::parse(None, &names).map(|limits| limits.privileges.dropped)
        };
        let named = |name| Capabilities::named(name).unwrap();
        assert_eq!(dropped(&[]).unwrap(), None);
        assert_eq!(dropped(&["NET_RAW", "cap_kill"]).unwrap(), Some(named("KILL").and(named("NET_RAW"))));
        assert_eq!(dropped(&["ALL", "KILL"]).unwrap(), Some(named("ALL")));
        assert!(
            dropped(&["FLY"])
                .unwrap_err()
                .to_string()
                .contains("--cap-drop FLY: there is no such capability")
        );
    }
}
