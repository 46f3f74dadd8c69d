//! Whole files: the files of the tutorial, and features of YAML.

use manifest::test::{Expect, ProbeEnd, ProbeTraffic, TestStep};
use manifest::{
    CidrGroup, Diagnostic, Endpoints, Manifest, NodeObject, Object, PodCount, Policy, WorkloadObject,
};
use policy::rule::{EnforcementMode, PolicyId, Tier, priority};

/// Parses a text, and the own text of each of its objects, which must describe the same object.
fn read(text: &str) -> Manifest {
    let manifest =
        manifest::parse("file.yaml", text).unwrap_or_else(|findings| panic!("{}", lines(&findings)));
    assert_eq!(manifest.texts.len(), manifest.objects.len());
    for (object, own) in manifest.objects.iter().zip(&manifest.texts) {
        let own = own.within(text);
        let alone =
            manifest::parse("own.yaml", own).unwrap_or_else(|findings| panic!("{}", lines(&findings)));
        assert_eq!(&alone.objects, std::slice::from_ref(object), "{own}");
    }
    manifest
}

fn refused(text: &str) -> String {
    lines(&manifest::parse("file.yaml", text).expect_err(text))
}

fn lines(findings: &[Diagnostic]) -> String {
    findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

fn policies(text: &str) -> Vec<Policy> {
    let policy = |object| match object {
        Object::Policy(policy) => Some(policy),
        _ => None,
    };
    read(text).objects.into_iter().filter_map(policy).collect()
}

#[test]
fn the_own_texts_of_objects_are_together_no_longer_than_their_file() {
    let namespace = |name: &str| {
        format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}, annotations: {{note: 'äü'}}}}\n")
    };
    let separators = ["---\n", "...\n---\n", "...\n%YAML 1.2\n--- # ö\n", "---\n---\n# ä\n---\n"];
    let mut text = String::from("\u{feff}# the first\n%YAML 1.2\n---\n");
    for (number, separator) in separators.iter().cycle().take(12).enumerate() {
        text += &namespace(&format!("n{number}"));
        text += separator;
    }
    let texts = read(&text).texts;
    let own: Vec<&str> = texts.iter().map(|own| own.within(&text)).collect();
    assert_eq!(own.len(), 12);
    assert!(own.iter().map(|own| own.len()).sum::<usize>() <= text.len(), "{own:?}");
    let list = "{apiVersion: v1, kind: NamespaceList, items: [{metadata: {name: a}}, {metadata: {name: b}}]}";
    let texts = read(list).texts;
    assert_eq!(texts[1].within(list), r#"{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"b"}}"#);
}

#[test]
fn the_form_of_2017_equals_the_current_form() {
    let old = policies(include_str!("tutorial/rule1-v1.yaml"));
    assert_eq!(old, policies(include_str!("tutorial/rule1-v2.yaml")));
    assert_eq!(old.len(), 1);
    assert_eq!(old[0].id.to_string(), "CiliumNetworkPolicy/default/rule1");
}

#[test]
fn the_demo_has_a_service_and_three_workloads() {
    let objects = read(include_str!("tutorial/demo.yaml")).objects;
    let workload = |object: &Object| match object {
        Object::Workload(WorkloadObject { name, pods, labels, .. }) => {
            Some((name.clone(), *pods, labels["id"].clone()))
        }
        _ => None,
    };
    let expected = [("app1", PodCount::Several), ("app2", PodCount::One), ("app3", PodCount::One)];
    let expected = expected.map(|(name, pods)| (name.to_owned(), pods, name.to_owned()));
    assert_eq!(objects.iter().filter_map(workload).collect::<Vec<_>>(), expected);
    let Object::Service(service) = &objects[0] else { panic!("{:?}", objects[0]) };
    assert_eq!((service.name.as_str(), service.ports.len(), service.headless), ("app1-service", 1, false));
}

