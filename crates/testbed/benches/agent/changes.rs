//! One HTTP rule of many changes while connections are open.

use crate::case::{Recorder, scaled};
use crate::figures::median;
use crate::node::{Node, Workload};
use crate::traffic::{HttpConnection, serve};
use anyhow::{Context, Result, ensure};
use std::fmt::Write as _;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How many rules and changes at full scale.
const RULES: usize = 5_000;
const CHANGES: usize = 20;
/// How long the bystander is watched without a change.
const QUIET: Duration = Duration::from_secs(3);
/// Between two changes.
const PAUSE: Duration = Duration::from_millis(200);
/// How long the effect of a change may take.
const EFFECT: Duration = Duration::from_secs(20);

/// A policy by which a workload allows requests from another.
fn policy(server: &str, client: &str, rules: &str) -> String {
    format!(
        "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {{name: {server}}}\nspec:\n  endpointSelector: \
         {{matchLabels: {{app: {server}}}}}\n  ingress:\n  - fromEndpoints:\n    - matchLabels: {{app: {client}}}\n    \
         toPorts:\n    - ports: [{{port: \"80\", protocol: TCP}}]\n      rules:\n        http:\n{rules}"
    )
}

/// Many rules, of which one has the number of a turn.
fn many(count: usize, turn: usize) -> Result<String> {
    let mut rules = format!("        - {{method: GET, path: /turn-{turn}}}\n");
    for rule in 1..count {
        writeln!(rules, "        - {{method: GET, path: /service-{rule}/items}}")?;
    }
    Ok(policy("app1", "app2", &rules))
}

/// Changes one rule over and over.
pub(crate) fn change(node: &mut Node, scale: f64, record: &mut Recorder<'_>) -> Result<()> {
    let rules = scaled(RULES, scale);
    node.start()?;
    let own = std::process::id();
    let made = |name| node.workload(name, own);
    let (app1, app2, app3, app4) = (made("app1")?, made("app2")?, made("app3")?, made("app4")?);
    serve(&app1)?;
    serve(&app3)?;
    let bystanders = node.directory.join("bystander.yaml");
    fs::write(&bystanders, policy("app3", "app4", "        - {method: GET, path: /public}\n"))?;
    node.apply(&bystanders)?;
    let files = (0..=CHANGES).map(|turn| {
        let file = node.directory.join(format!("turn-{turn}.yaml"));
        fs::write(&file, many(rules, turn)?)?;
        Ok(file)
    });
    let files = files.collect::<Result<Vec<_>>>()?;
    node.apply(&files[0])?;
    let mut live = HttpConnection::open(&app2, &app1)?;
    ensure!(live.fetch("/turn-0")? == 200, "the request that the policy allows is refused");
    let (is_changing, is_over) = (AtomicBool::new(false), AtomicBool::new(false));
    let (effects, waits) = thread::scope(|scope| {
        let bystander = scope.spawn(|| ask_beside(&app4, &app3, &is_changing, &is_over));
        thread::sleep(QUIET);
        is_changing.store(true, Ordering::Relaxed);
        let effects = (1..=CHANGES).map(|turn| {
            thread::sleep(PAUSE);
            effect(node, &files[turn], &mut live, turn)
        });
        let effects = effects.collect::<Result<Vec<Duration>>>();
        is_over.store(true, Ordering::Relaxed);
        (effects, bystander.join().expect("asking does not panic"))
    });
    let (effects, [quiet, during]) = (effects?, waits?);
    let effects: Vec<f64> = effects.iter().map(milliseconds).collect();
    record("command begun to effect on a live connection, median", median(&effects));
    record("the same, longest change", effects.iter().copied().fold(0.0, f64::max));
    record("wait of a bystander's request, median", median(&during));
    record("the same, 99.9 of a hundred", during[(during.len() - 1) * 999 / 1000]);
    record("the same, longest wait", during[during.len() - 1]);
    record("longest without any change", quiet[quiet.len() - 1]);
    Ok(())
}

fn milliseconds(time: &Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Applies a file, and sends requests on the live connection meanwhile: when the first has the effect, from the start of the
/// command.
fn effect(node: &Node, file: &std::path::Path, live: &mut HttpConnection, turn: usize) -> Result<Duration> {
    let path = format!("/turn-{turn}");
    thread::scope(|scope| {
        let began = Instant::now();
        let applied = scope.spawn(|| node.apply(file));
        while live.fetch(&path).context("the live connection ended")? != 200 {
            ensure!(began.elapsed() < EFFECT, "a change had no effect for {} s", EFFECT.as_secs());
        }
        let effect = began.elapsed();
        applied.join().expect("applying does not panic")?;
        Ok(effect)
    })
}

/// Sends requests until it is over: sorted waits in milliseconds without and with changes.
fn ask_beside(
    from: &Workload,
    to: &Workload,
    is_changing: &AtomicBool,
    is_over: &AtomicBool,
) -> Result<[Vec<f64>; 2]> {
    let mut waits = [Vec::new(), Vec::new()];
    let mut connection = HttpConnection::open(from, to)?;
    connection.fetch("/public")?;
    while !is_over.load(Ordering::Relaxed) {
        let began = Instant::now();
        let status = connection.fetch("/public").context("the bystander's connection ended")?;
        ensure!(status == 200, "the bystander gets {status}");
        waits[usize::from(is_changing.load(Ordering::Relaxed))].push(milliseconds(&began.elapsed()));
        thread::sleep(Duration::from_micros(200));
    }
    waits.iter_mut().for_each(|waits| waits.sort_by(f64::total_cmp));
    ensure!(waits.iter().all(|waits| !waits.is_empty()), "the bystander sent no request");
    Ok(waits)
}
