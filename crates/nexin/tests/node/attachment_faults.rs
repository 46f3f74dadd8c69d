//! A table of attachments with a fault between any two steps: whatever happens, a runtime that repeats its requests gets what it
//! wants, and nothing is left behind.

use crate::bed::{Bed, eventually, wanted};
use crate::runtime::{Outcome, Sandbox, configuration, run, start, wait, with_valid};
use api::{ApiRequest, Client, Envelope};
use serde_json::json;
use std::fs;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::process::Child;
use std::time::Duration;
use workload::NetworkNamespace;

/// What a runtime requests for one sandbox, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Status,
    Add,
    Check,
    AddAgain,
    CollectOthers,
    Delete,
    DeleteAgain,
    CollectAll,
}

const STEPS: [Step; 8] = [
    Step::Status,
    Step::Add,
    Step::Check,
    Step::AddAgain,
    Step::CollectOthers,
    Step::Delete,
    Step::DeleteAgain,
    Step::CollectAll,
];

/// What happens before a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// The agent is killed and starts again.
    AgentKilled,
    /// The agent is killed, the runtime tries the step, the agent starts again.
    AgentAway,
    /// The agent is killed while it carries out the step, and starts again.
    AgentKilledMeanwhile,
    /// A plugin and the agent are killed while each writes a file.
    FileHalfWritten,
    /// The sandbox's network namespace is removed.
    NamespaceGone,
    /// Another workload has the address that the sandbox wants.
    AddressTaken,
    /// The step is carried out, and its answer lost.
    AnswerLost,
    /// The plugin is killed while it waits.
    PluginKilled,
}

/// The address that every sandbox wants, to see that it is free again.
const ADDRESS: &str = "10.244.0.99";

/// A runtime with one sandbox.
struct Case<'a> {
    bed: &'a mut Bed,
    sandbox: Sandbox,
    is_attached: bool,
    is_gone: bool,
    is_taken: bool,
    /// How long the step takes before the agent is killed.
    delay: Duration,
    /// What is printed when an expectation fails.
    name: String,
}

