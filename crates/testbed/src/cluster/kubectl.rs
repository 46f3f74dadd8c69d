//! kubectl, with the kubeconfig that its environment names.

use crate::engine::EngineError;
use serde_json::{Value, json};
use std::io::{self, Write};
use std::process::{Command, Stdio};

/// Creates objects, or changes them; fields that an earlier call set and this one does not are removed.
pub(super) fn apply(objects: &[Value]) -> Result<(), EngineError> {
    on_list("apply", &["--server-side", "--force-conflicts"], objects).map(drop)
}

/// Deletes objects, and waits until they are gone.
pub(super) fn delete(objects: &[Value]) -> Result<(), EngineError> {
    on_list("delete", &["--ignore-not-found", "--grace-period=1"], objects).map(drop)
}

/// Waits until pods are ready, and returns them.
pub(super) fn ready(pods: &[Value]) -> Result<Vec<Value>, EngineError> {
    on_list("wait", &["--for=condition=Ready", "--timeout=120s"], pods)?;
    Ok(items(&on_list("get", &["--output=json"], pods)?))
}

/// The objects of a kind in all namespaces, or those with a label.
pub(super) fn list(kind: &str, selector: Option<&str>) -> Result<Vec<Value>, EngineError> {
    let selector = selector.map(|selector| format!("--selector={selector}"));
    let arguments = ["get", kind, "--all-namespaces", "--output=json"];
    let arguments: Vec<&str> = arguments.into_iter().chain(selector.as_deref()).collect();
    Ok(items(&run(&arguments, "")?))
}

fn on_list(command: &str, options: &[&str], objects: &[Value]) -> Result<String, EngineError> {
    if objects.is_empty() {
        return Ok(String::new());
    }
    let list = json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string();
    run(&[&[command], options, &["--filename=-"]].concat(), &list)
}

/// The objects of an answer: of a list, or a single one.
fn items(answer: &str) -> Vec<Value> {
    let answer: Value = serde_json::from_str(answer).unwrap_or_default();
    match &answer["items"] {
        Value::Array(items) => items.clone(),
        _ if answer.is_object() => vec![answer],
        _ => Vec::new(),
    }
}

fn run(arguments: &[&str], input: &str) -> Result<String, EngineError> {
    let run = || {
        let mut command = Command::new("kubectl");
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        // A child that ends early closes its input; its own message is the better one.
        let _ = child.stdin.take().expect("it is piped").write_all(input.as_bytes());
        let output = child.wait_with_output()?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        match output.status.success() {
            true => Ok(text(&output.stdout)),
            false => Err(io::Error::other(format!("{}: {}", arguments.join(" "), text(&output.stderr)))),
        }
    };
    run().map_err(EngineError::failed("running kubectl"))
}
