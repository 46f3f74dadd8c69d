//! Sequences of occurrences, and what follows from them.

use super::*;

/// A watch, and what followed from its occurrences so far.
struct Scene {
    watch: Watch,
    at: Duration,
    request: Request,
    reports: Vec<Report>,
}

impl Scene {
    fn new(known: &[(&str, &str)]) -> Self {
        let hash = |(name, text): &(&str, &str)| (resource_name(name), crate::object::text_hash(text));
        let (watch, request) = Watch::new(1, known.iter().map(hash).collect());
        Self { watch, at: Duration::ZERO, request, reports: Vec::new() }
    }

    /// A watch with a stream after version 10, with the objects a and b.
    fn watching() -> Self {
        let mut scene = Self::new(&[]);
        scene.on(list(&["a", "b"], "10"));
        scene.on(Occurrence::Opened);
        scene.reports.clear();
        scene
    }

    fn on(&mut self, occurrence: Occurrence) -> &mut Self {
        let step = self.watch.on(occurrence, Moment { at: self.at, random: u32::MAX });
        self.reports.extend(step.reports);
        self.request = step.request;
        self
    }

    fn after(&mut self, seconds: u64) -> &mut Self {
        self.at += Duration::from_secs(seconds);
        self
    }

    #[track_caller]
    fn requests(&mut self, expected: Request) -> &mut Self {
        assert_eq!(self.request, expected);
        self
    }

    /// The reports as text: `a` for an object, `-a` for one that is gone.
    #[track_caller]
    fn reports(&mut self, expected: &[&str]) -> &mut Self {
        let text = |report: Report| match report {
            Report::Objects(objects) => {
                let one = |object: ObservedObject| match object.text {
                    Some(_) => object.name.name,
                    None => format!("-{}", object.name.name),
                };
                objects.into_iter().map(one).collect::<Vec<_>>().join(" ")
            }
            Report::Complete => "complete".into(),
            Report::Trouble(Some(why)) => format!("trouble: {why}"),
            Report::Trouble(None) => "recovered".into(),
        };
        let found: Vec<String> = std::mem::take(&mut self.reports).into_iter().map(text).collect();
        assert_eq!(found, expected);
        self
    }
}

fn resource_name(name: &str) -> ResourceName {
    ResourceName { namespace: None, name: name.into() }
}

fn object(name: &str, text: &str, version: &str) -> ReadObject {
    ReadObject { name: resource_name(name), resource_version: version.into(), text: text.into() }
}

fn page(names: &[&str], version: &str, rest: Option<&str>) -> Occurrence {
    let objects = names.iter().map(|name| object(name, name, version)).collect();
    Occurrence::Listed(Page { objects, resource_version: version.into(), rest: rest.map(str::to_owned) })
}

fn list(names: &[&str], version: &str) -> Occurrence {
    page(names, version, None)
}

fn failure(cause: FailureCause) -> Occurrence {
    Occurrence::Failed(Failure { cause, why: "why".into(), retry_after: None })
}

const LIST: Request = Request::List { version: 0, rest: None, is_paged: true };

fn watch_after(version: &str) -> Request {
    Request::Watch { version: 0, after: version.into() }
}

fn wait_for_server(milliseconds: u64) -> Request {
    Request::WaitForServer(Duration::from_millis(milliseconds))
}

fn wait(milliseconds: u64) -> Request {
    Request::Wait(Duration::from_millis(milliseconds))
}

#[test]
fn a_list_of_several_pages_is_one_change() {
    let mut scene = Scene::new(&[]);
    scene.requests(LIST);
    scene.on(page(&["a"], "10", Some("more"))).reports(&[]);
    scene.requests(Request::List { version: 0, rest: Some("more".into()), is_paged: true });
    scene.on(list(&["b"], "10")).reports(&["a b", "complete"]).requests(watch_after("10"));
}

#[test]
fn a_start_with_known_objects_reports_what_differs() {
    let mut scene = Scene::new(&[("a", "a"), ("b", "old"), ("c", "c")]);
    scene.on(failure(FailureCause::Connection)).reports(&[]);
    scene.on(Occurrence::Due).on(list(&["a", "b"], "10")).reports(&["-c b", "complete"]);
}

#[test]
fn a_stream_resumes_after_the_last_event_or_bookmark() {
    let mut scene = Scene::watching();
    scene.on(Occurrence::Put(object("c", "c", "11"))).reports(&["c"]).requests(Request::Read);
    scene.on(Occurrence::Deleted(resource_name("a"), "12".into())).reports(&["-a"]);
    scene.on(Occurrence::Bookmark("40".into())).reports(&[]);
    scene.after(300).on(Occurrence::Ended).requests(watch_after("40"));
}

#[test]
fn an_event_that_changes_nothing_of_interest_is_not_reported() {
    Scene::watching().on(Occurrence::Put(object("a", "a", "11"))).reports(&[]);
}

#[test]
fn a_dropped_connection_resumes_after_a_check_of_the_store() {
    let mut scene = Scene::watching();
    scene.on(failure(FailureCause::Connection)).requests(wait_for_server(500)).reports(&[]);
    scene.on(Occurrence::Due).requests(Request::Check { version: 0 });
    scene.on(Occurrence::Checked("15".into())).requests(watch_after("10"));
}

#[test]
fn an_expired_version_is_listed_again_and_nothing_is_gone_in_between() {
    let mut scene = Scene::watching();
    scene.on(failure(FailureCause::Expired)).reports(&[]).requests(wait(500));
    scene.on(Occurrence::Due).requests(LIST);
    scene.on(page(&["a"], "90", Some("more"))).reports(&[]);
    scene.on(list(&["b"], "90")).reports(&[]).requests(watch_after("90"));
}

