//! The stream of a watch: one JSON event a line.

use crate::failure::Failure;
use crate::kind::WatchedKind;
use crate::load::Load;
use crate::object::ReadObject;
use crate::watch::Occurrence;
use http_body_util::BodyExt;
use kube::client::Body;
use serde::Deserialize;
use serde_json::Value;
use std::time::Duration;
use tokio::time::timeout;

/// How long a stream may be silent. The server sends a bookmark every minute.
const SILENCE: Duration = Duration::from_secs(150);

/// A stream of events.
#[derive(Debug)]
pub(crate) struct Events {
    body: Body,
    /// What was received and is not a whole line yet, and how much of it contains no end of a line.
    received: Vec<u8>,
    searched: usize,
    version: usize,
}

#[derive(Deserialize)]
struct WatchEvent {
    #[serde(rename = "type")]
    kind: String,
    object: Value,
}

impl Events {
    pub(crate) fn new(body: Body, version: usize) -> Self {
        Self { body, received: Vec::new(), searched: 0, version }
    }

    /// The next event.
    pub(crate) async fn next(&mut self, kind: &WatchedKind, load: &Load) -> Occurrence {
        loop {
            if let Some(line) = self.line() {
                match read(&line, kind, self.version) {
                    Some(occurrence) => return occurrence,
                    None => continue,
                }
            }
            match timeout(SILENCE, self.body.frame()).await {
                Err(_) => return Occurrence::Failed(Failure::silence("no event", SILENCE)),
                Ok(None) => return Occurrence::Ended,
                Ok(Some(Err(error))) => return Occurrence::Failed(Failure::connection(error)),
                Ok(Some(Ok(frame))) => {
                    let Ok(data) = frame.into_data() else { continue };
                    load.received(data.len());
                    self.received.extend_from_slice(&data);
                }
            }
        }
    }

    /// Takes a whole line.
    fn line(&mut self) -> Option<Vec<u8>> {
        let end = self.received[self.searched..].iter().position(|byte| *byte == b'\n');
        let Some(end) = end else {
            self.searched = self.received.len();
            return None;
        };
        let rest = self.received.split_off(self.searched + end + 1);
        self.searched = 0;
        Some(std::mem::replace(&mut self.received, rest))
    }
}

/// Reads an event; none for an event of a kind that this release does not know.
fn read(line: &[u8], kind: &WatchedKind, version: usize) -> Option<Occurrence> {
    let event: WatchEvent = match serde_json::from_slice(line) {
        Ok(event) => event,
        Err(error) => return Some(Occurrence::Failed(Failure::garbled(error))),
    };
    let garbled = || Some(Occurrence::Failed(Failure::garbled("an event without an object's name")));
    match event.kind.as_str() {
        "ADDED" | "MODIFIED" => {
            ReadObject::new(kind, version, event.object).map(Occurrence::Put).or_else(garbled)
        }
        "DELETED" => ReadObject::new(kind, version, event.object)
            .map(|object| Occurrence::Deleted(object.name, object.resource_version))
            .or_else(garbled),
        "BOOKMARK" => {
            let now = event.object.pointer("/metadata/resourceVersion").and_then(Value::as_str);
            now.map(|now| Occurrence::Bookmark(now.to_owned())).or_else(garbled)
        }
        "ERROR" => {
            let status = event.object.to_string();
            Some(Occurrence::Failed(Failure::from_answer(None, None, status.as_bytes())))
        }
        _ => None,
    }
}