#[test]
fn the_test_of_the_tutorial_has_four_steps_and_shares_its_probes() {
    let mut loaded = Vec::new();
    let mut load = |path: &str| {
        loaded.push(path.to_owned());
        Ok(include_str!("tutorial/rule1-v2.yaml").to_owned())
    };
    let text = include_str!("tutorial/tutorial.test.yaml");
    let tests = manifest::test::parse("tutorial.test.yaml", text, &mut load).expect("it is right");
    assert_eq!(loaded, ["rule1-v1.yaml", "rule1-v2.yaml"]);
    let test = tests.documents[0].test.as_ref().expect("it is supported");
    let probes: Vec<usize> = test.steps.iter().map(|step| step.probes.len()).collect();
    assert_eq!(probes, [3, 7, 7, 1]);
    assert_eq!(test.steps[1].probes, test.steps[2].probes);
    assert_eq!(test.steps[0].workloads.len(), 3, "the world belongs to the first step");
    assert_eq!(test.steps[3].delete[0].to_string(), "CiliumNetworkPolicy/default/rule1");
}

#[test]
fn a_matrix_becomes_a_probe_for_each_cell_with_a_verdict() {
    let step = &step(
        "workloads: [{name: a}, {name: b}], matrix: {order: [a, b], expect: [{port: 53, protocol: UDP, rows: [-X, .-]}]}",
    );
    let told: Vec<_> =
        step.probes.iter().map(|probe| (&probe.from, &probe.to, probe.expect, &probe.traffic)).collect();
    let traffic = ProbeTraffic::Connect { protocol: manifest::TransportProtocol::Udp, port: 53 };
    let (a, b) = (&step.probes[0].from, &step.probes[0].to);
    assert_eq!(told, [(a, b, Some(Expect::Drop), &traffic), (b, a, Some(Expect::Allow), &traffic)]);
}

#[test]
fn an_unsupported_feature_fails_its_own_document_only() {
    let document = |name, egress| {
        format!(
            "---\napiVersion: nexin.io/v1alpha1\nkind: PolicyTest\nmetadata: {{name: {name}}}\nspec:\n  policies:\n  \
             - {{apiVersion: cilium.io/v2, kind: CiliumNetworkPolicy, metadata: {{name: p}}, \
             spec: {{endpointSelector: {{}}, egress: [{egress}]}}}}\n"
        )
    };
    let text = document("one", "{toEntities: [all], authentication: {mode: required}}")
        + &document("two", "{toEntities: [world]}");
    let tests = manifest::test::parse("t.yaml", &text, &mut |_| unreachable!()).expect("nothing is wrong");
    let [one, two] = &tests.documents[..] else { panic!("{tests:?}") };
    let findings = one.test.as_ref().expect_err("authentication");
    assert!(lines(findings).starts_with("t.yaml:7:"), "{}", lines(findings));
    assert!(
        lines(findings).ends_with("authentication: authentication \"required\" is not supported yet"),
        "{}",
        lines(findings)
    );
    assert!(two.test.is_ok());
}

fn step(spec: &str) -> TestStep {
    let text =
        format!("apiVersion: nexin.io/v1alpha1\nkind: PolicyTest\nmetadata: {{name: t}}\nspec: {{{spec}}}\n");
    let tests = manifest::test::parse("t.yaml", &text, &mut |_| unreachable!());
    let tests = tests.unwrap_or_else(|findings| panic!("{}", lines(&findings)));
    tests.documents[0].test.clone().expect("it is supported").steps.remove(0)
}

#[test]
fn annotations_set_tier_and_order() {
    let check = |annotations: &str, tier: Tier, order: u16| {
        for (kind, spec) in [
            ("networking.k8s.io/v1, kind: NetworkPolicy", "ingress: [{}]"),
            ("cilium.io/v2, kind: CiliumNetworkPolicy", "endpointSelector: {}, ingress: [{}]"),
            ("cilium.io/v2, kind: CiliumClusterwideNetworkPolicy", "endpointSelector: {}, ingress: [{}]"),
        ] {
            let metadata = format!("metadata: {{name: p, annotations: {{{annotations}}}}}");
            let spec = policies(&format!("{{apiVersion: {kind}, {metadata}, spec: {{{spec}}}}}"))
                .remove(0)
                .specs
                .remove(0);
            let found = (spec.tier, spec.rules[0].priority, spec.default_deny_ingress);
            assert_eq!(found, (tier, priority(order, 0), true), "{kind} {annotations}");
        }
    };
    check("", Tier::Normal, 1000);
    check("policy.nexin.io/tier: admin", Tier::Admin, 1000);
    check("policy.nexin.io/tier: baseline, policy.nexin.io/order: '0'", Tier::Baseline, 0);
    check("policy.nexin.io/order: '65535', example.com/order: '7'", Tier::Normal, 65535);
}

