//! The steps of attachments, as the agents of the nodes logged them.

use super::super::kubectl;
use super::super::plan::Plan;
use anyhow::Result;
use std::collections::BTreeMap;
use std::time::Duration;

/// The times of each step, by its place in the order of the steps; first their sum.
pub(super) fn of(plan: &Plan) -> Result<BTreeMap<String, Vec<Duration>>> {
    let selector = "--selector=app.kubernetes.io/name=nexin-agent";
    let log = kubectl::run(plan, &["logs", "--namespace=nexin", selector, "--tail=-1"])?;
    let mut steps: BTreeMap<String, Vec<Duration>> = BTreeMap::new();
    for (place, step, time) in log.lines().filter_map(parse).flatten() {
        steps.entry(format!("{place} {step}")).or_default().push(time);
    }
    Ok(steps)
}

/// The steps in a line such as `info: pod shop/web is attached as nx7, container c, in 6.1 ms: pod 0.2, turn 5.9`.
fn parse(line: &str) -> Option<Vec<(usize, &str, Duration)>> {
    let (_, times) = line.split_once(" is attached as ")?.1.split_once(", in ")?;
    let (sum, steps) = times.split_once(" ms: ")?;
    let millis = |text: &str| Some(Duration::from_secs_f64(text.parse::<f64>().ok()? / 1000.0));
    let mut parsed = vec![(0, "sum", millis(sum)?)];
    for (place, step) in steps.split(", ").enumerate() {
        let (name, time) = step.rsplit_once(' ')?;
        parsed.push((place + 1, name, millis(time)?));
    }
    Some(parsed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_an_attachment_has_its_sum_and_its_steps() {
        let line = "info: pod shop/web is attached as nx7, container c1, in 6.1 ms: pod 0.2, turn 5.9";
        let micros = Duration::from_micros;
        let expected = vec![(0, "sum", micros(6100)), (1, "pod", micros(200)), (2, "turn", micros(5900))];
        assert_eq!(parse(line), Some(expected));
        assert_eq!(parse("info: ready socket=/run/nexin/agent.sock"), None);
    }
}
