//! What HTTP rules cost by their number, in CPU time: checking, compiling, a change of one rule, and requests.
//!
//! `cargo bench -p nexin-l7`

use l7::{HttpRule, Matcher, RequestView, cost, expression};
use rustix::time::{ClockId, clock_gettime};
use std::hint::black_box;

/// How often a step is measured; the median is printed.
const ROUNDS: usize = 15;
/// Requests with different paths, of which each matches a rule.
const REQUESTS: usize = 64;

fn main() {
    println!(
        "{:>6} {:>10} {:>10} {:>10} {:>10} {:>14} {:>14} {:>14}",
        "rules",
        "parse",
        "check cost",
        "compile",
        "update",
        "first requests",
        "after update",
        "later requests"
    );
    for count in [1, 100, 1000, 5000] {
        row(count);
    }
    println!("microseconds: the whole set, or one of {REQUESTS} requests with different paths");
}

/// Measures a set of this many rules.
fn row(count: usize) {
    let rules = self::rules(count, None);
    let changed = self::rules(count, Some(count / 2));
    let parse = median(|| rules.iter().for_each(check));
    let check_cost = median(|| cost::check(&rules).expect("the rules are ordinary"));
    let compile = median(|| Matcher::new(&rules).expect("the rules are valid"));
    let (first, matcher) = requests(|| Matcher::new(&rules).expect("the rules are valid"));
    let update = median(|| matcher.updated(&changed).expect("one rule differs"));
    let (after, updated) = requests(|| matcher.updated(&changed).expect("one rule differs"));
    let later = median(|| ask(&updated)) / REQUESTS as f64;
    println!(
        "{count:>6} {parse:>10.1} {check_cost:>10.1} {compile:>10.1} {update:>10.1} {first:>14.2} \
         {after:>14.2} {later:>14.2}"
    );
}

/// The mean CPU time of the first requests of a matcher, and the last matcher.
fn requests(make: impl Fn() -> Matcher) -> (f64, Matcher) {
    let mut times = Vec::new();
    loop {
        let matcher = make();
        let began = cpu_time();
        ask(&matcher);
        times.push((cpu_time() - began) / REQUESTS as f64);
        if times.len() == ROUNDS {
            times.sort_by(f64::total_cmp);
            return (times[ROUNDS / 2], matcher);
        }
    }
}

fn ask(matcher: &Matcher) {
    for number in 0..REQUESTS {
        let path = format!("/api/v{}/items{number}", number % 7);
        let request = RequestView { method: "GET", path: &path, host: "app", headers: &[] };
        black_box(matcher.matches(&request));
    }
}

/// Rules of which nine in ten are plain paths, sorted as in a rule set.
fn rules(count: usize, changed: Option<usize>) -> Vec<HttpRule> {
    let rule = |number: usize| {
        let ending = match (changed == Some(number), number % 10) {
            (true, _) => "/changed",
            (false, 0) => "/[0-9]+(/.*)?",
            (false, _) => "",
        };
        HttpRule {
            method: Some(["GET", "POST", "PUT"][number % 3].into()),
            path: Some(format!("/api/v{}/items{number}{ending}", number % 7)),
            ..HttpRule::default()
        }
    };
    let mut rules: Vec<HttpRule> = (0..count).map(rule).collect();
    rules.sort();
    rules
}

fn check(rule: &HttpRule) {
    for text in [&rule.method, &rule.path].into_iter().flatten() {
        black_box(expression::check(text)).expect("the expression is valid");
    }
}

/// The median CPU time of a step, in microseconds.
fn median<T>(step: impl Fn() -> T) -> f64 {
    let time = |_| {
        let began = cpu_time();
        let result = black_box(step());
        let time = cpu_time() - began;
        drop(result);
        time
    };
    let mut times: Vec<f64> = (0..ROUNDS).map(time).collect();
    times.sort_by(f64::total_cmp);
    times[ROUNDS / 2]
}

/// The CPU time of this thread, in microseconds.
fn cpu_time() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e6 + time.tv_nsec as f64 / 1e3
}
