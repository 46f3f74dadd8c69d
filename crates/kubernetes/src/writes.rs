//! Sends writes to the API server, one after another as the queue decides.

use crate::failure::Failure;
use crate::load::Load;
use crate::watch::Moment;
use crate::write_queue::{NextWrite, ObjectWrite, WriteAction, WriteQueue};
use http::Method;
use http_body_util::BodyExt;
use kube::Client;
use kube::client::Body;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(30);
/// The name under which the API server records which fields are ours.
const MANAGER: &str = "nexin";

/// A write that was given up or is tried again, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteTrouble {
    /// The path of the object.
    pub path: String,
    /// What the API server answered.
    pub why: String,
}

/// Sends writes as they come, until there is no sender any more.
pub(crate) async fn send_all(
    client: Client,
    mut writes: UnboundedReceiver<ObjectWrite>,
    load: Load,
    (begin, random): (Instant, fn() -> u32),
    deliver: impl Fn(WriteTrouble),
) {
    let mut queue = WriteQueue::new();
    let mut sending = JoinSet::new();
    loop {
        let wait = match queue.next(begin.elapsed()) {
            NextWrite::Send(write) => {
                load.write();
                sending.spawn(send(client.clone(), write));
                continue;
            }
            NextWrite::Wait(wait) => wait,
            NextWrite::Idle => Duration::from_secs(3600),
        };
        tokio::select! {
            write = writes.recv() => match write {
                Some(write) => queue.put(write, begin.elapsed()),
                None => return,
            },
            Some(Ok((write, answer))) = sending.join_next() => {
                let path = write.path.clone();
                let moment = Moment { at: begin.elapsed(), random: random() };
                if let Some(failure) = queue.answered(write, answer, moment) {
                    deliver(WriteTrouble { path, why: failure.why });
                }
            }
            () = tokio::time::sleep(wait) => {}
        }
    }
}

async fn send(client: Client, write: ObjectWrite) -> (ObjectWrite, Result<(), Failure>) {
    let answer = timeout(ANSWER, request(&client, &write)).await;
    let answer = answer.unwrap_or_else(|_| Err(Failure::silence("no answer", ANSWER)));
    (write, answer)
}

async fn request(client: &Client, ObjectWrite { path, action }: &ObjectWrite) -> Result<(), Failure> {
    let own = format!("?fieldManager={MANAGER}");
    let (method, content, query, body) = match action {
        WriteAction::Apply(body) => {
            (Method::PATCH, "application/apply-patch+yaml", format!("{own}&force=true"), body.clone())
        }
        WriteAction::Merge(body) => (Method::PATCH, "application/merge-patch+json", own, body.clone()),
        WriteAction::Delete(uid) => {
            let options = format!(r#"{{"preconditions":{{"uid":"{uid}"}}}}"#);
            (Method::DELETE, "application/json", String::new(), options)
        }
        WriteAction::Withdraw => return Ok(()),
    };
    let request = http::Request::builder().method(method).uri(format!("{path}{query}"));
    let request = request.header(http::header::CONTENT_TYPE, content);
    let request = request.body(Body::from(body.into_bytes())).map_err(Failure::garbled)?;
    let answer = client.send(request).await.map_err(Failure::connection)?;
    let status = answer.status();
    let retry_after = answer.headers().get(http::header::RETRY_AFTER).cloned();
    let body = answer.into_body().collect().await.map_err(Failure::connection)?.to_bytes();
    if status.is_success() {
        return Ok(());
    }
    let retry_after = retry_after.as_ref().and_then(|value| value.to_str().ok());
    Err(Failure::from_answer(Some(status.as_u16()), retry_after, &body))
}
