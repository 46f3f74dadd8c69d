//! Events on pods of this node: one object for each pod and reason, which counts what happened again.

use kubernetes::{ObjectWrite, ResourceName, WriteAction};
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How often an event is written at most while it happens again.
const AGAIN: Duration = Duration::from_secs(60);
/// How many events are known at a time; further ones are not written.
const MOST: usize = 1000;
/// How much of a pod's name an event's name has.
const LONGEST_NAME: usize = 200;

/// Why an event was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum EventReason {
    /// The pod could not be attached.
    FailedAttachment,
    /// The operator has not allocated the identity of the pod's labels in time.
    IdentityPending,
}

/// A pod, by its name and UID.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct EventSubject {
    /// Namespace and name.
    pub(crate) name: ResourceName,
    /// UID.
    pub(crate) uid: String,
}

/// The events on pods of this node.
#[derive(Debug)]
pub(crate) struct PodEvents {
    node: String,
    known: BTreeMap<(EventSubject, EventReason), KnownEvent>,
}

#[derive(Debug)]
struct KnownEvent {
    count: u32,
    first: SystemTime,
    /// The message and the time of the last write.
    message: String,
    written: Instant,
}

impl PodEvents {
    /// No event has happened on this node.
    pub(crate) fn new(node: &str) -> Self {
        Self { node: node.to_owned(), known: BTreeMap::new() }
    }

    /// Something happened to a pod. Returns the write of the event, if one is due: the same within a minute is only counted.
    pub(crate) fn note(
        &mut self,
        subject: EventSubject,
        reason: EventReason,
        message: &str,
        (now, time): (Instant, SystemTime),
    ) -> Option<ObjectWrite> {
        let key = (subject, reason);
        if !self.known.contains_key(&key) && self.known.len() >= MOST {
            return None;
        }
        let is_new = !self.known.contains_key(&key);
        let known = self.known.entry(key.clone()).or_insert_with(|| KnownEvent {
            count: 0,
            first: time,
            message: message.to_owned(),
            written: now,
        });
        known.count += 1;
        if !is_new && known.message == message && now.saturating_duration_since(known.written) < AGAIN {
            return None;
        }
        (known.message, known.written) = (message.to_owned(), now);
        let (first, count) = (known.first, known.count);
        Some(self.write(&key, message, (count, first, time)))
    }

    /// A pod is gone.
    pub(crate) fn forget(&mut self, name: &ResourceName) {
        self.known.retain(|(subject, _), _| subject.name != *name);
    }

    fn write(
        &self,
        (subject, reason): &(EventSubject, EventReason),
        message: &str,
        (count, first, last): (u32, SystemTime, SystemTime),
    ) -> ObjectWrite {
        let (namespace, pod) = (subject.name.namespace.as_deref().unwrap_or_default(), &subject.name.name);
        let name = event_name(subject, *reason);
        let (kind, reason) = match reason {
            EventReason::FailedAttachment => ("Warning", "FailedAttachment"),
            EventReason::IdentityPending => ("Warning", "IdentityPending"),
        };
        let event = serde_json::json!({
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": namespace},
            "involvedObject":
                {"apiVersion": "v1", "kind": "Pod", "namespace": namespace, "name": pod, "uid": subject.uid},
            "type": kind,
            "reason": reason,
            "message": message,
            "source": {"component": "nexin-agent", "host": self.node},
            "reportingComponent": "nexin-agent",
            "reportingInstance": self.node,
            "firstTimestamp": seconds(first),
            "lastTimestamp": seconds(last),
            "count": count,
        });
        let path = format!("/api/v1/namespaces/{namespace}/events/{name}");
        ObjectWrite { path, action: WriteAction::Apply(event.to_string()) }
    }
}

/// The name of an event: a later event of the same pod and reason replaces an earlier one.
fn event_name(subject: &EventSubject, reason: EventReason) -> String {
    let mut hasher = DefaultHasher::new();
    (&subject.uid, reason).hash(&mut hasher);
    let pod: String = subject.name.name.chars().take(LONGEST_NAME).collect();
    format!("{}.{:016x}", pod.trim_end_matches(['.', '-']), hasher.finish())
}

/// A time of an event, which has no fractions of seconds.
fn seconds(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let text = flow::Time(seconds * 1_000_000_000).to_string();
    text.split_once('.').map_or(text.clone(), |(whole, _)| format!("{whole}Z"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(name: &str) -> EventSubject {
        let name = ResourceName { namespace: Some("shop".into()), name: name.into() };
        EventSubject { uid: format!("uid-of-{}", name.name), name }
    }

    #[test]
    fn an_event_names_its_pod_and_counts() {
        let (mut events, begin) = (PodEvents::new("n1"), Instant::now());
        let mut note = |message: &str, after: u64| {
            let after = Duration::from_secs(after);
            let now = (begin + after, UNIX_EPOCH + after);
            let write = events.note(subject("web"), EventReason::FailedAttachment, message, now)?;
            let WriteAction::Apply(body) = write.action else { panic!("not applied") };
            let body: serde_json::Value = serde_json::from_str(&body).unwrap();
            Some((write.path, body))
        };
        let (path, body) = note("no address is left", 1).unwrap();
        assert!(path.starts_with("/api/v1/namespaces/shop/events/web."), "{path}");
        assert_eq!(body["involvedObject"]["uid"], "uid-of-web");
        assert_eq!((&body["reason"], &body["type"]), (&"FailedAttachment".into(), &"Warning".into()));
        assert_eq!((&body["count"], &body["firstTimestamp"]), (&1.into(), &"1970-01-01T00:00:01Z".into()));
        assert_eq!(note("no address is left", 2), None, "the same within a minute");
        let (again, body) = note("the interface cannot be made", 3).unwrap();
        assert_eq!((again, &body["count"]), (path, &3.into()), "another message, in the same object");
        let (_, body) = note("the interface cannot be made", 70).unwrap();
        assert_eq!(
            (&body["count"], &body["firstTimestamp"], &body["lastTimestamp"]),
            (&4.into(), &"1970-01-01T00:00:01Z".into(), &"1970-01-01T00:01:10Z".into())
        );
    }

    #[test]
    fn events_of_a_pod_that_is_gone_are_forgotten_and_the_others_are_bounded() {
        let (mut events, now) = (PodEvents::new("n1"), (Instant::now(), UNIX_EPOCH));
        for number in 0..MOST + 10 {
            let write =
                events.note(subject(&format!("p{number}")), EventReason::IdentityPending, "late", now);
            assert_eq!(write.is_some(), number < MOST);
        }
        events.forget(&subject("p7").name);
        assert!(events.note(subject("new"), EventReason::IdentityPending, "late", now).is_some());
    }
}
