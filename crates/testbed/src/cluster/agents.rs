//! The agents of the cluster's nodes, and what they have in force.

use super::{kubectl, processes};
use crate::engine::EngineError;
use api::{ApiRequest, Client, view};
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Selects the agents' pods.
const PODS: &str = "app.kubernetes.io/name=nexin-agent";
/// Where an agent listens, in its container.
const SOCKET: &str = "run/nexin/agent.sock";
/// The time in which every agent has a change in force.
const IN_FORCE: Duration = Duration::from_secs(30);

/// The agents, by their sockets.
pub(super) struct Agents {
    sockets: Vec<PathBuf>,
}

impl Agents {
    /// Finds the agents of the cluster.
    pub(super) fn find() -> Result<Self, EngineError> {
        let socket = |uid: &str| {
            let root = |process: u32| PathBuf::from(format!("/proc/{process}")).join("root");
            let paths = processes::of_pod(uid).into_iter().map(|process| root(process).join(SOCKET));
            paths.into_iter().find(|path| path.exists())
        };
        let pods = kubectl::list("pods", Some(PODS))?;
        let sockets: Option<Vec<PathBuf>> =
            pods.iter().map(|pod| socket(pod["metadata"]["uid"].as_str()?)).collect();
        match sockets {
            Some(sockets) if !sockets.is_empty() => Ok(Self { sockets }),
            _ => Err(failed(
                "finding the agents",
                "not every node of the cluster has an agent on this machine",
            )),
        }
    }

    /// Waits until every agent has a policy in force.
    pub(super) fn await_policy(&self, kind: &str, name: &str) -> Result<(), EngineError> {
        self.await_all(|client| {
            let policies: Vec<view::PolicySummary> = client.call(ApiRequest::Policies)?;
            Ok(policies.iter().any(|policy| policy.kind == kind && policy.name == name))
        })
    }

    /// Waits until every agent knows an endpoint with this label.
    pub(super) fn await_label(&self, label: &str) -> Result<(), EngineError> {
        self.await_all(|client| {
            let identities: Vec<view::IdentitySummary> = client.call(ApiRequest::Identities)?;
            Ok(identities.iter().any(|identity| identity.labels.iter().any(|one| one == label)))
        })
    }

    fn await_all(
        &self,
        is_reached: impl Fn(&mut Client) -> Result<bool, api::CallError>,
    ) -> Result<(), EngineError> {
        let deadline = Instant::now() + IN_FORCE;
        for socket in &self.sockets {
            let mut client = Client::connect(socket).map_err(EngineError::failed("calling an agent"))?;
            while !is_reached(&mut client).map_err(EngineError::failed("calling an agent"))? {
                if Instant::now() > deadline {
                    return Err(failed("waiting for a change", "an agent does not have it in force"));
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        Ok(())
    }
}

fn failed(doing: &'static str, why: &str) -> EngineError {
    EngineError::failed(doing)(io::Error::other(why.to_owned()))
}