impl Case<'_> {
    /// Starts the plugin for a step.
    fn start(&self, step: Step) -> Child {
        let mut config = configuration(self.bed);
        let sandbox = Some(&self.sandbox);
        match step {
            Step::Status => start("STATUS", None, &config),
            Step::Add | Step::AddAgain => {
                config["runtimeConfig"] = json!({ "ips": [ADDRESS] });
                start("ADD", sandbox, &config)
            }
            Step::Check => start("CHECK", sandbox, &config),
            Step::CollectOthers => start("GC", None, &with_valid(config, &[&self.sandbox])),
            Step::Delete | Step::DeleteAgain => start("DEL", sandbox, &config),
            Step::CollectAll => start("GC", None, &with_valid(config, &[])),
        }
    }

    fn perform(&self, step: Step) -> Outcome {
        wait(self.start(step))
    }

    /// Performs a step and checks the code of its answer.
    fn expect(&mut self, step: Step) {
        let outcome = self.perform(step);
        let (code, name) = (outcome.code(), &self.name);
        let expected: &[u64] = match step {
            // Whatever happened, an undo succeeds.
            Step::Status | Step::Delete | Step::DeleteAgain | Step::CollectOthers | Step::CollectAll => &[0],
            Step::Add | Step::AddAgain if self.is_gone => &[100],
            Step::Add | Step::AddAgain if self.is_taken && !self.is_attached => &[11],
            Step::Add | Step::AddAgain => &[0],
            // The agent may have noticed that the sandbox is gone.
            Step::Check if self.is_gone => &[3, 101],
            Step::Check if !self.is_attached => &[3],
            Step::Check => &[0],
        };
        assert!(expected.contains(&code), "{name}, {step:?}: {outcome:?}, expected one of {expected:?}");
        match step {
            Step::Add | Step::AddAgain if code == 0 => {
                assert_eq!(outcome.addresses()[0].to_string(), ADDRESS, "{name}");
                self.is_attached = true;
            }
            Step::Delete | Step::DeleteAgain | Step::CollectAll => self.is_attached = false,
            _ => {}
        }
    }

    fn inflict(&mut self, fault: Fault, next: Step) {
        match fault {
            Fault::AgentKilled => {
                self.bed.kill();
                self.bed.start();
            }
            Fault::AgentAway => {
                self.bed.kill();
                let expected = match next {
                    Step::Status => 50,
                    Step::Delete | Step::DeleteAgain => 0,
                    _ => 11,
                };
                let outcome = self.perform(next);
                assert_eq!(outcome.code(), expected, "{}: {outcome:?}", self.name);
                self.is_attached &= expected != 0;
                self.bed.start();
            }
            Fault::AgentKilledMeanwhile => {
                let plugin = self.start(next);
                std::thread::sleep(self.delay);
                self.bed.kill();
                let outcome = wait(plugin);
                let is_undone = matches!(next, Step::Delete | Step::DeleteAgain);
                let expected: &[u64] = if is_undone { &[0] } else { &[0, 11, 50] };
                assert!(expected.contains(&outcome.code()), "{}: {outcome:?}", self.name);
                self.is_attached &= !is_undone;
                self.bed.start();
            }
            Fault::FileHalfWritten => self.write_halves(),
            Fault::NamespaceGone => {
                self.sandbox.remove();
                self.is_gone = true;
            }
            Fault::AddressTaken => {
                let taken = self.bed.try_workload_at("occupant", &[ADDRESS.parse().unwrap()]);
                assert_eq!(taken.is_err(), self.is_attached, "{}: {taken:?}", self.name);
                self.is_taken = taken.is_ok();
            }
            Fault::AnswerLost => self.lose_answer(next),
            Fault::PluginKilled => {
                let mut plugin = self.start(next);
                plugin.kill().unwrap();
                plugin.wait().unwrap();
                self.settle();
            }
        }
    }

    /// Leaves what a crash leaves: an incomplete deletion, one of an unknown sandbox, and half a record of the state.
    fn write_halves(&mut self) {
        self.bed.kill();
        let queue = self.bed.path("run/deletions");
        fs::create_dir_all(&queue).unwrap();
        fs::write(queue.join("0123.4567"), "{\"container\": \"x").unwrap();
        fs::write(queue.join("89ab.deletion"), "{\"container\": \"x").unwrap();
        fs::write(queue.join("cdef.deletion"), "{\"container\": \"x\", \"interface\": \"eth0\"}").unwrap();
        let state = self.bed.path("run/state.log");
        let mut bytes = fs::read(&state).unwrap();
        // Behind the last record: the beginning of one whose length is 64.
        let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
        bytes[end..end + 12].copy_from_slice(b"\x40\0\0\0sum!+\x09\0\0");
        fs::write(&state, bytes).unwrap();
        self.bed.start();
        let emptied = eventually(|| {
            let names = fs::read_dir(&queue).unwrap().map(|entry| entry.unwrap().file_name());
            names.into_iter().all(|name| name == "0123.4567").then_some(())
        });
        assert!(emptied.is_some(), "{}", self.name);
        fs::remove_file(queue.join("0123.4567")).unwrap();
    }

    /// Sends the request of a step and closes the connection without reading the answer.
    fn lose_answer(&mut self, step: Step) {
        let name =
            api::AttachmentName { container: self.sandbox.container.clone(), interface: "eth0".into() };
        let request = match step {
            Step::Add | Step::AddAgain => ApiRequest::Attach(Box::new(api::AttachmentSpec {
                name,
                network: "nexin".into(),
                network_namespace: self.sandbox.path().into(),
                pod: None,
                labels: Default::default(),
                named_ports: Default::default(),
                addresses: vec![ADDRESS.parse().unwrap()],
                chained: false,
                host_ports: Vec::new(),
            })),
            Step::Delete | Step::DeleteAgain => {
                self.is_attached = false;
                ApiRequest::Detach { name }
            }
            Step::Check => ApiRequest::CheckAttachment { name, addresses: Vec::new() },
            Step::Status => ApiRequest::Readiness,
            Step::CollectOthers | Step::CollectAll => {
                ApiRequest::CollectAttachments { network: "other".into(), valid: vec![name] }
            }
        };
        let mut connection = UnixStream::connect(self.bed.socket()).unwrap();
        let mut line = serde_json::to_vec(&Envelope { version: api::VERSION, request }).unwrap();
        line.push(b'\n');
        connection.write_all(&line).unwrap();
    }

    /// Waits until nothing is being created or removed.
    fn settle(&self) {
        let state = || (self.bed.endpoints().len(), self.bed.links().len());
        let mut before = state();
        eventually(|| {
            std::thread::sleep(Duration::from_millis(100));
            let now = state();
            (std::mem::replace(&mut before, now) == now).then_some(())
        });
    }

    /// Checks that the address is free and nothing is left.
    fn finish(self) {
        if self.is_taken {
            self.bed.remove("occupant").unwrap();
        }
        let left = || {
            let links = self.bed.links().into_iter().filter(|name| name.starts_with("nx"));
            let queued = fs::read_dir(self.bed.path("run/deletions")).map_or(0, Iterator::count);
            (self.bed.endpoints().len(), links.filter(|name| name != "nexin_proxy").count(), queued)
        };
        let cleaned = eventually(|| (left() == (0, 0, 0)).then_some(()));
        assert!(cleaned.is_some(), "{}: {:?}, {:?}", self.name, left(), self.bed.links());
        let problems = self.bed.status().problems;
        assert!(problems.is_empty(), "{}: {problems:?}", self.name);
    }
}

