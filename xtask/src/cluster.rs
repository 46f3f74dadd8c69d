//! A real cluster on one machine: a control plane and nodes in namespaces of their own.

mod acceptance;
mod api_server;
mod births;
mod cases;
mod cgroups;
mod commands;
mod conformance;
mod dial;
mod down;
mod e2e;
mod fault_proxy;
mod faults;
mod figures;
mod flows;
mod images;
mod init;
mod kubectl;
mod links;
mod machine;
mod mounts;
mod moving;
mod node;
mod options;
mod packages;
mod permissions;
mod plan;
mod plane;
mod pods;
mod program;
mod programs;
mod restarts;
mod status;
mod suites;
mod timed_plugin;
mod tutorial;
mod up;
mod users;

use acceptance::Settings;
use anyhow::{Context, Result, bail};
use options::Options;
use plan::{Machine, Plan};
use std::path::PathBuf;
use std::process::{Command, ExitCode};
pub(crate) use timed_plugin::run as run_timed_plugin;

const USAGE: &str = "\
usage: cargo xtask cluster up [--nodes N] [--network bridge|nexin|none] [--nexin BINARY]
       cargo xtask cluster down
       cargo xtask cluster status
       cargo xtask cluster kubectl ARGUMENT...
       cargo xtask cluster run [--on MACHINE] PROGRAM ARGUMENT...    run a program on the plane, or on node1 …
       cargo xtask cluster logs [MACHINE [PROGRAM]]                  print the end of each log, or a whole log
       cargo xtask cluster stop|start|restart MACHINE PROGRAM        kill a program of a machine; start it again
       cargo xtask cluster reboot NODE                               kill a node, and start it again
       cargo xtask cluster tutorial                                  run the tutorial: an application, a policy, requests
       cargo xtask cluster e2e SUITE                                 run upstream's tests, and show the result of each: the
                                                                     suite policy, conformance, services or short
       cargo xtask cluster e2e FOCUS [SKIP]                          run upstream's tests whose names match a regular
                                                                     expression
       cargo xtask cluster conformance [TEST]                        run the conformance tests of ClusterNetworkPolicy, all
                                                                     or those whose names match a regular expression
       cargo xtask cluster cases [--nexin BINARY] [--limit N] PATH...  run PolicyTest documents, all or the first N, in pods
       cargo xtask cluster births [--pods N]                         bear and kill pods, and check each from its first instant
       cargo xtask cluster faults [--outage SECONDS] [FAULT...]      cause faults while pods exchange messages
       cargo xtask cluster restarts [--pods N]                       restart the agent of a node with many pods
       cargo xtask cluster test [--nexin BINARY] [--limit N] [--pods N] [--outage SECONDS] [TEST...]
                                                                     run the tests, on clusters of their own

Each but `test` takes --name NAME (or NEXIN_CLUSTER) before its other arguments; the name is `test` otherwise.";

/// Runs a command on a cluster.
pub(crate) fn run(arguments: &[String]) -> Result<ExitCode> {
    let (command, arguments) = arguments.split_first().map_or(("", arguments), |(first, rest)| (first, rest));
    if command == "machine" {
        let [name, machine] = arguments else { bail!("a machine has a cluster and a name") };
        return init::run(&Plan::load(&name.parse()?)?, machine.parse()?).map(|()| ExitCode::SUCCESS);
    }
    if let ("newborn", [task]) = (command, arguments) {
        return births::run_newborn(task).map(|()| ExitCode::SUCCESS);
    }
    let (options, rest) = Options::parse(arguments)?;
    let name = &options.name;
    match (command, rest) {
        ("up", []) => up::run(&options.plan(), options.nexin)?,
        ("down", []) => down::run(name)?,
        ("status", []) => status::print(&Plan::load(name)?)?,
        ("kubectl", rest) => return passed_on(kubectl::command(&Plan::load(name)?.name).args(rest)),
        ("run", [program, rest @ ..]) => {
            let mut command = machine::command_on(name, options.machine.unwrap_or(Machine::Plane), program)?;
            return passed_on(command.env("KUBECONFIG", name.kubeconfig(users::ADMIN)).args(rest));
        }
        ("logs", rest) => programs::print_logs(&Plan::load(name)?, rest)?,
        ("stop", [machine, program]) => programs::stop(&Plan::load(name)?, machine.parse()?, program)?,
        ("start", [machine, program]) => programs::start(&Plan::load(name)?, machine.parse()?, program)?,
        ("restart", [machine, program]) => programs::restart(&Plan::load(name)?, machine.parse()?, program)?,
        ("e2e", [tests]) => e2e::run_named(&Plan::load(name)?, tests, None)?,
        ("e2e", [focus, skip]) => e2e::run_named(&Plan::load(name)?, focus, Some(skip))?,
        ("conformance", []) => conformance::run(&Plan::load(name)?, None)?,
        ("conformance", [test]) => conformance::run(&Plan::load(name)?, Some(test))?,
        ("tutorial", []) => tutorial::run(&Plan::load(name)?)?,
        ("cases", paths @ [_, ..]) => {
            let paths: Vec<PathBuf> = paths.iter().map(PathBuf::from).collect();
            cases::run(&Plan::load(name)?, options.nexin, options.limit, &paths)?;
        }
        ("reboot", [machine]) => programs::reboot(&Plan::load(name)?, machine.parse()?)?,
        ("faults", names) => faults::run_test(&Plan::load(name)?, names, options.outage)?,
        ("restarts", []) => restarts::run_test(&Plan::load(name)?, options.pods)?,
        ("births", []) => births::run_test(&Plan::load(name)?, options.pods)?,
        ("test", names) => {
            let Options { nexin, limit, pods, outage, .. } = options;
            return acceptance::run(&Settings { nexin, limit, pods, outage }, names);
        }
        _ => {
            eprintln!("{USAGE}");
            return Ok(ExitCode::from(2));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs a command with this process's input and output, and returns its exit code.
fn passed_on(command: &mut Command) -> Result<ExitCode> {
    let status = command.status().with_context(|| format!("could not run {command:?}"))?;
    Ok(ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)))
}
