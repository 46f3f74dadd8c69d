//! Reviews objects as the agents will parse them: a policy that agents refuse is refused when it is submitted, in the
//! same words.

use manifest::{Diagnostic, Severity};
use serde_json::{Value, json};
use thiserror::Error;

/// Why a request is no review.
#[derive(Debug, Error)]
pub enum NotAReview {
    /// The request is no JSON.
    #[error("the request is no JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// It has no UID, without which there is no answer.
    #[error("the request has no `request.uid`")]
    Uid,
}

/// The answer to a review.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Review {
    /// Whether the object is admitted.
    pub is_allowed: bool,
    /// The AdmissionReview to send.
    pub answer: String,
}

/// The annotation in which `kubectl apply` repeats the text of the author.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// The longest message; the API server cuts longer ones.
const MAX_MESSAGE: usize = 4_096;

/// The answer to an AdmissionReview (admission.k8s.io/v1), both as JSON.
pub fn review(request: &str) -> Result<Review, NotAReview> {
    let review: Value = serde_json::from_str(request)?;
    let request = &review["request"];
    let uid = request["uid"].as_str().ok_or(NotAReview::Uid)?;
    let mut response = json!({"uid": uid, "allowed": true});
    let submitted = submitted(request);
    if changes_meaning(&submitted, &request["oldObject"]) {
        let findings = findings(&submitted);
        let refusals: Vec<String> = findings.iter().filter(|one| is_refusal(one)).map(message).collect();
        let warnings: Vec<String> = findings.iter().filter(|one| !is_refusal(one)).map(message).collect();
        if !refusals.is_empty() {
            response["allowed"] = false.into();
            let message: String = refusals.join("; ").chars().take(MAX_MESSAGE).collect();
            response["status"] = json!({"code": 422, "reason": "Invalid", "message": message});
        }
        if !warnings.is_empty() {
            response["warnings"] = json!(warnings);
        }
    }
    let answer = json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "response": response,
    });
    Ok(Review { is_allowed: answer["response"]["allowed"] == true, answer: answer.to_string() })
}

/// The object as its author wrote it. `kubectl apply` leaves fields without a value out of a request, and repeats the author's text in
/// an annotation. A text that an earlier request brought is out of date.
fn submitted(request: &Value) -> Value {
    let (mut object, old) = (request["object"].clone(), &request["oldObject"]);
    let text = |object: &Value| object["metadata"]["annotations"][LAST_APPLIED].as_str().map(str::to_owned);
    let is_ours = object["apiVersion"].as_str().is_some_and(|version| version.starts_with("cilium.io/"));
    let applied = text(&object).filter(|applied| is_ours && text(old).as_ref() != Some(applied));
    let applied = applied.and_then(|applied| serde_json::from_str::<Value>(&applied).ok());
    if let Some(applied) = applied {
        for field in ["spec", "specs"] {
            restore_nulls(&mut object[field], &applied[field]);
        }
    }
    object
}

/// Puts the fields without a value back that the author wrote.
fn restore_nulls(object: &mut Value, applied: &Value) {
    match (object, applied) {
        (Value::Object(object), Value::Object(applied)) => {
            for (key, value) in applied {
                match object.get_mut(key) {
                    Some(present) => restore_nulls(present, value),
                    None if value.is_null() => drop(object.insert(key.clone(), Value::Null)),
                    None => {}
                }
            }
        }
        (Value::Array(object), Value::Array(applied)) if object.len() == applied.len() => {
            object.iter_mut().zip(applied).for_each(|(object, applied)| restore_nulls(object, applied));
        }
        _ => {}
    }
}

/// Whether the request changes what agents read. Another change of an object must pass, so that an object from before the
/// webhook can be annotated, and its finalizers removed.
fn changes_meaning(new: &Value, old: &Value) -> bool {
    if new.is_null() || !new["metadata"]["deletionTimestamp"].is_null() {
        return false;
    }
    let meaning = |object: &Value| {
        let annotations = object["metadata"]["annotations"].as_object();
        let ours = annotations.into_iter().flatten().filter(|(key, _)| key.starts_with("policy.nexin.io/"));
        let ours: Vec<_> = ours.map(|(key, value)| (key.clone(), value.clone())).collect();
        (ours, object["spec"].clone(), object["specs"].clone(), object["apiVersion"].clone())
    };
    old.is_null() || meaning(new) != meaning(old)
}

fn findings(object: &Value) -> Vec<Diagnostic> {
    manifest::parse("", &object.to_string()).map_or_else(|findings| findings, |manifest| manifest.warnings)
}

fn is_refusal(finding: &Diagnostic) -> bool {
    finding.severity != Severity::Warning
}

