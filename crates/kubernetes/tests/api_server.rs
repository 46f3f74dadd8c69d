//! Watches against an API server in this process, which has the faults of real ones.

#[path = "api_server/fake.rs"]
#[allow(dead_code, reason = "tests of the agent use it, too")]
mod fake;

use fake::{FakeServer, Fault};
use kubernetes::{
    ClusterEvent, ClusterObject, ClusterWatches, Connection, KeptFields, KnownObjects, Report, ResourceName,
    UserConnection, WatchRequest, WatchedKind, snapshot,
};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(20);
/// How long nothing must be reported where nothing may be.
const QUIET: Duration = Duration::from_millis(300);

fn kind() -> WatchedKind {
    WatchedKind {
        group: "cilium.io",
        versions: &["v2"],
        kind: "CiliumNetworkPolicy",
        plural: "ciliumnetworkpolicies",
        field_selector: None,
        fields: KeptFields { whole: &["spec"], ..KeptFields::default() },
    }
}

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

/// The definition of the kind.
fn definition() -> serde_json::Value {
    serde_json::json!({"metadata": {"name": "ciliumnetworkpolicies.cilium.io", "uid": "d"}})
}

/// A watch of one kind at a fake server.
struct Watched {
    watches: ClusterWatches,
    events: Receiver<ClusterEvent>,
}

impl Watched {
    fn start(server: &FakeServer) -> Self {
        let (sender, events) = channel();
        let connection = Connection { kubeconfig: Some(server.kubeconfig()) };
        let requests = vec![WatchRequest { kind: kind(), known: KnownObjects::default() }];
        let deliver = move |event| {
            let _ = sender.send(event);
        };
        Self { watches: ClusterWatches::start(connection, requests, deliver).unwrap(), events }
    }

    /// The next report as text: `a=1` for an object and its spec, `-a` for one that is gone.
    fn next(&self, patience: Duration) -> Option<String> {
        let report = match self.events.recv_timeout(patience).ok()? {
            ClusterEvent::Report(0, report) => report,
            other => panic!("{other:?}"),
        };
        Some(match report {
            Report::Complete => "complete".into(),
            Report::Trouble(Some(_)) => "trouble".into(),
            Report::Trouble(None) => "recovered".into(),
            Report::Objects(objects) => {
                let text = |text: String| {
                    let object: serde_json::Value = serde_json::from_str(&text).unwrap();
                    object["spec"].as_str().unwrap().to_owned()
                };
                let objects = objects.into_iter().map(|object| {
                    let ResourceName { namespace, name } = object.name;
                    assert_eq!(namespace.as_deref(), Some("shop"));
                    object.text.map_or(format!("-{name}"), |found| format!("{name}={}", text(found)))
                });
                objects.collect::<Vec<_>>().join(" ")
            }
        })
    }

    #[track_caller]
    fn expect(&self, expected: &[&str]) {
        for expected in expected {
            assert_eq!(self.next(PATIENCE).as_deref(), Some(*expected));
        }
    }

    #[track_caller]
    fn expect_nothing(&self) {
        assert_eq!(self.next(QUIET), None);
    }

    /// Takes reports until this one, skipping troubles.
    #[track_caller]
    fn expect_after_troubles(&self, expected: &str) {
        let mut found = self.next(PATIENCE);
        while matches!(found.as_deref(), Some("trouble" | "recovered")) {
            found = self.next(PATIENCE);
        }
        assert_eq!(found.as_deref(), Some(expected));
    }
}

fn server_with_two() -> FakeServer {
    let server = FakeServer::start();
    server.put("a", "1");
    server.put("b", "1");
    server
}

#[test]
fn objects_are_listed_and_then_followed() {
    let server = server_with_two();
    let watched = Watched::start(&server);
    watched.expect(&["a=1 b=1", "complete"]);
    server.put("c", "1");
    watched.expect(&["c=1"]);
    server.put("a", "1");
    server.put("a", "2");
    watched.expect(&["a=2"]);
    server.delete("b");
    watched.expect(&["-b"]);
    watched.expect_nothing();
    let load = watched.watches.load();
    assert_eq!((load.lists, load.watches), (2, 2), "one of each for definitions: {load:?}");
}

