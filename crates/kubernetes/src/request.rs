//! The requests of a watch, on the wire: list, check, watch; and their answers.

use crate::failure::Failure;
use crate::kind::WatchedKind;
use crate::load::Load;
use crate::object::ReadObject;
use crate::watch::{Occurrence, Page};
use http_body_util::BodyExt;
use kube::Client;
use kube::client::Body;
use serde::Deserialize;
use serde_json::Value;
use std::fmt::Write;
use std::time::Duration;
use tokio::time::timeout;

/// How many objects a page of a list has.
const PAGE: u32 = 500;
/// What a request accepts, for the answer to have metadata only.
const METADATA_OF_LIST: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
const METADATA_OF_EVENTS: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
/// How long a request may take until its answer is complete, or its stream is open.
const ANSWER: Duration = Duration::from_secs(30);

/// A watched kind at an API server.
#[derive(Clone)]
pub(crate) struct Endpoint {
    pub(crate) client: Client,
    pub(crate) kind: WatchedKind,
    pub(crate) load: Load,
}

#[derive(Deserialize)]
struct ObjectList {
    #[serde(default)]
    metadata: ListMetadata,
    /// Null in an empty list of metadata.
    items: Option<Vec<Value>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ListMetadata {
    resource_version: String,
    #[serde(rename = "continue")]
    rest: String,
}

impl Endpoint {
    /// Lists a page.
    pub(crate) async fn list(&self, version: usize, rest: Option<&str>, is_paged: bool) -> Occurrence {
        self.page(version, rest, is_paged).await.map_or_else(Occurrence::Failed, Occurrence::Listed)
    }

    /// Reads a page of the list.
    pub(crate) async fn page(
        &self,
        version: usize,
        rest: Option<&str>,
        is_paged: bool,
    ) -> Result<Page, Failure> {
        let mut query = String::new();
        if is_paged {
            let _ = write!(query, "limit={PAGE}");
        }
        if let Some(rest) = rest {
            let _ = write!(query, "&continue={}", encoded(rest));
        }
        self.load.list();
        let ObjectList { metadata, items } = self.read_list(version, &query).await?;
        let read = |object| ReadObject::new(&self.kind, version, object);
        let objects = items.into_iter().flatten().filter_map(read).collect();
        let rest = Some(metadata.rest).filter(|rest| !rest.is_empty());
        Ok(Page { objects, resource_version: metadata.resource_version, rest })
    }

    /// Reads the present version of the store, by a list of one object at most.
    pub(crate) async fn check(&self, version: usize) -> Occurrence {
        match self.read_list(version, "limit=1").await {
            Ok(list) => Occurrence::Checked(list.metadata.resource_version),
            Err(failure) => Occurrence::Failed(failure),
        }
    }

    /// Opens the stream of the events after a version; the server ends the stream after `lasting`.
    pub(crate) async fn watch(
        &self,
        version: usize,
        after: &str,
        lasting: Duration,
    ) -> Result<Body, Failure> {
        let (after, seconds) = (encoded(after), lasting.as_secs());
        let query =
            format!("watch=true&allowWatchBookmarks=true&resourceVersion={after}&timeoutSeconds={seconds}");
        self.load.watch();
        let accepted = self.accepted(METADATA_OF_EVENTS);
        timeout(ANSWER, self.send(version, &query, accepted)).await.unwrap_or_else(|_| Err(no_answer()))
    }

    async fn read_list(&self, version: usize, query: &str) -> Result<ObjectList, Failure> {
        let body = async {
            let body = self.send(version, query, self.accepted(METADATA_OF_LIST)).await?;
            self.collect(body).await
        };
        let bytes = timeout(ANSWER, body).await.unwrap_or_else(|_| Err(no_answer()))?;
        serde_json::from_slice(&bytes).map_err(Failure::garbled)
    }

    /// What a request accepts: whole objects, or metadata if nothing else is read.
    fn accepted(&self, metadata: &'static str) -> &'static str {
        if self.kind.fields.are_metadata() { metadata } else { "application/json" }
    }

    async fn send(&self, version: usize, query: &str, accepted: &'static str) -> Result<Body, Failure> {
        let mut uri = self.kind.path(version);
        let _ = write!(uri, "?{query}");
        if let Some(selector) = &self.kind.field_selector {
            let _ = write!(uri, "&fieldSelector={}", encoded(selector));
        }
        let request = http::Request::get(uri).header(http::header::ACCEPT, accepted);
        let request = request.body(Body::empty()).map_err(Failure::garbled)?;
        let answer = self.client.send(request).await.map_err(Failure::connection)?;
        if answer.status().is_success() {
            return Ok(answer.into_body());
        }
        let code = answer.status().as_u16();
        let retry_after = answer.headers().get(http::header::RETRY_AFTER).cloned();
        let body = self.collect(answer.into_body()).await.unwrap_or_default();
        let retry_after = retry_after.as_ref().and_then(|value| value.to_str().ok());
        Err(Failure::from_answer(Some(code), retry_after, &body))
    }

    async fn collect(&self, body: Body) -> Result<Vec<u8>, Failure> {
        let bytes = body.collect().await.map_err(Failure::connection)?.to_bytes();
        self.load.received(bytes.len());
        Ok(bytes.into())
    }
}

fn no_answer() -> Failure {
    Failure::silence("no answer", ANSWER)
}

/// A value of a query.
fn encoded(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for byte in value.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                text.push(char::from(byte))
            }
            _ => {
                let _ = write!(text, "%{byte:02X}");
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_list_of_metadata_has_no_items() {
        let text = r#"{"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1",
            "metadata": {"resourceVersion": "7"}, "items": null}"#;
        let list: ObjectList = serde_json::from_str(text).unwrap();
        assert_eq!((list.metadata.resource_version.as_str(), list.items), ("7", None));
    }
}
