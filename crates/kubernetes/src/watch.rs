//! Decides what a watch of one kind does next: a state machine without clock, socket or randomness.
//!
//! What happened goes in ([`Occurrence`]); what to report and the next request come out ([`Step`]). Objects are reported as gone only by a
//! DELETED event, by a complete list without them, or after the API server did not serve their kind for [`ABSENCE`].

#[cfg(test)]
mod tests;

use crate::backoff::Backoff;
use crate::failure::{Failure, FailureCause};
use crate::known::KnownObjects;
use crate::object::{ObservedObject, ReadObject, ResourceName};
use std::time::Duration;

/// For how long the API server must not serve a kind until its objects count as gone: an API server that starts does not serve
/// every kind at once.
pub(crate) const ABSENCE: Duration = Duration::from_secs(10);
/// The longest wait for a kind that the API server does not serve, while it is not known whether its definition exists.
const DEFINITION: Duration = Duration::from_secs(15);
/// A stream that lasted this long was no failed attempt.
const LASTING: Duration = Duration::from_secs(5);
/// The number of failures in succession that the status does not mention.
const UNMENTIONED: u32 = 1;

/// When something happened, and a random number to spread what follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    /// Time since some beginning.
    pub(crate) at: Duration,
    pub(crate) random: u32,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Occurrence {
    /// A page of a list was read.
    Listed(Page),
    /// The present version of the store was read.
    Checked(String),
    /// The stream of events is open.
    Opened,
    /// An object was added or changed.
    Put(ReadObject),
    /// An object was deleted; its last version.
    Deleted(ResourceName, String),
    /// There is no event up to this version.
    Bookmark(String),
    /// The server ended the stream.
    Ended,
    /// The request failed, or the stream.
    Failed(Failure),
    /// The wait is over.
    Due,
    /// The wait is over, since the definition of the kind appeared, changed or is gone.
    Redefined,
}

/// A page of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Page {
    pub(crate) objects: Vec<ReadObject>,
    pub(crate) resource_version: String,
    /// What the next page follows; none for the last page.
    pub(crate) rest: Option<String>,
}

/// What the watch of a kind reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// These objects changed together.
    Objects(Vec<ObservedObject>),
    /// All objects of the kind were reported once.
    Complete,
    /// Objects of the kind are not up to date, and why; none once they are.
    Trouble(Option<String>),
}

/// The next request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// List a page.
    List { version: usize, rest: Option<String>, is_paged: bool },
    /// Read the present version of the store.
    Check { version: usize },
    /// Open a stream of the events after a version.
    Watch { version: usize, after: String },
    /// Read the next event of the stream.
    Read,
    /// Wait.
    Wait(Duration),
    /// Wait, but not longer than until the server answers the watch of another kind again.
    WaitForServer(Duration),
    /// Wait until the definition of the kind changes, or for this long if it may exist.
    WaitForDefinition(Duration),
}

/// What follows from an occurrence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) reports: Vec<Report>,
    pub(crate) request: Request,
}

/// The watch of one kind.
#[derive(Debug)]
pub(crate) struct Watch {
    known: KnownObjects,
    /// The number of versions of the kind, and the one that is in use.
    versions: usize,
    version: usize,
    state: State,
    backoff: Backoff,
    is_complete: bool,
    is_troubled: bool,
    /// Since when the API server has not served the kind.
    absence: Option<Duration>,
}

#[derive(Debug)]
enum State {
    /// Lists; these objects are listed already.
    Listing { objects: Vec<ReadObject>, is_paged: bool },
    /// Checks whether the store still has this version.
    Checking { after: String },
    /// Opens a stream, or has had it since a time.
    Watching { after: String, opened: Option<Duration> },
    /// Waits, and lists then, or resumes after this version.
    Waiting { resume: Option<String>, is_paged: bool },
}

