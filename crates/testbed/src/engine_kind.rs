//! The engines of `nexin test` by name, and the constructor of each.

use crate::cluster::Cluster;
use crate::engine::{Engine, EngineError};
use crate::kernel::Kernel;
use crate::live::Live;
use crate::model::Model;
use crate::rows::CompiledRows;
use datapath::native::Tables;
use serde::{Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// The engines, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EngineKind {
    /// The reference model: sets and loops, without compilation.
    Model,
    /// Compiled rows, and the packet path as native code.
    Native,
    /// The same rows and packets through the loaded programs.
    Kernel,
    /// Workloads in network namespaces, real servers and clients, and a real agent.
    Live,
    /// Pods of a Kubernetes cluster on this machine.
    Cluster,
}

impl EngineKind {
    /// Makes an engine in the empty state. For [`Self::Live`], this program must have a command `agent`.
    pub fn open(self) -> Result<Box<dyn Engine>, EngineError> {
        Ok(match self {
            Self::Model => Box::new(Model::default()),
            Self::Native => Box::new(CompiledRows::new(Tables::new())),
            Self::Kernel => Box::new(CompiledRows::new(Kernel::open()?)),
            Self::Live => {
                let own =
                    std::env::current_exe().map_err(EngineError::failed("finding this program's own file"));
                Box::new(Live::start(&own?)?)
            }
            Self::Cluster => Box::new(Cluster::open()?),
        })
    }

    /// The engines to use where the user names none, and why the kernel is not one of them, where it is not.
    pub fn usual() -> (Vec<Self>, Option<String>) {
        match Self::Kernel.open() {
            Ok(_) => (vec![Self::Model, Self::Native, Self::Kernel], None),
            Err(error) => (vec![Self::Model, Self::Native], Some(error.to_string())),
        }
    }
}

/// A name that no engine has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no engine `{0}`; there are model, native, kernel, live and cluster")]
pub struct UnknownEngine(String);

impl FromStr for EngineKind {
    type Err = UnknownEngine;

    fn from_str(text: &str) -> Result<Self, UnknownEngine> {
        [Self::Model, Self::Native, Self::Kernel, Self::Live, Self::Cluster]
            .into_iter()
            .find(|kind| kind.to_string() == text)
            .ok_or_else(|| UnknownEngine(text.to_owned()))
    }
}

impl fmt::Display for EngineKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Model => "model",
            Self::Native => "native",
            Self::Kernel => "kernel",
            Self::Live => "live",
            Self::Cluster => "cluster",
        })
    }
}

impl Serialize for EngineKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