#[test]
fn objects_that_policies_refer_to_are_read() {
    let objects = read(include_str!("schema/referred.yaml")).objects;
    let told: Vec<String> = objects
        .iter()
        .map(|object| match object {
            Object::Endpoints(list @ Endpoints { service, .. }) => {
                format!("{} of {service}: {:?}", object.name(), list.addresses())
            }
            Object::CidrGroup(CidrGroup { group, .. }) => {
                format!(
                    "{} {}: {:?}",
                    object.name(),
                    group.labels,
                    group.blocks.iter().map(ToString::to_string).collect::<Vec<_>>()
                )
            }
            Object::Node(NodeObject { labels, addresses, .. }) => {
                format!("{} {labels:?}: {addresses:?}", object.name())
            }
            Object::Service(service) => format!("{} {:?}", object.name(), service.labels),
            other => other.name().to_string(),
        })
        .collect();
    let expected = [
        "CiliumCIDRGroup/g k8s:a=b: [\"10.0.0.0/8\"]",
        "Service/x/web {\"a\": \"b\"}",
        "Endpoints/default/away of away: {198.51.100.1}",
        "EndpointSlice/default/away-1 of away: {2001:db8::1}",
        "EndpointSlice/default/away-2 of away: {}",
        "Node/n {\"zone\": \"z\"}: [192.0.2.1, 2001:db8::3]",
        "Namespace/x",
    ];
    assert_eq!(told, expected);
}

#[test]
fn a_test_may_describe_everything_that_policies_depend_on() {
    let group =
        "{apiVersion: cilium.io/v2, kind: CiliumCIDRGroup, metadata: {name: g}, spec: {externalCIDRs: []}}";
    let policy = "{apiVersion: cilium.io/v2, kind: CiliumNetworkPolicy, metadata: {name: p}, spec: {endpointSelector: \
                  {}, ingress: [{}]}}";
    let namespace = "{apiVersion: v1, kind: Namespace, metadata: {name: x, labels: {a: b}}}";
    let step = step(&format!(
        "nodes: [{{name: host, labels: {{a: b}}}}, {{name: n2, ips: [192.0.2.2]}}], externals: [{{name: www, ips: \
         [198.51.100.7], names: [A.b., c.d]}}, {{name: web, ips: [198.51.100.8]}}], names: {{web: [e.f]}}, \
         policyEnforcement: always, policyAuditMode: true, policies: [{group}, {policy}, {namespace}], probes: [{{from: \
         n2, to: host, port: 80}}]"
    ));
    assert_eq!((step.enforcement, step.audit), (Some(EnforcementMode::Always), Some(true)));
    let nodes: Vec<_> = step.nodes.iter().map(|node| (node.name.as_str(), node.addresses.len())).collect();
    assert_eq!(nodes, [("host", 0), ("n2", 1)]);
    let names: Vec<_> = step
        .names
        .iter()
        .map(|(name, names)| (name.as_str(), names.iter().map(String::as_str).collect()))
        .collect();
    assert_eq!(names, [("web", vec!["e.f"]), ("www", vec!["a.b", "c.d"])]);
    assert_eq!(step.namespaces[0].labels["a"], "b");
    let told: Vec<String> = step.manifests.keys().map(ToString::to_string).collect();
    assert_eq!(told, ["CiliumCIDRGroup/g", "CiliumNetworkPolicy/default/p", "Namespace/x"]);
    assert_eq!((step.policies.map(|all| all.len()), step.objects.map(|all| all.len())), (Some(1), Some(1)));
    assert_eq!(step.probes[0].from, ProbeEnd::Node("n2".into()));
}

