//! The incumbent's reading of matters that only documents show.

use serde_json::{Map, Value, json};

/// Rules of a NetworkPolicy hold in a direction that its `policyTypes` do not list.
pub(super) fn unlisted_directions_hold(document: &mut Value) {
    if document["kind"] != "NetworkPolicy" {
        return;
    }
    let has = |section: &str| document["spec"][section].as_array().is_some_and(|rules| !rules.is_empty());
    let held = [("Ingress", has("ingress")), ("Egress", has("egress"))];
    let Some(listed) = document.pointer_mut("/spec/policyTypes").and_then(Value::as_array_mut) else {
        return;
    };
    for (name, _) in held.into_iter().filter(|(_, holds)| *holds) {
        if !listed.iter().any(|one| one == name) {
            listed.push(name.into());
        }
    }
}

/// The key that marks a peer of `namespaces`, to distinguish it from one of `pods` after reading: no label has it.
pub(super) const MARK: &str = "marked.nexin.io/namespaces";

/// Marks the peers `namespaces` of administrators' policies that only exclude labels, without changing what they mean.
pub(super) fn mark_namespaces_that_exclude(document: &mut Value) {
    let kinds = ["ClusterNetworkPolicy", "AdminNetworkPolicy", "BaselineAdminNetworkPolicy"];
    if !kinds.iter().any(|kind| document["kind"] == *kind) {
        return;
    }
    for (section, side) in [("ingress", "from"), ("egress", "to")] {
        let rules = document.pointer_mut(&format!("/spec/{section}")).and_then(Value::as_array_mut);
        let peers = rules.into_iter().flatten().filter_map(|rule| rule.get_mut(side)?.as_array_mut());
        for peer in peers.flatten() {
            let Some(namespaces) = peer.get("namespaces").filter(|selector| only_excludes(selector)) else {
                continue;
            };
            let mark = json!({"matchExpressions": [{"key": MARK, "operator": "DoesNotExist"}]});
            *peer = json!({"pods": {"namespaceSelector": namespaces, "podSelector": mark}});
        }
    }
}

fn only_excludes(selector: &Value) -> bool {
    let expressions = selector["matchExpressions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let excludes = |one: &Value| one["operator"] == "NotIn" || one["operator"] == "DoesNotExist";
    let has_labels = selector["matchLabels"].as_object().is_some_and(|labels| !labels.is_empty());
    !has_labels && !expressions.is_empty() && expressions.iter().all(excludes)
}

/// Names a missing service in each empty list of services, to distinguish it from other empty lists after reading.
pub(super) fn an_empty_list_of_services_names_one(document: &mut Value) {
    match document {
        Value::Array(items) => items.iter_mut().for_each(an_empty_list_of_services_names_one),
        Value::Object(fields) => {
            if let Some(Value::Array(services)) =
                fields.get_mut("toServices").filter(|list| **list == json!([]))
            {
                services.push(json!({"k8sService": {"serviceName": "absent", "namespace": "absent"}}));
            }
            fields.values_mut().for_each(an_empty_list_of_services_names_one);
        }
        _ => {}
    }
}

/// Where a selector has both `app` and `any:app`, the first counts.
pub(super) fn the_key_without_source_counts(document: &mut Value) {
    each_match_labels(document, &|labels| labels.retain(|key, _| !key.starts_with("any:")), "any:");
}

/// Where a selector has both `app` and `any:app`, the second counts.
pub(super) fn the_key_of_any_source_counts(document: &mut Value) {
    let keep = |labels: &mut Map<String, Value>| {
        let doubled: Vec<String> =
            labels.keys().filter_map(|key| key.strip_prefix("any:")).map(str::to_owned).collect();
        labels.retain(|key, _| !doubled.contains(key));
    };
    each_match_labels(document, &keep, "any:");
}

/// Edits the `matchLabels` that have a key both with this prefix and without.
fn each_match_labels(value: &mut Value, edit: &dyn Fn(&mut Map<String, Value>), prefix: &str) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| each_match_labels(item, edit, prefix)),
        Value::Object(fields) => {
            if let Some(Value::Object(labels)) = fields.get_mut("matchLabels") {
                let plain = labels.keys().filter_map(|key| key.strip_prefix(prefix));
                if plain.into_iter().any(|key| labels.contains_key(key)) {
                    edit(labels);
                }
            }
            fields.values_mut().for_each(|field| each_match_labels(field, edit, prefix));
        }
        _ => {}
    }
}
