//! Faults while exchanges go on: agents, nodes, the API server, kubelet and runtime end or are cut off.

mod steps;

use super::flows::{self, Flow, Kind, Run};
use super::plan::{Machine, Plan};
use super::{kubectl, pods};
use crate::command::run_with_input;
use anyhow::{Context, Result, bail};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use steps::{STEPS, Setting};
pub(super) use steps::{agent, answers, process, run_nexin};

const POLICY: &str = include_str!("faults/policy.yaml");
/// The time until a policy is in force.
const ENFORCED: Duration = Duration::from_secs(20);

/// Causes the faults of these names, or all; an exchange that is lost or wrong is an error.
pub(super) fn run_test(plan: &Plan, names: &[String], outage: Duration) -> Result<()> {
    let unknown = names.iter().find(|name| STEPS.iter().all(|step| step.name != name.as_str()));
    if let Some(name) = unknown {
        let known: Vec<&str> = STEPS.iter().map(|step| step.name).collect();
        bail!("no fault `{name}`; the faults are {}", known.join(", "));
    }
    create(plan)?;
    let mut failed = Vec::new();
    for step in STEPS.iter().filter(|step| names.is_empty() || names.iter().any(|name| name == step.name)) {
        let setting = Setting { plan, outage, run: Arc::default() };
        let started = Instant::now();
        let result = if step.ends_pods {
            // The flows are between the next pods.
            (step.cause)(&setting).and_then(|()| flow_during(plan, &setting.run, &|| Ok(())))
        } else {
            flow_during(plan, &setting.run, &|| (step.cause)(&setting))
        };
        let result = result.and_then(|()| healthy(plan));
        match result {
            Ok(()) => {
                println!("cluster: fault {}: passed ({:.0} s)", step.name, started.elapsed().as_secs_f32())
            }
            Err(error) => {
                println!("cluster: fault {}: {error:#}", step.name);
                failed.push(step.name);
            }
        }
    }
    if failed.is_empty() { Ok(()) } else { bail!("failed: {}", failed.join(", ")) }
}

/// Creates a server on the first node, and clients and strangers on two nodes, under the policy.
pub(super) fn create(plan: &Plan) -> Result<()> {
    let node = |number| Machine::Node(number);
    pods::create(
        plan,
        &[
            pods::idle("server", node(1), "server"),
            pods::idle("client-1", node(1), "client"),
            pods::idle("client-2", node(2), "client"),
            pods::idle("stranger-1", node(1), "stranger"),
            pods::idle("stranger-2", node(2), "stranger"),
        ],
    )?;
    pods::ready(plan, "app in (server,client,stranger)", 5)?;
    run_with_input(kubectl::command(&plan.name).args(["apply", "--filename", "-"]), POLICY)?;
    Ok(())
}

/// The flows between the pods as they run now.
fn flows(plan: &Plan) -> Result<Vec<Flow>> {
    let server = pods::ready(plan, "app=server", 1)?.pop().context("there is a server")?;
    flows::serve(&server)?;
    let mut all = Vec::new();
    for (app, kinds) in [("client", &Kind::ALLOWED[..]), ("stranger", &[Kind::Denied])] {
        for client in pods::ready(plan, &format!("app={app}"), 2)? {
            let may_be_cut = client.name.ends_with('2');
            all.extend(kinds.iter().map(|kind| Flow {
                kind: *kind,
                client: client.clone(),
                server: server.clone(),
                may_be_cut,
            }));
        }
    }
    Ok(all)
}

/// Runs flows before, during and after a fault.
pub(super) fn during(plan: &Plan, cause: &dyn Fn() -> Result<()>) -> Result<()> {
    flow_during(plan, &Arc::default(), cause)
}

fn flow_during(plan: &Plan, run: &Arc<Run>, cause: &dyn Fn() -> Result<()>) -> Result<()> {
    flows::exchange_during(enforced(plan)?, run, cause)
}

/// The flows, once the policy is in force: an exchange of each kind had the right result.
fn enforced(plan: &Plan) -> Result<Vec<Flow>> {
    let flows = flows(plan)?;
    let deadline = Instant::now() + ENFORCED;
    loop {
        let run = Arc::new(Run::default());
        let threads: Vec<_> = flows.iter().cloned().map(|flow| flow.start(&run)).collect();
        thread::sleep(Duration::from_millis(200));
        run.end();
        let mut lost = Vec::new();
        for thread in threads {
            let (flow, tally) = thread.join().expect("a flow does not panic")?;
            lost.extend(
                tally.lost.first().map(|lost| format!("{:?} from {}: {lost}", flow.kind, flow.client.name)),
            );
        }
        match lost.first() {
            None => return Ok(flows),
            Some(lost) if Instant::now() > deadline => {
                bail!("policy is not in force before the fault: {lost}")
            }
            Some(_) => thread::sleep(Duration::from_millis(200)),
        }
    }
}

/// Waits until the status of every agent has no problem.
fn healthy(plan: &Plan) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(60);
    for node in plan.node_machines() {
        loop {
            match steps::status(plan, node) {
                Ok(()) => break,
                Err(error) if Instant::now() > deadline => {
                    return Err(error.context(format!("the agent of {node}")));
                }
                Err(_) => thread::sleep(Duration::from_millis(500)),
            }
        }
    }
    Ok(())
}
