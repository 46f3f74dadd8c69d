//! What the births of a run came to.

use super::super::dial::Outcome;
use super::super::figures::{machine, quantiles};
use super::super::plan::{Machine, Plan};
use super::super::timed_plugin::{self, TimedRequest};
use super::attachment_steps;
use super::checkers::Checks;
use super::newborn;
use anyhow::{Result, bail};
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

/// How many wrong attempts are printed.
const SHOWN: usize = 20;

/// Counts and times of a run.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Newborns that finished their checks.
    finished: u64,
    allowed: u64,
    denied: u64,
    wrong: Vec<String>,
    /// From the start of a newborn's process to the first connection that policy allows, and to the last one.
    first: Vec<Duration>,
    last: Vec<Duration>,
    /// When a newborn's first allowed connection was made, since the epoch, by its name.
    connected: BTreeMap<String, Duration>,
    /// Addresses, and how often a newborn had them.
    addresses: BTreeMap<IpAddr, u64>,
    checks: Checks,
}

impl Tally {
    pub(super) fn note_born(&mut self, addresses: &[IpAddr]) {
        addresses.iter().for_each(|address| *self.addresses.entry(*address).or_default() += 1);
    }

    /// Adds what a newborn found.
    pub(super) fn add_newborn(&mut self, name: &str, node: Machine, found: &Value) {
        self.finished += 1;
        let mut times = Vec::new();
        for attempt in found["attempts"].as_array().into_iter().flatten() {
            let is_allowed = attempt["is_allowed"].as_bool().unwrap_or(false);
            let outcome = Outcome::parse(&attempt["outcome"]);
            let greeting = attempt["greeting"].as_str().unwrap_or_default();
            let took = Duration::from_micros(attempt["micros"].as_u64().unwrap_or(0));
            *(if is_allowed { &mut self.allowed } else { &mut self.denied }) += 1;
            if !newborn::is_right(&outcome, greeting, is_allowed) {
                let policy = if is_allowed { "allows" } else { "denies" };
                self.wrong.push(format!(
                    "{name} on {node} connected to {greeting} at {}, which policy {policy}: {outcome} after {took:?}",
                    attempt["address"].as_str().unwrap_or_default()
                ));
            } else if is_allowed {
                times.push(took);
                let at = Duration::from_micros(attempt["at_micros"].as_u64().unwrap_or(u64::MAX));
                let first = self.connected.entry(name.to_owned()).or_insert(at);
                *first = at.min(*first);
            }
        }
        self.first.extend(times.iter().min());
        self.last.extend(times.iter().max());
    }

    pub(super) fn add_checks(&mut self, mut checks: Checks) {
        self.wrong.append(&mut checks.wrong);
        self.checks = checks;
    }

    /// Prints counts and times.
    pub(super) fn print(&mut self, plan: &Plan) -> Result<()> {
        let reused = self.addresses.values().filter(|count| **count > 1).count();
        println!("cluster: {}", machine()?);
        println!(
            "cluster: {} newborns finished; {} connections of newborns that policy allows, {} that it denies; {} addresses, {} \
             of them given again",
            self.finished,
            self.allowed,
            self.denied,
            self.addresses.len(),
            reused
        );
        let added = timed_plugin::requests(plan, "ADD")?;
        let mut since_sandbox = self.since_sandbox(&added);
        let Checks { allowed, denied, ahead, ahead_answered, times, .. } = &mut self.checks;
        println!(
            "cluster: {allowed} connections to newborns that policy allows, {denied} that it denies; {ahead} before an address \
             was known, of which {ahead_answered} were answered"
        );
        let times_of =
            |what: &str, times: &mut Vec<Duration>| println!("cluster: {what}: {}", quantiles(times));
        times_of("start of CNI ADD to a newborn's first allowed connection", &mut since_sandbox);
        times_of("process of a newborn to its first allowed connection", &mut self.first);
        times_of("process of a newborn to the last of its allowed connections", &mut self.last);
        times_of("an allowed connection to a newborn", times);
        let removed = timed_plugin::requests(plan, "DEL")?;
        let took = |requests: &[TimedRequest]| requests.iter().map(|one| one.took).collect::<Vec<_>>();
        times_of("CNI ADD, from start to end of the plugin", &mut took(&added));
        times_of("CNI DEL, from start to end of the plugin", &mut took(&removed));
        for (step, mut times) in attachment_steps::of(plan)? {
            times_of(&format!("CNI ADD in the agent, {step}"), &mut times);
        }
        Ok(())
    }

    /// How long after the start of its ADD each newborn connected to a peer that policy allows.
    fn since_sandbox(&self, added: &[TimedRequest]) -> Vec<Duration> {
        let since = |one: &TimedRequest| self.connected.get(&one.pod)?.checked_sub(one.at);
        added.iter().filter_map(since).collect()
    }

    /// An error if anything was wrong.
    pub(super) fn verdict(&self) -> Result<()> {
        if self.wrong.is_empty() {
            println!("cluster: no connection was wrongly allowed, and none wrongly refused");
            return Ok(());
        }
        let shown: Vec<&str> = self.wrong.iter().take(SHOWN).map(String::as_str).collect();
        bail!("{} connections went wrong, among them:\n{}", self.wrong.len(), shown.join("\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_first_allowed_connection_of_a_newborn_counts_from_its_add() {
        let mut tally = Tally::default();
        let attempt = |at: u64, is_allowed: bool| {
            let outcome = if is_allowed { json!({"greeting": "s 1"}) } else { json!("silence") };
            json!({"greeting": "s ", "is_allowed": is_allowed, "outcome": outcome, "micros": 5, "at_micros": at})
        };
        let attempts = [attempt(90, true), attempt(70, true), attempt(60, false)];
        tally.add_newborn("n", Machine::Node(1), &json!({ "attempts": attempts }));
        let added = |pod: &str| TimedRequest {
            pod: pod.into(),
            at: Duration::from_micros(20),
            took: Duration::from_micros(10),
        };
        assert_eq!(tally.since_sandbox(&[added("n"), added("other")]), [Duration::from_micros(50)]);
    }

    #[test]
    fn a_newborn_that_reached_a_denied_peer_or_missed_an_allowed_one_is_wrong() {
        let check = |is_allowed: bool, outcome: Value, is_wrong: bool| {
            let mut tally = Tally::default();
            let attempt = json!({"greeting": "s ", "address": "a", "is_allowed": is_allowed, "outcome": outcome, "micros": 5});
            tally.add_newborn("n", Machine::Node(1), &json!({"attempts": [attempt]}));
            assert_eq!(tally.verdict().is_err(), is_wrong, "{is_allowed} {outcome}");
        };
        check(true, json!({"greeting": "s 1"}), false);
        check(true, json!("reset"), true);
        check(false, json!({"greeting": "s 1"}), true);
        check(false, json!("silence"), false);
    }
}