#[test]
fn a_list_comes_in_pages_and_is_one_change() {
    let server = server_with_two();
    server.page_of(1);
    let watched = Watched::start(&server);
    watched.expect(&["a=1 b=1", "complete"]);
    assert_eq!(watched.watches.load().lists, 3, "one for definitions");
}

#[test]
fn a_snapshot_has_all_pages_or_an_error_that_names_the_kind() {
    let server = server_with_two();
    server.page_of(1);
    let connection = UserConnection { kubeconfig: Some(server.kubeconfig()), context: None };
    let read = || snapshot(&connection, vec![kind()]).map_err(|error| error.to_string());
    let names = |objects: Vec<ClusterObject>| -> Vec<String> {
        objects.iter().map(|object| format!("{}/{}", object.kind, object.name)).collect()
    };
    assert_eq!(
        read().map(names),
        Ok(["CiliumNetworkPolicy/shop/a", "CiliumNetworkPolicy/shop/b"].map(String::from).to_vec())
    );
    server.fault(Fault::NotServed);
    assert_eq!(read().map(names), Ok(vec![]), "its definition is not installed");
    server.fault(Fault::Internal);
    let refused = read().unwrap_err();
    assert!(refused.starts_with("ciliumnetworkpolicies cannot be read from the API server: "), "{refused}");
}

#[test]
fn a_server_that_is_away_at_the_start_is_waited_for() {
    let server = server_with_two();
    server.fault(Fault::Away);
    let watched = Watched::start(&server);
    watched.expect(&["trouble"]);
    server.fault(Fault::None);
    watched.expect_after_troubles("a=1 b=1");
}

#[test]
fn a_dropped_watch_resumes_without_a_list() {
    let server = server_with_two();
    let watched = Watched::start(&server);
    watched.expect(&["a=1 b=1", "complete"]);
    server.wait_for_watches(1);
    server.drop_streams();
    server.put("a", "2");
    watched.expect(&["a=2"]);
    assert_eq!(watched.watches.load().lists, 2, "one for definitions");
    assert_eq!(server.requests(), 4, "a list, a watch, a check of the store's version, and a watch");
}

#[test]
fn an_expired_version_is_listed_again_and_no_object_seems_gone() {
    let server = server_with_two();
    let watched = Watched::start(&server);
    watched.expect(&["a=1 b=1", "complete"]);
    server.put("b", "2");
    watched.expect(&["b=2"]);
    server.delete("a");
    watched.expect(&["-a"]);
    server.compact_and_drop_streams(|server| {
        server.put("c", "1");
        server.delete("b");
    });
    watched.expect(&["-b c=1"]);
    watched.expect_nothing();
    assert_eq!(watched.watches.load().lists, 3, "one for definitions");
}

#[test]
fn a_server_that_asks_for_time_gets_it() {
    let server = server_with_two();
    server.fault(Fault::Busy { seconds: 2 });
    let begin = Instant::now();
    let watched = Watched::start(&server);
    std::thread::sleep(Duration::from_millis(500));
    server.fault(Fault::None);
    watched.expect_after_troubles("a=1 b=1");
    assert!(begin.elapsed() >= Duration::from_secs(2), "{:?}", begin.elapsed());
}

#[test]
fn a_storm_of_errors_meets_few_requests_and_takes_nothing_away() {
    let server = server_with_two();
    let watched = Watched::start(&server);
    watched.expect(&["a=1 b=1", "complete"]);
    server.wait_for_watches(1);
    let before = server.requests();
    server.fault(Fault::Internal);
    server.drop_streams();
    std::thread::sleep(Duration::from_secs(5));
    let requests = server.requests() - before;
    assert!((2..=8).contains(&requests), "{requests} requests in 5 s");
    server.fault(Fault::None);
    server.put("a", "2");
    watched.expect_after_troubles("a=2");
    assert_eq!(watched.watches.load().lists, 2, "nothing was listed again");
}