impl Watch {
    /// A watch of a kind with this number of versions, which reports what differs from the known objects; and its first request.
    pub(crate) fn new(versions: usize, known: KnownObjects) -> (Self, Request) {
        let state = State::Listing { objects: Vec::new(), is_paged: true };
        let watch = Self {
            known,
            versions,
            version: 0,
            state,
            backoff: Backoff::default(),
            is_complete: false,
            is_troubled: false,
            absence: None,
        };
        (watch, Request::List { version: 0, rest: None, is_paged: true })
    }

    /// What follows.
    pub(crate) fn on(&mut self, occurrence: Occurrence, moment: Moment) -> Step {
        match occurrence {
            Occurrence::Listed(page) => self.listed(page),
            Occurrence::Checked(version) => self.checked(&version),
            Occurrence::Opened => self.opened(moment),
            Occurrence::Put(object) => {
                let version = object.resource_version.clone();
                self.event(&version, |known| known.put(object))
            }
            Occurrence::Deleted(name, version) => self.event(&version, |known| known.remove(name)),
            Occurrence::Bookmark(version) => self.event(&version, |_| None),
            Occurrence::Ended => self.ended(moment),
            Occurrence::Failed(failure) => self.failed(failure, moment),
            Occurrence::Due => self.due(),
            Occurrence::Redefined => {
                self.backoff.reset();
                self.due()
            }
        }
    }

    fn listed(&mut self, page: Page) -> Step {
        let State::Listing { objects, is_paged } = &mut self.state else { return self.list(true) };
        objects.extend(page.objects);
        if page.rest.is_some() {
            let request = Request::List { version: self.version, rest: page.rest, is_paged: *is_paged };
            return Step { reports: Vec::new(), request };
        }
        let changed = self.known.replace(std::mem::take(objects));
        let mut reports = self.complete(changed);
        let Step { request, .. } = self.watch(page.resource_version);
        reports.extend(self.recovered());
        Step { reports, request }
    }

    /// The reports of a complete list.
    fn complete(&mut self, changed: Vec<ObservedObject>) -> Vec<Report> {
        let mut reports = Vec::new();
        if !changed.is_empty() {
            reports.push(Report::Objects(changed));
        }
        if !std::mem::replace(&mut self.is_complete, true) {
            reports.push(Report::Complete);
        }
        self.absence = None;
        reports
    }

    fn checked(&mut self, version: &str) -> Step {
        let State::Checking { after } = &self.state else { return self.list(true) };
        let has_version = number(version).zip(number(after)).is_some_and(|(now, after)| now >= after);
        let after = after.clone();
        if has_version { self.watch(after) } else { self.list(true) }
    }

    /// One event of the stream, which also says up to which version the objects are known.
    fn event(
        &mut self,
        version: &str,
        apply: impl FnOnce(&mut KnownObjects) -> Option<ObservedObject>,
    ) -> Step {
        let State::Watching { after, .. } = &mut self.state else { return self.list(true) };
        if number(version).zip(number(after)).is_some_and(|(now, after)| now < after) {
            // The store is an older one: what it lost must be found by a list.
            return self.list(true);
        }
        version.clone_into(after);
        self.backoff.reset();
        let object = apply(&mut self.known);
        let reports = object.map(|object| Report::Objects(vec![object]));
        Step { reports: reports.into_iter().collect(), request: Request::Read }
    }

    fn opened(&mut self, moment: Moment) -> Step {
        let State::Watching { opened, .. } = &mut self.state else { return self.list(true) };
        *opened = Some(moment.at);
        Step { reports: self.recovered(), request: Request::Read }
    }

    /// The kind is up to date.
    fn recovered(&mut self) -> Vec<Report> {
        let was_troubled = std::mem::take(&mut self.is_troubled);
        was_troubled.then_some(Report::Trouble(None)).into_iter().collect()
    }

