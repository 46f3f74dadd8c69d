//! `nexin bench`: measures Nexin on this machine, beside its targets.

mod churn;
mod cold_start;
mod compile;
mod machine;
mod policies;
mod policy;
mod samples;
mod tables;
mod world;

use crate::outcome::Outcome;
use crate::session::Session;
use clap::{Args, Subcommand};

/// Measure Nexin on this machine, beside its targets
#[derive(Debug, Args)]
pub(crate) struct Bench {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Policy(policy::PolicyBenchmark),
}

impl Bench {
    pub(crate) fn run(self, session: &Session) -> anyhow::Result<Outcome> {
        match self.what {
            What::Policy(policy) => policy.run(session),
        }
    }
}