/// Each step, with a fault before it, or this long after its beginning.
fn check(bed: &mut Bed, fault: Fault, delay: Duration) {
    for (place, faulty) in STEPS.into_iter().enumerate() {
        let mut case = Case {
            sandbox: Sandbox::new(&format!("pod-{place}")),
            bed,
            is_attached: false,
            is_gone: false,
            is_taken: false,
            delay,
            name: format!("{fault:?} before {faulty:?}, {delay:?}"),
        };
        for step in STEPS {
            if step == faulty {
                case.inflict(fault, step);
            }
            case.expect(step);
        }
        case.finish();
    }
}

macro_rules! faults {
    ($($name:ident: $bed:literal, $fault:ident;)*) => {$(
        #[test]
        #[ignore = "needs root"]
        fn $name() {
            check(&mut Bed::new($bed), Fault::$fault, Duration::ZERO);
        }
    )*};
}

faults! {
    a_runtime_bears_that_the_agent_is_killed_before_any_step: "fa", AgentKilled;
    a_runtime_bears_that_the_agent_is_away_at_any_step: "fb", AgentAway;
    a_runtime_bears_files_that_are_half_written_before_any_step: "fc", FileHalfWritten;
    a_runtime_bears_that_its_network_namespace_is_gone_before_any_step: "fd", NamespaceGone;
    a_runtime_bears_that_its_address_is_taken_before_any_step: "fe", AddressTaken;
    a_runtime_bears_that_the_answer_to_any_step_is_lost: "ff", AnswerLost;
    a_runtime_bears_that_the_plugin_is_killed_at_any_step: "fg", PluginKilled;
}

#[test]
#[ignore = "needs root"]
fn a_runtime_bears_that_the_agent_is_killed_within_any_step() {
    let mut bed = Bed::new("fj");
    for delay in [2, 6, 12] {
        check(&mut bed, Fault::AgentKilledMeanwhile, Duration::from_millis(delay));
    }
}

/// A deletion that was queued is older than a later attachment of the same container: only the earlier one is removed.
#[test]
#[ignore = "needs root"]
fn a_queued_deletion_does_not_remove_a_later_attachment() {
    let mut bed = Bed::new("fh");
    let sandbox = Sandbox::new("web");
    run(&bed, "ADD", &sandbox).expect();
    bed.kill();
    run(&bed, "DEL", &sandbox).expect();
    bed.start();
    run(&bed, "ADD", &sandbox).expect();
    std::thread::sleep(Duration::from_millis(1500));
    run(&bed, "CHECK", &sandbox).expect();
    assert_eq!(bed.endpoints().len(), 1);
}

/// A workload of a sandbox belongs to the runtime, also for a person.
#[test]
#[ignore = "needs root"]
fn a_sandbox_is_not_removed_by_its_name() {
    let bed = Bed::new("fi");
    let sandbox = Sandbox::new("web");
    run(&bed, "ADD", &sandbox).expect();
    let refusal = bed.remove("web").unwrap_err().to_string();
    assert!(refusal.contains("belongs to a container runtime"), "{refusal}");
    // A workload of `nexin run` with the same name is another one.
    let created: Result<api::view::EndpointSummary, _> =
        Client::connect(&bed.socket()).unwrap().call(ApiRequest::CreateWorkload(wanted("web")));
    assert!(created.unwrap_err().to_string().contains("is there already"));
    assert!(NetworkNamespace::find(&sandbox.namespace).unwrap().is_some());
}