#[test]
fn places_are_lines_and_columns_of_the_value() {
    let text = include_str!("tutorial/rule1-v2.yaml").replace("\"80\"", "8_0").replace("GET", "G(ET");
    let port = "file.yaml:16:15: spec.ingress[0].toPorts[0].ports[0].port: port \"8_0\" is neither a number nor a \
                port name; write \"80\", or a name of at most 15 letters, digits and single `-`, at least one a letter";
    let method = "file.yaml:20:19: spec.ingress[0].toPorts[0].rules.http[0].method: \"G(ET\" is not a valid regular expression: \
                  this opening parenthesis has no closing one (at offset 1)";
    assert_eq!(refused(&text), format!("{port}\n{method}"));
}

#[test]
fn policies_and_rules_have_positions() {
    let list = "apiVersion: v1\nkind: List\nitems:\n- apiVersion: cilium.io/v2\n  kind: CiliumNetworkPolicy\n  \
                metadata: {name: p}\n  spec: {endpointSelector: {}, ingress: [{}, {}]}\n  specs:\n  - egressDeny: [{}]\n    \
                endpointSelector: {}\n";
    let Manifest { objects, positions, .. } = read(list);
    let [Object::Policy(Policy { id, .. })] = &objects[..] else { panic!("{objects:?}") };
    let check = |path: &str, expected: &str| {
        let place = positions.position_of(id, path).map(ToString::to_string);
        assert_eq!(place.as_deref(), Some(expected), "{path}");
    };
    check("", "file.yaml:4:3");
    check("spec", "file.yaml:7:9");
    check("spec.ingress[1]", "file.yaml:7:46");
    check("spec.ingress[1].fromEndpoints[0]", "file.yaml:7:46");
    check("spec.endpointSelector", "file.yaml:7:9");
    check("specs[0].egressDeny[0]", "file.yaml:9:18");
    check("specs[0]", "file.yaml:9:5");
    let other = PolicyId { name: "q".into(), ..id.clone() };
    assert_eq!(positions.position_of(&other, ""), None);
}

#[test]
fn everything_that_kubectl_writes_into_metadata_is_accepted() {
    let text = "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata:\n  name: p\n  namespace: x\n  \
        annotations: {kubectl.kubernetes.io/last-applied-configuration: '{}'}\n  creationTimestamp: null\n  \
        generation: 2\n  labels: {a: b}\n  managedFields: [{manager: kubectl, operation: Update}]\n  \
        resourceVersion: '7'\n  uid: 0-1\n  ownerReferences: []\n  finalizers: []\nspec: {endpointSelector: {}, \
        ingress: [{}]}\nstatus: {conditions: [{type: Valid}]}\n";
    let manifest = read(text);
    assert_eq!((manifest.objects.len(), manifest.warnings), (1, vec![]));
}

#[test]
fn a_list_gives_its_items_and_a_file_its_documents() {
    let list = "{apiVersion: v1, kind: List, metadata: {}, items: [{apiVersion: v1, kind: Namespace, metadata: \
                {name: a}}, {apiVersion: v1, kind: Namespace, metadata: {name: b}}]}";
    let text = format!("---\n---\n{list}\n...\n---\n# nothing\n---\n{list}\n");
    assert_eq!(read(&text).objects.len(), 4);
    assert_eq!(read("").objects.len(), 0);
}

#[test]
fn json_is_read_with_or_without_a_byte_order_mark() {
    let text = "\u{feff}{\n\t\"apiVersion\": \"v1\",\n\t\"kind\": \"Namespace\",\n\t\"metadata\": {\"name\": \"x\"}\n}";
    assert_eq!(read(text).objects.len(), 1);
}

#[test]
fn own_keys_win_over_merged_keys() {
    let text = "apiVersion: v1\nkind: Namespace\nmetadata:\n  annotations: {a: &one {k: one, l: one}, b: &two {l: two, m: two}}\n  \
                name: x\n  labels: {<<: [*one, *two], k: own}\n";
    let Object::Namespace(namespace) = &read(text).objects[0] else { panic!() };
    let labels: Vec<_> = namespace.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    assert_eq!(labels, ["k=own", "l=one", "m=two"]);
}

