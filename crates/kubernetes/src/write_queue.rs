//! Decides which write is sent next, and when: a queue without clock, socket or randomness.
//!
//! Of several writes to one path the last one counts. Writes are limited in number, and a write that failed for a reason that may pass is
//! sent again.

use crate::backoff::Backoff;
use crate::failure::{Failure, FailureCause};
use crate::watch::Moment;
use std::collections::BTreeMap;
use std::time::Duration;

/// How many writes may be sent at once after a quiet time, and how often one more.
const BURST: u32 = 50;
const EVERY: Duration = Duration::from_millis(50);
/// How many writes may wait for their answers.
const IN_FLIGHT: usize = 4;

/// How often a write is sent to a kind or a namespace that does not exist: for about ten minutes.
const ATTEMPTS: u32 = 24;

/// A write to the API server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectWrite {
    /// The path of the object.
    pub path: String,
    /// What is written.
    pub action: WriteAction,
}

/// What is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriteAction {
    /// Server-side apply: sets the fields of this JSON object, and creates the object if it does not exist. Fields of other writers stay.
    Apply(String),
    /// JSON merge patch of an object that exists.
    Merge(String),
    /// Deletes the object with this UID, and no later object with its name.
    Delete(String),
    /// Nothing: an earlier write to the path that the API server did not accept yet is given up.
    Withdraw,
}

/// The writes that were not answered yet.
#[derive(Debug)]
pub(crate) struct WriteQueue {
    /// By path, in the order of paths.
    waiting: BTreeMap<String, WaitingWrite>,
    in_flight: BTreeMap<String, Backoff>,
    /// When the bucket is full again, and with it the number of writes that may be sent now.
    full: Duration,
}

#[derive(Debug)]
struct WaitingWrite {
    action: WriteAction,
    due: Duration,
    backoff: Backoff,
}

/// What the sender does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NextWrite {
    Send(ObjectWrite),
    /// Wait this long, or until an answer or a new write.
    Wait(Duration),
    /// Wait for an answer or a new write.
    Idle,
}

impl WriteQueue {
    pub(crate) fn new() -> Self {
        Self { waiting: BTreeMap::new(), in_flight: BTreeMap::new(), full: Duration::ZERO }
    }

    /// Adds a write; it replaces one to the same path that was not sent.
    pub(crate) fn put(&mut self, ObjectWrite { path, action }: ObjectWrite, at: Duration) {
        if action == WriteAction::Withdraw && !self.in_flight.contains_key(&path) {
            self.waiting.remove(&path);
            return;
        }
        let waiting = WaitingWrite { action, due: at, backoff: Backoff::default() };
        self.waiting.insert(path, waiting);
    }

    /// What to do now. A write to send counts as sent.
    pub(crate) fn next(&mut self, at: Duration) -> NextWrite {
        if self.in_flight.len() >= IN_FLIGHT {
            return NextWrite::Idle;
        }
        let is_free = |path: &String| !self.in_flight.contains_key(path);
        let first = self.waiting.iter().filter(|(path, _)| is_free(path)).min_by_key(|(_, write)| write.due);
        let Some((path, write)) = first else { return NextWrite::Idle };
        let allowed = self.full.saturating_sub(EVERY * (BURST - 1));
        let due = write.due.max(allowed);
        if due > at {
            return NextWrite::Wait(due - at);
        }
        let path = path.clone();
        let Some(WaitingWrite { action, backoff, .. }) = self.waiting.remove(&path) else {
            return NextWrite::Idle;
        };
        self.full = self.full.max(at) + EVERY;
        self.in_flight.insert(path.clone(), backoff);
        NextWrite::Send(ObjectWrite { path, action })
    }

    /// Takes the answer to a write. A write that may succeed later waits, unless a later one replaced it; why a write was given up is
    /// returned.
    pub(crate) fn answered(
        &mut self,
        write: ObjectWrite,
        answer: Result<(), Failure>,
        moment: Moment,
    ) -> Option<Failure> {
        let ObjectWrite { path, action } = write;
        let mut backoff = self.in_flight.remove(&path).unwrap_or_default();
        if self.waiting.get(&path).is_some_and(|later| later.action == WriteAction::Withdraw) {
            self.waiting.remove(&path);
            return answer.err();
        }
        let failure = answer.err()?;
        let may_pass = match failure.cause {
            FailureCause::Overloaded | FailureCause::Connection | FailureCause::Forbidden => true,
            // The definition of a kind may come later than its first object.
            FailureCause::NotServed if creates(&path, &action) => backoff.attempts() < ATTEMPTS,
            // An object that is gone needs no write any more.
            FailureCause::NotServed => return None,
            FailureCause::Expired | FailureCause::Garbled => false,
        };
        if may_pass {
            let due = moment.at + backoff.next(failure.retry_after, moment.random);
            self.waiting.entry(path).or_insert(WaitingWrite { action, due, backoff });
        }
        Some(failure)
    }
}

