//! The engines of `nexin test`: one world, one probe, and several implementations whose verdicts must agree.
//!
//! A [`TestState`] is what a PolicyTest document describes at one of its steps; a [`Crossing`] is one of its probes with
//! addresses in place of names. An [`Engine`] takes a state and returns a verdict for each crossing: [`Model`] uses the
//! reference model, [`CompiledRows`] compiled rows and real frames through the packet path, in memory or in the [`Kernel`],
//! [`Live`] real servers and clients under an agent, [`Cluster`] the same in the pods of a Kubernetes cluster. [`run()`] runs the documents of a [`Suite`] on engines.
#![forbid(unsafe_code)]

mod cluster;
mod crossing;
mod engine;
mod engine_kind;
mod exchange;
mod frames;
mod home;
mod kernel;
mod live;
mod model;
mod probe;
mod report;
mod rows;
mod runner;
mod service;
mod state;
mod suite;
mod transition;

pub use cluster::Cluster;
pub use crossing::{Crossing, CrossingEnd, CrossingFrontend, Sent, WrittenEnd};
pub use engine::{Engine, EngineAnswer, EngineError, worst};
pub use engine_kind::{EngineKind, UnknownEngine};
pub use home::{Fate, FrameOutcome, Home};
pub use kernel::Kernel;
pub use live::Live;
pub use model::Model;
pub use probe::PartyError;
pub use report::{Count, Judged, ProbeReport, Summary};
pub use rows::CompiledRows;
pub use runner::{Observer, RunError, run};
pub use state::{HOST_ADDRESSES, StepError, TestState, TestWorkload};
pub use suite::{Suite, SuiteError};