#[test]
fn watches_return_together_to_a_server_that_was_away_for_long() {
    let server = server_with_two();
    let (sender, events) = channel();
    let connection = Connection { kubeconfig: Some(server.kubeconfig()) };
    let requests = vec![WatchRequest { kind: kind(), known: KnownObjects::default() }; 8];
    let deliver = move |event| {
        let _ = sender.send(event);
    };
    server.fault(Fault::Away);
    let _watches = ClusterWatches::start(connection, requests, deliver).unwrap();
    // By now the waits are 8 s and longer.
    std::thread::sleep(Duration::from_secs(17));
    server.fault(Fault::None);
    let mut complete = Vec::new();
    while complete.len() < 8 {
        if let ClusterEvent::Report(kind, Report::Complete) = events.recv_timeout(PATIENCE).unwrap() {
            complete.push((kind, Instant::now()));
        }
    }
    let (first, last) = (complete[0].1, complete[7].1);
    assert!(last - first < Duration::from_secs(2), "{:?}", last - first);
}

#[test]
fn a_kind_that_is_defined_later_is_waited_for() {
    let server = FakeServer::start();
    server.fault(Fault::NotServed);
    let watched = Watched::start(&server);
    watched.expect(&["complete"]);
    // By now a kind that is polled would wait for 4 s and longer.
    std::thread::sleep(Duration::from_secs(4));
    let before = server.requests();
    std::thread::sleep(Duration::from_secs(4));
    assert_eq!(server.requests(), before, "a kind without a definition is not requested");
    server.put("a", "1");
    server.fault(Fault::None);
    server.put_object(DEFINITIONS, definition());
    let begin = Instant::now();
    watched.expect(&["a=1"]);
    assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());
}

#[test]
fn a_kind_that_is_served_some_time_after_its_definition_came_is_waited_for() {
    let server = FakeServer::start();
    server.fault(Fault::NotServed);
    let watched = Watched::start(&server);
    watched.expect(&["complete"]);
    server.put("a", "1");
    server.put_object(DEFINITIONS, definition());
    std::thread::sleep(Duration::from_secs(1));
    server.fault(Fault::None);
    watched.expect(&["a=1"]);
}

#[test]
fn objects_of_a_kind_that_is_removed_are_gone_and_come_back_with_it() {
    let server = server_with_two();
    server.put_object(DEFINITIONS, definition());
    let watched = Watched::start(&server);
    watched.expect(&["a=1 b=1", "complete"]);
    let begin = Instant::now();
    server.fault(Fault::NotServed);
    server.delete_object(DEFINITIONS, "", "ciliumnetworkpolicies.cilium.io");
    server.drop_streams();
    watched.expect(&["-a -b"]);
    assert!(begin.elapsed() >= Duration::from_secs(9), "{:?}", begin.elapsed());
    server.fault(Fault::None);
    server.put_object(DEFINITIONS, definition());
    watched.expect(&["a=1 b=1"]);
}

#[test]
fn a_server_that_was_away_is_followed_by_a_list() {
    let server = server_with_two();
    let watched = Watched::start(&server);
    watched.expect(&["a=1 b=1", "complete"]);
    server.wait_for_watches(1);
    let mut old = server.backup();
    server.put("a", "2");
    watched.expect(&["a=2"]);
    server.fault(Fault::Away);
    // The older store gets as many versions as the later one had, before anyone sees it.
    (0..5).for_each(|_| old.put("c", "1"));
    server.restore(old);
    std::thread::sleep(Duration::from_secs(1));
    server.fault(Fault::None);
    watched.expect_after_troubles("a=1 c=1");
}

#[test]
fn an_older_store_is_listed_again() {
    let server = server_with_two();
    let watched = Watched::start(&server);
    watched.expect(&["a=1 b=1", "complete"]);
    let old = server.backup();
    server.put("a", "2");
    server.put("c", "1");
    watched.expect(&["a=2", "c=1"]);
    server.restore(old);
    watched.expect(&["-c a=1"]);
    server.put("b", "2");
    watched.expect(&["b=2"]);
}