/// Whether a write creates its object. The status of an object is not created.
fn creates(path: &str, action: &WriteAction) -> bool {
    matches!(action, WriteAction::Apply(_)) && !path.ends_with("/status")
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Duration = Duration::from_secs(100);

    fn write(path: &str, text: &str) -> ObjectWrite {
        ObjectWrite { path: path.into(), action: WriteAction::Merge(text.into()) }
    }

    fn failure(cause: FailureCause) -> Result<(), Failure> {
        Err(Failure { cause, why: "why".into(), retry_after: None })
    }

    fn moment(at: Duration) -> Moment {
        Moment { at, random: u32::MAX }
    }

    #[test]
    fn of_two_writes_to_one_path_the_last_is_sent() {
        let mut queue = WriteQueue::new();
        queue.put(write("/a", "1"), START);
        queue.put(write("/a", "2"), START);
        assert_eq!(queue.next(START), NextWrite::Send(write("/a", "2")));
        queue.put(write("/a", "3"), START);
        assert_eq!(queue.next(START), NextWrite::Idle, "the answer to the earlier write is awaited");
        assert_eq!(queue.answered(write("/a", "2"), Ok(()), moment(START)), None);
        assert_eq!(queue.next(START), NextWrite::Send(write("/a", "3")));
    }

    #[test]
    fn a_failure_that_may_pass_is_tried_again_unless_a_later_write_replaces_it() {
        let mut queue = WriteQueue::new();
        queue.put(write("/a", "1"), START);
        assert_eq!(queue.next(START), NextWrite::Send(write("/a", "1")));
        assert!(queue.answered(write("/a", "1"), failure(FailureCause::Overloaded), moment(START)).is_some());
        assert_eq!(queue.next(START), NextWrite::Wait(Duration::from_millis(500)));
        queue.put(write("/a", "2"), START);
        assert_eq!(queue.next(START), NextWrite::Send(write("/a", "2")));
        for cause in [FailureCause::Garbled, FailureCause::NotServed] {
            queue.answered(write("/a", "2"), failure(cause), moment(START));
            assert_eq!(queue.next(START), NextWrite::Idle);
        }
    }

    #[test]
    fn a_write_that_is_withdrawn_is_not_sent_again() {
        let withdrawal = || ObjectWrite { path: "/a".into(), action: WriteAction::Withdraw };
        let mut queue = WriteQueue::new();
        queue.put(write("/a", "1"), START);
        queue.put(withdrawal(), START);
        assert_eq!(queue.next(START), NextWrite::Idle, "it was not sent yet");
        queue.put(write("/a", "2"), START);
        assert_eq!(queue.next(START), NextWrite::Send(write("/a", "2")));
        queue.put(withdrawal(), START);
        assert!(queue.answered(write("/a", "2"), failure(FailureCause::Forbidden), moment(START)).is_some());
        assert_eq!(queue.next(START), NextWrite::Idle, "it was on its way");
        queue.put(write("/a", "3"), START);
        assert_eq!(queue.next(START), NextWrite::Send(write("/a", "3")));
    }

    #[test]
    fn an_object_whose_kind_is_not_defined_yet_is_written_later() {
        let retries = |path: &str| {
            let write = ObjectWrite { path: path.into(), action: WriteAction::Apply("1".into()) };
            let (mut queue, mut at) = (WriteQueue::new(), START);
            queue.put(write, at);
            let mut sent = 0;
            loop {
                match queue.next(at) {
                    NextWrite::Send(write) => {
                        sent += 1;
                        queue.answered(write, failure(FailureCause::NotServed), moment(at));
                    }
                    NextWrite::Wait(wait) => at += wait,
                    NextWrite::Idle => return (sent, (at - START).as_secs() / 60),
                }
            }
        };
        assert_eq!(retries("/apis/cilium.io/v2/namespaces/a/ciliumendpoints/b"), (25, 9));
        assert_eq!(retries("/apis/cilium.io/v2/namespaces/a/ciliumnetworkpolicies/b/status"), (1, 0));
    }

    #[test]
    fn writes_are_limited_in_number() {
        let mut queue = WriteQueue::new();
        (0..200).for_each(|number| queue.put(write(&format!("/{number:03}"), "1"), START));
        let mut sent_until = |at: Duration| {
            let mut sent = 0;
            while let NextWrite::Send(write) = queue.next(at) {
                queue.answered(write, Ok(()), moment(at));
                sent += 1;
            }
            sent
        };
        assert_eq!(sent_until(START), BURST);
        assert_eq!(sent_until(START + Duration::from_secs(1)), 20);
        assert_eq!(sent_until(START + Duration::from_secs(60)), BURST);
    }

    #[test]
    fn few_writes_wait_for_answers_at_a_time() {
        let mut queue = WriteQueue::new();
        (0..10).for_each(|number| queue.put(write(&format!("/{number}"), "1"), START));
        let sent = std::iter::from_fn(|| match queue.next(START) {
            NextWrite::Send(write) => Some(write),
            _ => None,
        });
        assert_eq!(sent.count(), IN_FLIGHT);
    }
}