#[test]
fn a_small_file_cannot_grow_without_bound() {
    let mut laughs = String::from("a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n");
    for level in 1..10 {
        let before = format!("*a{},", level - 1).repeat(9);
        laughs.push_str(&format!("a{level}: &a{level} [{before}]\n"));
    }
    let found = refused(&laughs);
    assert!(found.contains("more than 2000000 values in one file, aliases counted"), "{found}");
    let found = refused(&"[".repeat(100));
    assert!(found.contains("nested deeper than 64"), "{found}");
    let mut deep = format!("a0: &a0 {}{}\n", "[".repeat(60), "]".repeat(60));
    for level in 1..100 {
        deep.push_str(&format!("a{level}: &a{level} [*a{}]\n", level - 1));
    }
    let found = refused(&deep);
    assert!(found.contains("nested deeper than 64"), "{found}");
    let found = refused(&format!("a: {}", "x".repeat(17 << 20)));
    assert!(found.contains("at most 16777216 are read"), "{found}");
}

#[test]
fn a_flood_of_findings_is_cut_short_and_still_refused() {
    let head = "apiVersion: v1\nkind: List\nitems:\n";
    let found = refused(&format!("{head}{}", "- {a: 1}\n".repeat(5000)));
    assert_eq!(found.lines().count(), 1001);
    assert!(
        found.lines().last().is_some_and(|last| last.ends_with("further findings are omitted")),
        "{found}"
    );
}

#[test]
fn a_syntax_error_at_the_end_of_a_text_is_placed_in_it() {
    for (text, expected) in
        [("[a", "1:3"), ("[a\n", "2:1"), ("{a: é", "1:6"), ("x: 1\r\ny: [", "2:5"), ("[\r[", "2:2")]
    {
        let said = refused(text);
        assert!(said.starts_with(&format!("file.yaml:{expected}: ")), "{text:?}: {said}");
    }
}

#[test]
fn text_before_a_syntax_error_is_checked_too() {
    let found = refused("apiVersion: v1\nkind: Namespace\nmetadata: {nme: x}\n---\na: [\n");
    assert_eq!(
        found,
        "file.yaml:3:11: metadata: `name` is missing\n\
         file.yaml:3:12: metadata.nme: unknown field `nme`, did you mean `name`?\n\
         file.yaml:6:1: a[0]: invalid YAML: while parsing a node, did not find expected node content"
    );
}

#[test]
fn an_endpoint_serves_while_it_is_ready_or_ends_and_its_node_is_known() {
    let text = "
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{port: 80}]
endpoints:
- {addresses: [192.0.2.1], nodeName: a}
- {addresses: [192.0.2.2], nodeName: b, conditions: {ready: false, serving: true, terminating: true}}
- {addresses: [192.0.2.3], conditions: {ready: false, serving: false, terminating: true}}
- {addresses: [192.0.2.4], conditions: {ready: false, serving: true, terminating: false}}
";
    let objects = read(text).objects;
    let [Object::Endpoints(Endpoints { slices, .. })] = &objects[..] else { panic!("{objects:?}") };
    let [slice] = &slices[..] else { panic!("{slices:?}") };
    let address = |last: u8| std::net::IpAddr::from([192, 0, 2, last]);
    assert!(slice.addresses.iter().eq([&address(1)]));
    assert!(slice.terminating.iter().eq([&address(2)]));
    assert_eq!(
        [1, 2, 3].map(|last| slice.nodes.get(&address(last)).map(String::as_str)),
        [Some("a"), Some("b"), None]
    );
}

#[test]
fn the_internal_traffic_policy_of_a_service_is_read() {
    for (policy, expected) in [("Cluster", false), ("Local", true)] {
        let text = format!(
            "{{apiVersion: v1, kind: Service, metadata: {{name: web}}, spec: {{clusterIP: 10.96.0.1, internalTrafficPolicy: {policy}, \
             ports: [{{port: 80}}]}}}}"
        );
        let objects = read(&text).objects;
        let [Object::Service(service)] = &objects[..] else { panic!("{objects:?}") };
        assert_eq!(service.stays_on_node, expected, "{policy}");
    }
}
