//! Tests of the state on disk: what is appended, and what a crash or an earlier release leaves.

use super::*;
use crate::entry_log::Durability;
use crate::state::{WorkloadRecord, WorkloadStage};
use identity::Labels;
use std::sync::Arc;

struct Scratch(Paths);

impl Scratch {
    fn new(name: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("nexin-state-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory).unwrap();
        Self(Paths::new(directory, "test"))
    }

    fn load(&self) -> (StateLog, State) {
        StateLog::load(&self.0).unwrap()
    }

    fn size(&self) -> u64 {
        fs::metadata(self.0.state()).unwrap().len()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(self.0.state().parent().unwrap());
    }
}

fn workload(id: u32) -> Arc<WorkloadRecord> {
    let written = format!(
        r#"{{"id": {id}, "wanted": {{"namespace": "default", "name": "w{id}"}}, "interface": "nx{id}",
        "network_namespace": "nexin-node-{id}", "mac": [0, 0, 0, 0, 0, 0], "owner": null}}"#
    );
    Arc::new(serde_json::from_str(&written).unwrap())
}

/// A state with these workloads, each with an identity and a service.
fn state(workloads: impl IntoIterator<Item = u32>) -> State {
    let mut state = State::default();
    for id in workloads {
        let name = format!("w{id}");
        let labels = Labels::of_workload("default", [], [("app", name.as_str())]);
        state.workloads.insert(id, workload(id));
        state.identities.insert(256 + id, Arc::new(labels));
        state.services.insert(format!("default/{name}"), vec![[10, 0, 0, id as u8].into()]);
        state.last_endpoint = state.last_endpoint.max(id);
        state.next_identity = Some(257 + state.last_endpoint);
    }
    state
}

#[test]
fn the_last_saved_state_is_read() {
    let scratch = Scratch::new("read");
    assert_eq!(scratch.load().1, State::default());
    let mut log = scratch.load().0;
    for saved in [state([1, 2, 3]), state([2, 3]), state([]), state([4])] {
        log.save(&saved).unwrap();
        assert_eq!(scratch.load().1, saved);
    }
    let mut ending = state([4]);
    let changed = WorkloadRecord { stage: WorkloadStage::Ending, ..WorkloadRecord::clone(&workload(4)) };
    ending.workloads.insert(4, Arc::new(changed));
    ending.last_rule_set = 7;
    log.save(&ending).unwrap();
    assert_eq!(scratch.load().1, ending);
    scratch.load().0.save(&ending).unwrap();
    assert_eq!(scratch.load().1, ending);
}

#[test]
fn a_change_costs_what_changed() {
    let scratch = Scratch::new("cost");
    let mut log = scratch.load().0;
    let mut now = state(1..=200);
    log.save(&now).unwrap();
    let whole = scratch.size();
    for id in [7, 100, 150] {
        now.workloads.remove(&id);
        let removed = stored::changes(&log.saved, &now).unwrap();
        assert_eq!(removed, [(format!("workload/{id}"), None)]);
        log.save(&now).unwrap();
    }
    assert_eq!(scratch.size(), whole, "it is not written anew");
    assert_eq!(scratch.load().1, now);
    // However often it changes.
    for turn in 0..200 {
        now.workloads.insert(7, workload(7));
        now.last_rule_set = turn;
        log.save(&now).unwrap();
        now.workloads.remove(&7);
        log.save(&now).unwrap();
    }
    assert!(scratch.size() < 3 * whole, "{} of {whole}", scratch.size());
    assert_eq!(scratch.load().1, now);
}

/// The file of an earlier release with one workload.
const EARLIER: &str = r#"{"workloads": [{"id": 5, "wanted": {"namespace": "default", "name": "w5"},
    "interface": "nx5", "network_namespace": "nexin-node-5", "mac": [0, 0, 0, 0, 0, 0], "owner": null}],
    "identities": [[261, [["k8s", "app", "w5"]]]], "next_identity": 262, "services": {"default/w5": ["10.0.0.5"]},
    "last_endpoint": 5}"#;

