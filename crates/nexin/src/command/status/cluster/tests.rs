//! Tests of the state of an installation: what each fault of a cluster makes of it.

use super::*;
use serde_json::json;

/// The objects of a healthy cluster of two nodes.
fn healthy() -> Objects {
    let labels = |name: &str| json!({"app.kubernetes.io/name": name, "app.kubernetes.io/part-of": "nexin"});
    let controller = |name: &str, status: Value| {
        json!({
            "metadata": {"name": name, "namespace": "nexin", "labels": labels(name)},
            "spec": {
                "replicas": 2,
                "selector": {"matchLabels": labels(name)},
                "template": {"spec": {"containers": [{"image": "nexin:1"}]}},
            },
            "status": status,
        })
    };
    let pod = |name: &str, of: &str, node: &str| {
        json!({
            "metadata": {"name": name, "namespace": "nexin", "uid": name, "labels": labels(of)},
            "spec": {"nodeName": node, "hostNetwork": true},
            "status": {"phase": "Running", "podIP": "10.0.0.1", "conditions": [{"type": "Ready", "status": "True"}]},
        })
    };
    let named = |name: &str| json!({"metadata": {"name": name}});
    let agents = json!({"desiredNumberScheduled": 2, "numberReady": 2, "updatedNumberScheduled": 2});
    let shop = json!({"name": "web-1", "namespace": "shop"});
    Objects(BTreeMap::from([
        ("Node", vec![named("n1"), named("n2")]),
        (
            "Pod",
            vec![
                pod("agent-1", "nexin-agent", "n1"),
                pod("agent-2", "nexin-agent", "n2"),
                pod("operator-1", "nexin-operator", "n1"),
                json!({"metadata": shop, "spec": {"nodeName": "n1"}, "status": {"phase": "Running", "podIP": "10.1.0.1"}}),
            ],
        ),
        ("DaemonSet", vec![named("other"), controller("nexin-agent", agents)]),
        ("Deployment", vec![controller("nexin-operator", json!({"readyReplicas": 2, "updatedReplicas": 2}))]),
        (
            "Lease",
            vec![
                json!({"metadata": {"name": "nexin-operator"}, "spec": {"holderIdentity": "operator-1_77"}}),
            ],
        ),
        ("CustomResourceDefinition", delivery::access::DEFINITIONS.iter().map(|name| named(name)).collect()),
        ("CiliumEndpoint", vec![json!({"metadata": shop})]),
        ("CiliumNetworkPolicy", vec![json!({"metadata": {"name": "rule1", "namespace": "shop"}})]),
        ("NetworkPolicy", vec![]),
        ("CiliumIdentity", vec![named("256")]),
    ]))
}

