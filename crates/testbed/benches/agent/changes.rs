//! One HTTP rule of many changes while connections are open.

use crate::bystander::Bystander;
use crate::case::{Recorder, scaled};
use crate::figures::median;
use crate::node::Node;
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
/// How long the bystander is watched with each change, and as long between two changes. The live connection sends requests all
/// the time.
const PHASE: Duration = Duration::from_millis(300);
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
    let mut bystander = Bystander::connect(&app4, &app3, node.proxy()?)?;
    let (is_changing, is_over) = (AtomicBool::new(false), AtomicBool::new(false));
    let (effects, waits) = thread::scope(|scope| {
        let bystander = scope.spawn(|| bystander.watch(&is_changing, &is_over));
        let effects = (1..=CHANGES).map(|turn| {
            is_changing.store(false, Ordering::Relaxed);
            fetch_for(&mut live, PHASE)?;
            is_changing.store(true, Ordering::Relaxed);
            let effect = effect(node, &files[turn], &mut live, turn)?;
            fetch_for(&mut live, PHASE.saturating_sub(effect))?;
            Ok(effect)
        });
        let effects = effects.collect::<Result<Vec<Duration>>>();
        is_over.store(true, Ordering::Relaxed);
        (effects, bystander.join().expect("asking does not panic"))
    });
    let effects: Vec<f64> = effects?.iter().map(|effect| effect.as_secs_f64() * 1e3).collect();
    let [between, during] = waits?;
    record("command begun to effect on a live connection, median", median(&effects));
    record("the same, longest change", effects.iter().copied().fold(0.0, f64::max));
    record("wait of a bystander's request, median", during.quantile(0.5));
    record("the same, 99.9 of a hundred", during.quantile(0.999));
    record("the same, longest", during.longest());
    record("longest between the changes", between.longest());
    record("longest without waits for a CPU", during.longest_by_node());
    record("longest between the changes without waits for a CPU", between.longest_by_node());
    record("waits above 2 ms, of 100,000", during.too_long());
    record("waits above 2 ms between the changes, of 100,000", between.too_long());
    Ok(())
}

/// Sends requests on the live connection for this long.
fn fetch_for(live: &mut HttpConnection, time: Duration) -> Result<()> {
    let began = Instant::now();
    while began.elapsed() < time {
        live.fetch("/service-1/items").context("the live connection ended")?;
    }
    Ok(())
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
