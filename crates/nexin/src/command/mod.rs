//! The commands, one module each.

mod agent;
mod bench;
mod bpf;
mod cni;
mod config;
mod demo;
mod endpoint;
mod exec;
mod identity;
mod install;
mod installation;
mod observe;
mod operator;
mod policy;
mod run;
mod service;
mod status;
mod test;
mod uninstall;
mod version;

use crate::outcome::Outcome;
use crate::session::Session;
use clap::Subcommand;

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Demo(demo::Demo),
    Agent(agent::AgentCommand),
    Operator(operator::OperatorCommand),
    Install(install::Install),
    Uninstall(uninstall::Uninstall),
    Run(run::Run),
    Exec(exec::Exec),
    Policy(policy::PolicyCommand),
    Config(config::ConfigCommand),
    Endpoint(endpoint::EndpointCommand),
    Identity(identity::IdentityCommand),
    Service(service::ServiceCommand),
    Status(status::StatusCommand),
    Test(test::Test),
    Observe(observe::Observe),
    Bench(bench::Bench),
    Bpf(bpf::Bpf),
    Cni(cni::CniCommand),
    Version(version::Version),
    #[command(hide = true)]
    Proxy(agent::ProxyCommand),
    #[command(hide = true)]
    DemoServer(demo::DemoServer),
    #[command(hide = true)]
    DemoClient(demo::DemoClient),
}

impl Command {
    /// Runs the command.
    pub(crate) fn run(self, session: &Session) -> anyhow::Result<Outcome> {
        match self {
            Self::Demo(demo) => demo.run(session),
            Self::Agent(agent) => agent.run(),
            Self::Operator(operator) => operator.run(),
            Self::Install(install) => install.run(session),
            Self::Uninstall(uninstall) => uninstall.run(session),
            Self::Run(run) => run.run(session),
            Self::Exec(exec) => exec.run(session),
            Self::Policy(policy) => policy.run(session),
            Self::Config(config) => config.run(session),
            Self::Endpoint(endpoint) => endpoint.run(session),
            Self::Identity(identity) => identity.run(session),
            Self::Service(service) => service.run(session),
            Self::Status(status) => status.run(session),
            Self::Test(test) => test.run(session),
            Self::Observe(observe) => observe.run(session),
            Self::Bench(bench) => bench.run(session),
            Self::Bpf(bpf) => bpf.run(session),
            Self::Cni(cni) => cni.run(session),
            Self::Version(version) => version.run(session),
            Self::Proxy(proxy) => proxy.run(),
            Self::DemoServer(server) => server.run(),
            Self::DemoClient(client) => client.run(session),
        }
    }
}
