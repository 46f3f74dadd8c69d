//! Faults between the agents and the API server: watches end and expire, and requests are refused or fail. Policies that change meanwhile
//! are in force afterwards, no exchange is lost, and the agents send few requests.

use super::steps::{apply, expect_policies, policy, step};
use crate::cluster::fault_proxy::{self, Fault, FaultProxy};
use crate::cluster::plan::{PLANE, Plan};
use crate::cluster::{faults, kubectl};
use anyhow::{Result, ensure};
use std::thread;
use std::time::{Duration, Instant};

const AGENTS: &str = "daemonset/nexin-agent";
const NAMESPACE: &str = "--namespace=nexin";
/// How long each fault lasts.
const LASTING: Duration = Duration::from_secs(20);
/// How often streams are ended while the fault is that they end.
const ENDING: Duration = Duration::from_millis(500);
/// The watched kinds of an agent: those of `kinds.rs` in the agent, and the definitions.
const KINDS: usize = 17;
/// The most attempts of one watch while requests fail: the waits are 0.5, 1, 2, 4, 8 and 16 s, each up to a third shorter.
const FAILED_ATTEMPTS: usize = 8;
/// The most attempts of one watch while streams end: a wait ends early when another watch of the agent is answered again.
const ENDED_ATTEMPTS: usize = 20;
/// The requests of an attempt: a list or a check, and a watch.
const REQUESTS: usize = 2;

const STORMS: [(&str, Fault); 6] = [
    ("watches end", Fault::None),
    ("watches are too old (410)", Fault::Expired),
    ("too many requests (429), to be sent again after 3 s", Fault::Busy(Some(3))),
    ("too many requests (429)", Fault::Busy(None)),
    ("500, 502, 503, 504", Fault::Failing),
    ("no answer", Fault::Closed),
];

/// Runs all faults with agents that reach the API server by the proxy.
pub(super) fn check(plan: &Plan) -> Result<()> {
    let proxy = FaultProxy::start(plan)?;
    let host = format!("KUBERNETES_SERVICE_HOST={}", PLANE[0]);
    let port = format!("KUBERNETES_SERVICE_PORT={}", fault_proxy::PORT);
    restart_agents(plan, &[&host, &port])?;
    ensure!(proxy.set(Fault::None) > 0, "the agents do not use the proxy");
    for (name, fault) in STORMS {
        step(name, || storm(plan, &proxy, fault))?;
    }
    restart_agents(plan, &["KUBERNETES_SERVICE_HOST-", "KUBERNETES_SERVICE_PORT-"])
}

/// Changes the environment of the agents, which restarts them.
fn restart_agents(plan: &Plan, environment: &[&str]) -> Result<()> {
    kubectl::run(plan, &[&["set", "env", NAMESPACE, AGENTS], environment].concat())?;
    kubectl::run(plan, &["rollout", "status", NAMESPACE, AGENTS, "--timeout=180s"]).map(drop)
}

fn storm(plan: &Plan, proxy: &FaultProxy, fault: Fault) -> Result<()> {
    apply(plan, &policy("CiliumNetworkPolicy", "before"))?;
    expect_policies(plan, &["server", "before"], &["meanwhile"])?;
    let attempts = if fault == Fault::None { ENDED_ATTEMPTS } else { FAILED_ATTEMPTS };
    let most = KINDS * REQUESTS * attempts * usize::from(plan.nodes);
    faults::during(plan, &|| {
        proxy.set(fault);
        proxy.drop_streams();
        let began = Instant::now();
        apply(plan, &policy("CiliumNetworkPolicy", "meanwhile"))?;
        kubectl::run(plan, &["delete", "ciliumnetworkpolicies", "before"])?;
        while began.elapsed() < LASTING {
            thread::sleep(ENDING);
            if fault == Fault::None {
                proxy.drop_streams();
            }
        }
        let requests = proxy.set(Fault::None);
        let ended = Instant::now();
        expect_policies(plan, &["server", "meanwhile"], &["before"])?;
        println!(
            "cluster:   {requests} requests of {} agents in {} s, at most {most}; in force {:.1} s afterwards",
            plan.nodes,
            LASTING.as_secs(),
            ended.elapsed().as_secs_f32()
        );
        ensure!(requests <= most, "{requests} requests");
        Ok(())
    })?;
    kubectl::run(plan, &["delete", "ciliumnetworkpolicies", "meanwhile"]).map(drop)
}