/// A finding without its position, which would be one in the JSON that the API server sends.
fn message(finding: &Diagnostic) -> String {
    match finding.field.as_str() {
        "" => finding.message.clone(),
        field => format!("{field}: {}", finding.message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(spec: &str) -> String {
        format!(
            r#"{{"apiVersion": "cilium.io/v2", "kind": "CiliumNetworkPolicy", "metadata": {{"name": "p", "namespace": "x",
            "uid": "1", "resourceVersion": "7", "generation": 1, "managedFields": [{{"manager": "kubectl"}}]}}, "spec": {spec}}}"#
        )
    }

    fn response(object: &str, old: &str) -> Value {
        let request = format!(
            r#"{{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
            "request": {{"uid": "42", "operation": "CREATE", "object": {object}, "oldObject": {old}}}}}"#
        );
        let answer: Value = serde_json::from_str(&review(&request).unwrap().answer).unwrap();
        assert_eq!(answer["response"]["uid"], "42");
        answer["response"].clone()
    }

    const FINE: &str = r#"{"endpointSelector": {}, "ingress": [{"fromEndpoints": [{}]}]}"#;
    const WRONG: &str =
        r#"{"endpointSelector": {}, "ingress": [{"fromEndpoints": [{}], "fromEntities": ["world"]}]}"#;
    const LATER: &str = r#"{"endpointSelector": {}, "ingress": [{"fromEndpoints": [{}], "authentication": {"mode": "required"}}]}"#;

    #[test]
    fn what_agents_accept_is_admitted() {
        assert_eq!(response(&policy(FINE), "null"), json!({"uid": "42", "allowed": true}));
    }

    #[test]
    fn what_agents_refuse_is_refused_in_their_words() {
        let refused = response(&policy(WRONG), "null");
        assert_eq!(refused["allowed"], false);
        assert_eq!(
            refused["status"]["message"],
            "spec.ingress[0].fromEntities: cannot be combined with `fromEndpoints`; write a second rule"
        );
        let later = response(&policy(LATER), "null");
        assert_eq!(
            later["status"]["message"],
            "spec.ingress[0].authentication: authentication \"required\" is not supported yet"
        );
    }

    #[test]
    fn a_warning_comes_back_with_the_admission() {
        let spec = r#"{"endpointSelector": {}, "ingress": [{"fromEndpoints": [{}], "toPorts": [{}]}]}"#;
        let admitted = response(&policy(spec), "null");
        assert_eq!(admitted["allowed"], true);
        let warning = admitted["warnings"][0].as_str().unwrap();
        assert!(warning.starts_with("spec.ingress[0].toPorts[0]: lists no port"), "{warning}");
    }

    #[test]
    fn an_object_that_was_wrong_before_may_change_in_other_ways_and_be_deleted() {
        let wrong = policy(WRONG);
        assert_eq!(response(&wrong, &wrong)["allowed"], true);
        assert_eq!(response(&wrong, &policy(FINE))["allowed"], false);
        let leaving = wrong.replace("\"uid\"", "\"deletionTimestamp\": \"2026-01-01T00:00:00Z\", \"uid\"");
        assert_eq!(response(&leaving, &policy(FINE))["allowed"], true);
        assert_eq!(response("null", &wrong)["allowed"], true);
    }

    /// A policy that `kubectl apply` made of a text with this spec; the request has the other spec.
    fn applied(kind: (&str, &str), written: &str, sent: &str) -> String {
        let (version, kind) = kind;
        let text = json!({"apiVersion": version, "kind": kind, "metadata": {"name": "p", "creationTimestamp": null},
            "spec": serde_json::from_str::<Value>(written).unwrap()});
        json!({
            "apiVersion": version, "kind": kind,
            "metadata": {"name": "p", "namespace": "x", "annotations": {LAST_APPLIED: text.to_string()}},
            "spec": serde_json::from_str::<Value>(sent).unwrap(),
        })
        .to_string()
    }

    #[test]
    fn a_field_without_a_value_is_refused_although_kubectl_left_it_out() {
        const OURS: (&str, &str) = ("cilium.io/v2", "CiliumNetworkPolicy");
        const WRITTEN: &str = r#"{"endpointSelector": {}, "ingress": [{"fromEndpoints": null}]}"#;
        const SENT: &str = r#"{"endpointSelector": {}, "ingress": [{}]}"#;
        let refused = response(&applied(OURS, WRITTEN, SENT), "null");
        let message = refused["status"]["message"].as_str().unwrap();
        assert!(message.starts_with("spec.ingress[0].fromEndpoints: has no value"), "{message}");
        let before = applied(OURS, SENT, SENT);
        assert_eq!(response(&before, "null")["allowed"], true);
        assert_eq!(response(&applied(OURS, WRITTEN, SENT), &before)["allowed"], false);
        // The text of an earlier request does not concern a later one.
        let (stale, fixed) = (applied(OURS, WRITTEN, SENT), applied(OURS, WRITTEN, FINE));
        assert_eq!(response(&fixed, &stale)["allowed"], true);
    }

    #[test]
    fn a_network_policy_may_have_fields_without_a_value() {
        let policy = applied(
            ("networking.k8s.io/v1", "NetworkPolicy"),
            r#"{"podSelector": {}, "ingress": [{"from": null}]}"#,
            r#"{"podSelector": {}, "ingress": [{}], "policyTypes": ["Ingress"]}"#,
        );
        assert_eq!(response(&policy, "null")["allowed"], true);
    }

    #[test]
    fn what_is_no_review_has_no_answer() {
        assert!(matches!(review("{"), Err(NotAReview::Json(_))));
        assert!(matches!(review("{}"), Err(NotAReview::Uid)));
    }
}