#[test]
fn the_state_of_an_earlier_release_is_taken_over() {
    let scratch = Scratch::new("earlier");
    fs::write(scratch.0.earlier_state(), EARLIER).unwrap();
    let (mut log, earlier) = scratch.load();
    assert_eq!((earlier.workloads.len(), earlier.next_identity, earlier.last_endpoint), (1, Some(262), 5));
    assert_eq!(earlier.services.get("default/w5").unwrap().len(), 1);
    let saved = state([5, 6]);
    log.save(&saved).unwrap();
    assert!(!scratch.0.earlier_state().exists());
    assert_eq!(scratch.load().1, saved);
    // A user returned to the earlier release for some time.
    fs::write(scratch.0.earlier_state(), EARLIER).unwrap();
    let (mut log, again) = scratch.load();
    assert_eq!(again, earlier);
    log.save(&earlier).unwrap();
    assert_eq!(scratch.load().1, earlier);
}

#[test]
fn a_crash_while_the_state_is_taken_over_loses_nothing() {
    let scratch = Scratch::new("crash");
    fs::write(scratch.0.earlier_state(), EARLIER).unwrap();
    let earlier = scratch.load().1;
    // The log cannot be written.
    fs::create_dir(scratch.0.state().with_extension("new")).unwrap();
    scratch.load().0.save(&state([1])).unwrap_err();
    assert_eq!(scratch.load().1, earlier);
    fs::remove_dir(scratch.0.state().with_extension("new")).unwrap();
    // The agent is killed before it removes the file: the log has no other state than the file.
    let (mut log, _) = scratch.load();
    let (_, taken) = log.earlier.clone().unwrap();
    log.append(&taken).unwrap();
    assert_eq!(scratch.load().1, earlier);
    scratch.load().0.save(&state([1])).unwrap();
    assert_eq!(scratch.load().1, state([1]));
}

#[test]
fn a_disk_that_cannot_be_written_is_noticed_without_a_change() {
    let scratch = Scratch::new("check");
    let mut log = scratch.load().0;
    log.save(&state([1])).unwrap();
    log.save(&state([1])).unwrap();
    // Another program removed the file, and a directory blocks the path of the next one.
    fs::remove_file(scratch.0.state()).unwrap();
    fs::create_dir(scratch.0.state().with_extension("new")).unwrap();
    log.save(&state([1])).unwrap_err();
    fs::remove_dir(scratch.0.state().with_extension("new")).unwrap();
    log.save(&state([1])).unwrap();
    assert_eq!(scratch.load().1, state([1]));
}

#[test]
fn a_damaged_state_is_reported_with_advice() {
    let scratch = Scratch::new("damaged");
    scratch.load().0.save(&state([1])).unwrap();
    let whole = fs::read(scratch.0.state()).unwrap();
    for damaged in [&whole[..60], b"", b"{}"] {
        fs::write(scratch.0.state(), damaged).unwrap();
        let said = format!("{:#}", StateLog::load(&scratch.0).unwrap_err());
        assert!(said.contains("state.log is damaged; move it away to start with no workloads"), "{said}");
    }
    fs::write(scratch.0.state(), whole).unwrap();
    fs::write(scratch.0.earlier_state(), "{").unwrap();
    let said = format!("{:#}", StateLog::load(&scratch.0).unwrap_err());
    assert!(said.contains("state.json is damaged"), "{said}");
}

#[test]
fn what_ends_with_the_host_need_not_outlive_it() {
    let check = |change: &dyn Fn(&mut State), expected: Durability| {
        let before = state([1]);
        let mut after = state([1, 2]);
        after.services.remove("default/w2");
        change(&mut after);
        let changes = stored::changes(&before, &after).unwrap();
        assert_eq!(stored::durability((&before, &after), &changes), expected, "{changes:?}");
    };
    check(&|_| {}, Durability::Process);
    check(&|after| after.last_rule_set = 7, Durability::Host);
    check(&|after| drop(after.services.insert("default/w2".into(), Vec::new())), Durability::Host);
    check(&|after| drop(after.services.remove("default/w1")), Durability::Host);
}