/// The notes and problems after a change of the healthy cluster.
fn found(change: impl FnOnce(&mut BTreeMap<&'static str, Vec<Value>>)) -> Vec<String> {
    let mut objects = healthy();
    change(&mut objects.0);
    let status = status(&objects);
    [status.notes, status.problems].concat()
}

#[test]
fn a_healthy_installation_has_no_problems() {
    let status = status(&healthy());
    assert_eq!((&status.notes, &status.problems), (&vec![], &vec![]));
    let expected = Replicas { desired: 2, ready: 2, updated: 2, image: "nexin:1".to_owned() };
    assert_eq!((&status.agents, &status.operators), (&expected, &expected));
    assert_eq!(status.leader.as_deref(), Some("operator-1"));
    assert_eq!(status.policies, BTreeMap::from([("CiliumNetworkPolicy", 1)]));
    assert_eq!((status.nodes, status.endpoints, status.identities), (2, 1, 1));
}

#[test]
fn an_agent_that_is_missing_or_not_ready_is_a_problem_with_its_reason() {
    let missing = found(|objects| drop(objects.get_mut("Pod").unwrap().remove(1)));
    assert_eq!(missing, ["node n2 has no agent: no new pod gets a network, and policy stays as it was"]);
    let unready = |pod: &mut Value| pod["status"]["conditions"][0]["status"] = "False".into();
    let crashed = found(|objects| {
        let pod = &mut objects.get_mut("Pod").unwrap()[0];
        unready(pod);
        let waiting = json!({"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}});
        pod["status"]["containerStatuses"] = json!([{"state": waiting}]);
    });
    assert_eq!(crashed, ["the agent of node n1 is not ready: CrashLoopBackOff: back-off 10s"]);
    let probed = found(|objects| {
        unready(&mut objects.get_mut("Pod").unwrap()[0]);
        let event = |time: &str, uid: &str, message: &str| json!({"involvedObject": {"uid": uid}, "reason": "Unhealthy", "lastTimestamp": time, "message": message});
        objects.insert(
            "Event",
            vec![
                event("2026-12-01T00:00:02Z", "agent-1", "Readiness probe failed: problem\n no proxy\n"),
                event("2026-12-01T00:00:01Z", "agent-1", "earlier"),
                event("2026-12-01T00:00:03Z", "agent-2", "of another pod"),
            ],
        );
    });
    assert_eq!(probed, ["the agent of node n1 is not ready: Readiness probe failed: problem no proxy"]);
}

#[test]
fn an_operator_that_does_not_lead_is_a_problem_and_one_of_two_is_a_note() {
    let problem = "no operator leads: new sets of labels have numbers of their nodes only, until one does";
    let given_up =
        found(|objects| objects.get_mut("Lease").unwrap()[0]["spec"]["holderIdentity"] = "".into());
    assert_eq!(given_up, [problem]);
    let gone = found(|objects| drop(objects.get_mut("Pod").unwrap().remove(2)));
    assert_eq!(gone, [problem]);
    let one =
        found(|objects| objects.get_mut("Deployment").unwrap()[0]["status"]["readyReplicas"] = 1.into());
    assert_eq!(one, ["1 of 2 operators are ready"]);
}

#[test]
fn what_an_installation_lacks_is_a_problem() {
    let nothing = found(|objects| drop(objects.remove("DaemonSet")));
    assert_eq!(nothing, ["Nexin is not installed in this cluster; install it: nexin install"]);
    let definition = found(|objects| {
        let definitions = objects.get_mut("CustomResourceDefinition").unwrap();
        definitions.retain(|one| name(one) != "ciliumnodes.cilium.io");
    });
    assert_eq!(definition, ["definitions are missing, which an operator installs: ciliumnodes.cilium.io"]);
}

#[test]
fn a_policy_that_agents_refuse_is_a_problem_with_their_words() {
    let refused = found(|objects| {
        let condition =
            json!({"type": "Valid", "status": "False", "message": "spec.ingress[0]: no such field"});
        objects.get_mut("CiliumNetworkPolicy").unwrap()[0]["status"] = json!({"conditions": [condition]});
    });
    let expected =
        "CiliumNetworkPolicy shop/rule1 is not in force as written: spec.ingress[0]: no such field";
    assert_eq!(refused, [expected]);
}

#[test]
fn pods_without_an_endpoint_are_a_problem() {
    let lacking = found(|objects| {
        objects.get_mut("CiliumEndpoint").unwrap().clear();
        let web = objects["Pod"][3].clone();
        for number in 2..8 {
            let mut pod = web.clone();
            pod["metadata"]["name"] = format!("web-{number}").into();
            objects.get_mut("Pod").unwrap().push(pod);
        }
        // A pod without an address yet is not one of them.
        let mut young = web;
        young["status"] = json!({"phase": "Pending"});
        young["metadata"]["name"] = "young".into();
        objects.get_mut("Pod").unwrap().push(young);
    });
    assert_eq!(
        lacking,
        [
            "7 pods without an endpoint, so without policy: shop/web-1, shop/web-2, shop/web-3, shop/web-4, shop/web-5 and 2 more; \
          a pod that another network plugin started must be started again"
        ]
    );
}