    /// A server ends each stream after the time that the client asks for. That is no failure.
    fn ended(&mut self, moment: Moment) -> Step {
        let State::Watching { after, opened } = &self.state else { return self.list(true) };
        let after = after.clone();
        if opened.is_some_and(|opened| moment.at.saturating_sub(opened) >= LASTING) {
            self.backoff.reset();
            return self.watch(after);
        }
        self.wait(None, Some(after), moment)
    }

    fn failed(&mut self, failure: Failure, moment: Moment) -> Step {
        if failure.cause == FailureCause::NotServed {
            return self.not_served(moment);
        }
        let was_paged = matches!(self.state, State::Listing { is_paged: true, .. });
        let resume = match (&self.state, failure.cause) {
            (_, FailureCause::Expired | FailureCause::Garbled) => None,
            // A server that was away may return with an older store, whose versions have passed the last one that was seen.
            (State::Checking { .. } | State::Watching { opened: None, .. }, FailureCause::Connection) => None,
            (State::Checking { after } | State::Watching { after, .. }, _) => Some(after.clone()),
            _ => None,
        };
        let mut step = self.wait(failure.retry_after, resume, moment);
        if let (true, Request::Wait(wait)) = (failure.may_end_with_others(), &step.request) {
            step.request = Request::WaitForServer(*wait);
        }
        if failure.cause == FailureCause::Expired && was_paged {
            // The pages of one list expire when the list takes too long; one page does not.
            self.state = State::Waiting { resume: None, is_paged: false };
        }
        let is_mentioned = self.backoff.attempts() > UNMENTIONED && failure.cause != FailureCause::Expired;
        if is_mentioned || failure.cause == FailureCause::Forbidden {
            self.is_troubled = true;
            step.reports.push(Report::Trouble(Some(failure.why)));
        }
        step
    }

    /// The definition of the kind does not exist in this version.
    fn not_served(&mut self, moment: Moment) -> Step {
        if self.version + 1 < self.versions {
            self.version += 1;
            return self.list(true);
        }
        self.version = 0;
        let since = *self.absence.get_or_insert(moment.at);
        let is_absent = self.known.is_empty() || moment.at.saturating_sub(since) >= ABSENCE;
        let mut reports = Vec::new();
        if is_absent {
            let gone = self.known.replace(Vec::new());
            reports = self.complete(gone);
            self.absence = Some(since);
            reports.extend(self.recovered());
        }
        let Step { request, .. } = self.wait(None, None, moment);
        let request = match request {
            // The objects are gone as soon as that is certain.
            Request::Wait(wait) if !is_absent => Request::Wait(wait.min(ABSENCE / 4)),
            Request::Wait(wait) => Request::WaitForDefinition(wait.min(DEFINITION)),
            other => other,
        };
        Step { reports, request }
    }

    fn due(&mut self) -> Step {
        let State::Waiting { resume, is_paged } = &mut self.state else { return self.list(true) };
        let Some(after) = resume.take() else {
            let is_paged = *is_paged;
            return self.list(is_paged);
        };
        self.state = State::Checking { after };
        Step { reports: Vec::new(), request: Request::Check { version: self.version } }
    }

    fn list(&mut self, is_paged: bool) -> Step {
        self.state = State::Listing { objects: Vec::new(), is_paged };
        Step { reports: Vec::new(), request: Request::List { version: self.version, rest: None, is_paged } }
    }

    fn watch(&mut self, after: String) -> Step {
        self.state = State::Watching { after: after.clone(), opened: None };
        Step { reports: Vec::new(), request: Request::Watch { version: self.version, after } }
    }

    fn wait(&mut self, asked: Option<Duration>, resume: Option<String>, moment: Moment) -> Step {
        let wait = self.backoff.next(asked, moment.random);
        self.state = State::Waiting { resume, is_paged: true };
        Step { reports: Vec::new(), request: Request::Wait(wait) }
    }
}

/// A version as a number, as all servers write it.
fn number(version: &str) -> Option<u128> {
    version.parse().ok()
}
