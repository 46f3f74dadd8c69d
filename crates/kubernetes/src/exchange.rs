//! One request about one object, and its answer, for callers that need the answer.

use http::Method;
use http_body_util::BodyExt;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use std::time::Duration;
use thiserror::Error;
use tokio::time::timeout;

/// How long an answer may take. The caller tries again, so it is short.
const ANSWER: Duration = Duration::from_secs(4);

/// A request about the object or the collection of a path.
#[derive(Clone, Debug)]
pub enum ObjectRequest<'a> {
    /// Read the object.
    Read,
    /// Create an object in the collection.
    Create(&'a Value),
    /// Replace the object. With a `resourceVersion` it must be the object's.
    Replace(&'a Value),
    /// Set these fields by server-side apply, under the name of this writer, and create the object if there is none.
    Apply(&'a Value, &'a str),
    /// Delete the object if it has this UID.
    Delete(&'a str),
}

/// The API server refused a request, or did not answer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{method} {path}: {why}")]
pub struct RequestError {
    /// The method.
    pub method: String,
    /// The path.
    pub path: String,
    /// The status of the answer; none for no answer.
    pub status: Option<u16>,
    /// Why.
    pub why: String,
}

impl RequestError {
    /// Whether there is no such object.
    pub fn is_absent(&self) -> bool {
        self.status == Some(404)
    }

    /// Whether there is such an object already, or it changed meanwhile.
    pub fn is_conflict(&self) -> bool {
        self.status == Some(409)
    }
}

/// Sends a request, and returns the object in the answer.
pub async fn exchange(
    client: &Client,
    path: &str,
    request: ObjectRequest<'_>,
) -> Result<Value, RequestError> {
    let (method, content, query, body) = match request {
        ObjectRequest::Read => (Method::GET, "application/json", String::new(), None),
        ObjectRequest::Create(object) => {
            (Method::POST, "application/json", String::new(), Some(object.to_string()))
        }
        ObjectRequest::Replace(object) => {
            (Method::PUT, "application/json", String::new(), Some(object.to_string()))
        }
        ObjectRequest::Apply(object, writer) => {
            let query = format!("?fieldManager={writer}&force=true");
            (Method::PATCH, "application/apply-patch+yaml", query, Some(object.to_string()))
        }
        ObjectRequest::Delete(uid) => {
            let options = json!({"preconditions": {"uid": uid}});
            (Method::DELETE, "application/json", String::new(), Some(options.to_string()))
        }
    };
    let error =
        |status, why: String| RequestError { method: method.to_string(), path: path.to_owned(), status, why };
    let request = http::Request::builder().method(&method).uri(format!("{path}{query}"));
    let request = request.header(http::header::CONTENT_TYPE, content);
    let body = body.map_or_else(Body::empty, |text| Body::from(text.into_bytes()));
    let request = request.body(body).map_err(|why| error(None, why.to_string()))?;
    let answer = async {
        let answer = client.send(request).await.map_err(|why| why.to_string())?;
        let status = answer.status();
        let body = answer.into_body().collect().await.map_err(|why| why.to_string())?.to_bytes();
        Ok::<_, String>((status, body))
    };
    let answer = timeout(ANSWER, answer).await.unwrap_or_else(|_| Err("no answer".to_owned()));
    let (status, body) = answer.map_err(|why| error(None, why))?;
    let object: Value = serde_json::from_slice(&body).unwrap_or_default();
    if status.is_success() {
        return Ok(object);
    }
    let message = object["message"].as_str().map_or_else(|| status.to_string(), str::to_owned);
    Err(error(Some(status.as_u16()), message))
}