#[test]
fn a_list_whose_pages_expire_is_read_as_one_page() {
    let mut scene = Scene::new(&[]);
    scene.on(page(&["a"], "10", Some("more"))).on(failure(FailureCause::Expired)).on(Occurrence::Due);
    scene.requests(Request::List { version: 0, rest: None, is_paged: false });
    scene.on(list(&["a"], "11")).reports(&["a", "complete"]);
}

#[test]
fn an_older_store_is_listed_again() {
    let mut scene = Scene::watching();
    scene.on(failure(FailureCause::Connection)).on(Occurrence::Due);
    scene.on(Occurrence::Checked("7".into())).requests(LIST);
    scene.on(list(&["a"], "7")).reports(&["-b"]).requests(watch_after("7"));
    scene.on(Occurrence::Opened).on(Occurrence::Bookmark("5".into())).requests(LIST);
}

#[test]
fn a_server_that_was_away_is_followed_by_a_list_whatever_its_version() {
    let mut scene = Scene::watching();
    scene.on(failure(FailureCause::Connection)).on(Occurrence::Due).requests(Request::Check { version: 0 });
    scene.on(failure(FailureCause::Connection)).on(Occurrence::Due).requests(LIST);
    scene.on(list(&["a"], "1000")).reports(&["trouble: why", "-b", "recovered"]);
}

#[test]
fn a_storm_of_errors_is_waited_out_with_growing_waits_and_one_problem() {
    let mut scene = Scene::watching();
    for milliseconds in [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000] {
        scene
            .on(failure(FailureCause::Overloaded))
            .requests(wait_for_server(milliseconds))
            .on(Occurrence::Due);
    }
    scene.reports(&["trouble: why"; 7]);
    scene.on(Occurrence::Checked("11".into())).reports(&[]).on(Occurrence::Opened).reports(&["recovered"]);
}

#[test]
fn a_server_that_asks_for_time_gets_it() {
    let asked = Some(Duration::from_secs(20));
    let failure = Failure { cause: FailureCause::Overloaded, why: "busy".into(), retry_after: asked };
    Scene::watching().on(Occurrence::Failed(failure)).requests(wait(24_000));
}

#[test]
fn streams_that_end_at_once_are_not_opened_in_a_hot_loop() {
    let mut scene = Scene::watching();
    scene.on(Occurrence::Ended).requests(wait(500)).on(Occurrence::Due).on(Occurrence::Checked("10".into()));
    scene.on(Occurrence::Opened).on(Occurrence::Ended).requests(wait(1000));
}

#[test]
fn a_list_that_works_between_expired_watches_does_not_reset_the_waits() {
    let mut scene = Scene::watching();
    scene.on(failure(FailureCause::Expired)).on(Occurrence::Due).on(list(&["a", "b"], "20"));
    scene.on(failure(FailureCause::Expired)).requests(wait(1000)).reports(&[]);
}

fn wait_for_definition(milliseconds: u64) -> Request {
    Request::WaitForDefinition(Duration::from_millis(milliseconds))
}

#[test]
fn a_kind_that_is_not_served_is_waited_for_without_an_error() {
    let mut scene = Scene::new(&[]);
    scene.on(failure(FailureCause::NotServed)).reports(&["complete"]).requests(wait_for_definition(500));
    scene.on(Occurrence::Due).requests(LIST).on(list(&["a"], "9")).reports(&["a"]);
}

#[test]
fn a_kind_whose_definition_changed_is_tried_often_again() {
    let mut scene = Scene::new(&[]);
    for milliseconds in [500, 1000, 2000, 4000, 8000, 15_000, 15_000] {
        scene.on(failure(FailureCause::NotServed)).requests(wait_for_definition(milliseconds));
        scene.on(Occurrence::Due).requests(LIST);
    }
    scene.on(failure(FailureCause::NotServed)).on(Occurrence::Redefined).requests(LIST);
    scene.on(failure(FailureCause::NotServed)).requests(wait_for_definition(500));
}

#[test]
fn the_next_version_of_a_kind_is_tried_where_one_is_not_served() {
    let (mut watch, _) = Watch::new(2, KnownObjects::default());
    let step = watch.on(failure(FailureCause::NotServed), Moment { at: Duration::ZERO, random: 0 });
    assert_eq!(step.request, Request::List { version: 1, rest: None, is_paged: true });
}

#[test]
fn objects_of_a_removed_kind_are_gone_after_a_while_and_not_at_the_first_answer() {
    let mut scene = Scene::watching();
    scene.on(failure(FailureCause::NotServed)).reports(&[]).on(Occurrence::Due);
    scene.after(5).on(failure(FailureCause::NotServed)).reports(&[]).on(Occurrence::Due);
    scene.after(5).on(failure(FailureCause::NotServed)).reports(&["-a -b"]).on(Occurrence::Due);
    scene.on(list(&["a"], "50")).reports(&["a"]).requests(watch_after("50"));
}

#[test]
fn an_api_server_that_does_not_serve_a_kind_yet_takes_nothing_away() {
    let mut scene = Scene::watching();
    scene.on(failure(FailureCause::NotServed)).on(Occurrence::Due);
    scene.after(9).on(list(&["a", "b"], "12")).reports(&[]);
}

#[test]
fn a_missing_permission_is_a_problem_at_once() {
    Scene::new(&[]).on(failure(FailureCause::Forbidden)).reports(&["trouble: why"]);
}
