//! Tables against the examples of the specification: environment, configurations, results and errors.

use cni::{
    AddResult, AssignedAddress, CniFailure, ErrorCode, Invocation, NetworkConfig, NetworkList, Operation,
    ResultInterface, ResultRoute, SpecVersion, winner,
};
use serde_json::{Value, json};

fn environment(pairs: &[(&str, &str)]) -> Result<Invocation, CniFailure> {
    Invocation::parse(|name| {
        pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
    })
}

const ADD: [(&str, &str); 4] = [
    ("CNI_COMMAND", "ADD"),
    ("CNI_CONTAINERID", "b552f9"),
    ("CNI_NETNS", "/var/run/netns/blue"),
    ("CNI_IFNAME", "eth0"),
];

/// The variables of ADD with one more, which wins.
fn add_with(name: &'static str, value: &'static str) -> Vec<(&'static str, &'static str)> {
    [(name, value)].into_iter().chain(ADD).collect()
}

#[test]
fn the_environment_is_checked_by_operation() {
    let accepted = |pairs: &[(&str, &str)], operation: Operation| {
        assert_eq!(environment(pairs).unwrap().operation, operation, "{pairs:?}");
    };
    let refused = |pairs: &[(&str, &str)], said: &str| {
        let failure = environment(pairs).unwrap_err();
        assert_eq!(failure.code, ErrorCode::InvalidEnvironment, "{failure}");
        assert!(failure.message.contains(said), "{failure}");
    };
    accepted(&ADD, Operation::Add);
    accepted(&add_with("CNI_COMMAND", "CHECK"), Operation::Check);
    accepted(&add_with("CNI_COMMAND", "DEL"), Operation::Delete);
    let gone =
        [("CNI_COMMAND", "DEL"), ("CNI_CONTAINERID", "b552f9"), ("CNI_IFNAME", "eth0"), ("CNI_NETNS", "")];
    accepted(&gone, Operation::Delete);
    assert_eq!(environment(&gone).unwrap().network_namespace, None);
    for (text, operation) in
        [("GC", Operation::CollectGarbage), ("STATUS", Operation::Status), ("VERSION", Operation::Version)]
    {
        accepted(&[("CNI_COMMAND", text)], operation);
        assert_eq!(operation.to_string(), text);
    }
    refused(&[], "CNI_COMMAND is missing");
    refused(&add_with("CNI_COMMAND", "add"), "it should be ADD, DEL, CHECK, GC, STATUS or VERSION");
    refused(&add_with("CNI_CONTAINERID", ""), "CNI_CONTAINERID is missing");
    refused(&add_with("CNI_CONTAINERID", "../x"), "should begin with a letter or digit");
    refused(&add_with("CNI_NETNS", ""), "CNI_NETNS is missing");
    refused(&add_with("CNI_IFNAME", ""), "CNI_IFNAME is missing");
    for name in [".", "..", "a/b", "a:b", "a b", "a-name-of-16-byt"] {
        let pairs: Vec<_> = [("CNI_IFNAME", name)].into_iter().chain(ADD).collect();
        refused(&pairs, "the name of an interface");
    }
    refused(&add_with("CNI_ARGS", "FOO=BAR;ABC=123"), "the key ABC is not known");
    refused(&add_with("CNI_ARGS", "FOO"), "should be KEY=VALUE");
    refused(&add_with("CNI_ARGS", "K8S_POD_NAME=web"), "need each other");
    refused(&add_with("CNI_ARGS", "NEXIN_LABELS=app"), "should be KEY=VALUE");
}

#[test]
fn the_pod_and_labels_are_arguments() {
    let kubelet = "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-0;K8S_POD_INFRA_CONTAINER_ID=b552f9;\
                   K8S_POD_UID=7d0e;SOMETHING=else";
    let pod = environment(&add_with("CNI_ARGS", kubelet)).unwrap().arguments.pod.unwrap();
    assert_eq!((&*pod.namespace, &*pod.name, pod.uid.as_deref()), ("shop", "web-0", Some("7d0e")));
    let labels = environment(&add_with("CNI_ARGS", "NEXIN_LABELS=app=web,tier=front")).unwrap().arguments;
    assert_eq!(labels.pod, None);
    assert!(
        labels.labels.iter().map(|(key, value)| (&**key, &**value)).eq([("app", "web"), ("tier", "front")])
    );
    // What is written there does not keep a runtime from cleaning up.
    let broken: Vec<_> = [("CNI_COMMAND", "DEL"), ("CNI_ARGS", "FOO")].into_iter().chain(ADD).collect();
    assert!(environment(&broken).is_ok());
}

fn parse(config: Value, operation: Operation) -> Result<NetworkConfig, CniFailure> {
    NetworkConfig::parse(config.to_string().as_bytes(), operation)
}

#[test]
fn a_configuration_of_every_version_is_parsed() {
    for version in ["0.3.1", "0.4.0", "1.0.0", "1.1.0"] {
        let config = json!({ "cniVersion": version, "name": "dbnet", "type": "nexin-cni" });
        let config = parse(config, Operation::Add).unwrap();
        assert_eq!((config.version.text(), &*config.name, &*config.plugin), (version, "dbnet", "nexin-cni"));
        assert_eq!((config.previous, config.runtime.port_mappings.len()), (None, 0));
    }
}

#[test]
fn port_mappings_are_parsed_as_containerd_writes_them() {
    let mapping = json!({ "HostPort": 8080, "ContainerPort": 80, "Protocol": "tcp", "HostIP": "192.0.2.1" });
    let config = json!({
        "cniVersion": "1.1.0",
        "name": "dbnet",
        "type": "nexin-cni",
        "runtimeConfig": { "portMappings": [mapping] }
    });
    let mapping = &parse(config, Operation::Add).unwrap().runtime.port_mappings[0];
    assert_eq!((mapping.host_port, mapping.container_port), (8080, 80));
    assert_eq!((&*mapping.protocol, &*mapping.host_ip), ("tcp", "192.0.2.1"));
}

/// The configuration that the specification derives for the second plugin of its example, with what our plugin knows of it.
#[test]
fn what_a_runtime_adds_is_parsed() {
    let config = json!({
        "cniVersion": "1.1.0",
        "name": "dbnet",
        "type": "nexin-cni",
        "socket": "/run/nexin/agent.sock",
        "runtimeConfig": {
            "portMappings": [{ "hostPort": 8080, "containerPort": 80, "protocol": "tcp" }],
            "bandwidth": { "ingressRate": 2048, "ingressBurst": 1600, "egressRate": 0, "egressBurst": 0 },
            "ips": ["10.1.0.9/24", "fd00::9"]
        },
        "args": { "cni": { "labels": [{ "key": "app", "value": "db" }] } },
        "prevResult": {
            "ips": [{ "address": "10.1.0.5/16", "gateway": "10.1.0.1", "interface": 2 },
                    { "address": "10.9.0.5/16", "interface": 1 }],
            "routes": [{ "dst": "0.0.0.0/0" }],
            "interfaces": [
                { "name": "cni0", "mac": "00:11:22:33:44:55" },
                { "name": "veth3243", "mac": "55:44:33:22:11:11" },
                { "name": "eth0", "mac": "99:88:77:66:55:44", "sandbox": "/var/run/netns/blue" }
            ],
            "dns": { "nameservers": ["10.1.0.1"] }
        }
    });
    let parsed = parse(config.clone(), Operation::Add).unwrap();
    assert_eq!(parsed.socket.as_deref(), Some("/run/nexin/agent.sock"));
    let mapping = &parsed.runtime.port_mappings[0];
    assert_eq!((mapping.host_port, mapping.container_port, &*mapping.protocol), (8080, 80, "tcp"));
    assert!(parsed.runtime.bandwidth.is_some());
    assert_eq!(parsed.labels["app"], "db");
    assert_eq!(
        parsed.addresses,
        ["10.1.0.9".parse::<std::net::IpAddr>().unwrap(), "fd00::9".parse().unwrap()]
    );
    let previous = parsed.previous.unwrap();
    assert_eq!(previous.whole, config["prevResult"]);
    assert!(previous.has_interface("eth0") && !previous.has_interface("veth3243"));
    assert_eq!(previous.addresses("eth0").unwrap(), ["10.1.0.5".parse::<std::net::IpAddr>().unwrap()]);
}

#[test]
fn limits_of_zero_are_no_limits() {
    let zero = json!({ "ingressRate": 0, "ingressBurst": 0, "egressRate": 0, "egressBurst": 0 });
    let config =
        json!({ "cniVersion": "1.0.0", "name": "n", "type": "t", "runtimeConfig": { "bandwidth": zero } });
    assert_eq!(parse(config, Operation::Add).unwrap().runtime.bandwidth, None);
}

#[test]
fn invalid_configurations_are_refused_by_code_and_name() {
    let check = |text: &str, operation: Operation, code: ErrorCode, said: &str| {
        let failure = NetworkConfig::parse(text.as_bytes(), operation).unwrap_err();
        assert_eq!(failure.code, code, "{failure}");
        assert!(failure.message.contains(said), "{failure}");
    };
    use ErrorCode::{IncompatibleVersion, InvalidConfig, Undecodable, UnsupportedField};
    use Operation::{Add, Check, CollectGarbage, Status};
    check("", Add, Undecodable, "EOF");
    check("[]", Add, Undecodable, "a JSON object");
    check(r#"{"cniVersion": 1}"#, Add, Undecodable, "invalid type");
    check(
        r#"{"name": "n"}"#,
        Add,
        IncompatibleVersion,
        "cniVersion \"\" is not supported; use one of 0.3.1, ",
    );
    check(r#"{"cniVersion": "0.2.0", "name": "n"}"#, Add, IncompatibleVersion, "\"0.2.0\"");
    check(
        r#"{"cniVersion": "0.3.1", "name": "n"}"#,
        Check,
        IncompatibleVersion,
        "has no CHECK; it exists since 0.4.0",
    );
    check(r#"{"cniVersion": "1.0.0", "name": "n"}"#, CollectGarbage, IncompatibleVersion, "no GC");
    check(r#"{"cniVersion": "1.0.0", "name": "n"}"#, Status, IncompatibleVersion, "no STATUS");
    check(r#"{"cniVersion": "1.1.0"}"#, Add, InvalidConfig, "name: ");
    check(r#"{"cniVersion": "1.1.0", "name": "../x"}"#, Add, InvalidConfig, "name: ");
    let with = |field: &str| format!(r#"{{"cniVersion": "1.1.0", "name": "n", {field}}}"#);
    check(&with(r#""ipMasq": true"#), Add, UnsupportedField, "the field ipMasq of the network configuration");
    check(&with(r#""runtimeConfig": {"mac": "x"}"#), Add, UnsupportedField, "runtimeConfig.mac");
    check(&with(r#""runtimeConfig": {"ips": ["x"]}"#), Add, InvalidConfig, "runtimeConfig.ips: \"x\"");
    check(&with(r#""prevResult": {"ips": [{}]}"#), Add, Undecodable, "prevResult: missing field `address`");
    check(&with(r#""runtimeConfig": {"portMappings": [{}]}"#), Add, Undecodable, "missing field");
    // An undo does not need them.
    for field in [r#""ipMasq": true"#, r#""prevResult": {"ips": [{}]}"#, r#""runtimeConfig": {"ips": ["x"]}"#]
    {
        NetworkConfig::parse(with(field).as_bytes(), Operation::Delete).unwrap();
    }
}

#[test]
fn both_names_of_the_valid_attachments_are_read() {
    for field in ["cni.dev/valid-attachments", "cni.dev/attachments"] {
        let config =
            json!({ "cniVersion": "1.1.0", "name": "n", field: [{ "containerID": "c", "ifname": "eth0" }] });
        let valid = parse(config, Operation::CollectGarbage).unwrap().valid_attachments.unwrap();
        assert_eq!((&*valid[0].container, &*valid[0].interface), ("c", "eth0"));
    }
    let none = parse(json!({ "cniVersion": "1.1.0", "name": "n" }), Operation::CollectGarbage).unwrap();
    assert_eq!(none.valid_attachments, None);
}

fn result() -> AddResult {
    let interface = |name: &str, sandbox: Option<&str>| ResultInterface {
        name: name.into(),
        mac: "99:88:77:66:55:44".into(),
        mtu: Some(1500),
        sandbox: sandbox.map(str::to_owned),
    };
    let address = |address: &str, gateway: &str, length| AssignedAddress {
        address: address.parse().unwrap(),
        length,
        gateway: Some(gateway.parse().unwrap()),
        interface: 1,
    };
    AddResult {
        interfaces: vec![interface("nx7", None), interface("eth0", Some("/var/run/netns/blue"))],
        addresses: vec![address("10.1.0.5", "169.254.1.1", 32), address("fd00::5", "fe80::1", 128)],
        routes: vec![ResultRoute {
            destination: "0.0.0.0/0".into(),
            gateway: "169.254.1.1".parse().unwrap(),
        }],
    }
}

#[test]
fn a_result_has_the_shape_of_its_version() {
    let newest = json!({
        "cniVersion": "1.1.0",
        "interfaces": [
            { "name": "nx7", "mac": "99:88:77:66:55:44", "mtu": 1500 },
            { "name": "eth0", "mac": "99:88:77:66:55:44", "mtu": 1500, "sandbox": "/var/run/netns/blue" }
        ],
        "ips": [
            { "interface": 1, "address": "10.1.0.5/32", "gateway": "169.254.1.1" },
            { "interface": 1, "address": "fd00::5/128", "gateway": "fe80::1" }
        ],
        "routes": [{ "dst": "0.0.0.0/0", "gw": "169.254.1.1" }],
        "dns": {}
    });
    assert_eq!(result().to_json(SpecVersion::V1_1_0).to_string(), newest.to_string());
    for (version, with_family) in [("1.0.0", false), ("0.4.0", true), ("0.3.1", true)] {
        let json = result().to_json(SpecVersion::parse(version).unwrap());
        assert_eq!(json["cniVersion"], version);
        assert_eq!(json["interfaces"][0], json!({ "name": "nx7", "mac": "99:88:77:66:55:44" }));
        let families: Vec<_> =
            json["ips"].as_array().unwrap().iter().map(|ip| ip["version"].as_str()).collect();
        assert_eq!(families, if with_family { [Some("4"), Some("6")] } else { [None, None] });
    }
}

#[test]
fn errors_and_versions_have_the_shape_of_the_specification() {
    let failure = CniFailure::new(ErrorCode::InvalidConfig, "Invalid Configuration")
        .with_details("Network 192.168.0.0/31 too small to allocate from.");
    let expected = json!({
        "cniVersion": "1.1.0",
        "code": 7,
        "msg": "Invalid Configuration",
        "details": "Network 192.168.0.0/31 too small to allocate from."
    });
    assert_eq!(failure.to_json(SpecVersion::NEWEST).to_string(), expected.to_string());
    let later = CniFailure::new(ErrorCode::TryAgainLater, "later").to_json(SpecVersion::V0_4_0);
    assert_eq!(later, json!({ "cniVersion": "0.4.0", "code": 11, "msg": "later" }));
    let versions =
        json!({ "cniVersion": "1.1.0", "supportedVersions": ["0.3.1", "0.4.0", "1.0.0", "1.1.0"] });
    assert_eq!(cni::versions(), versions);
    for (code, number) in [
        (ErrorCode::IncompatibleVersion, 1),
        (ErrorCode::UnknownContainer, 3),
        (ErrorCode::Unavailable, 50),
        (ErrorCode::UnavailableAndLimited, 51),
    ] {
        assert_eq!(CniFailure::new(code, "").to_json(SpecVersion::NEWEST)["code"], number);
    }
}

#[test]
fn a_list_leads_runtimes_to_the_plugin_alone_or_behind_another() {
    let list = NetworkList { name: "nexin", socket: Some("/run/a.sock") };
    let text: Value = serde_json::from_str(&list.text()).unwrap();
    assert_eq!((&text["name"], &text["plugins"][0]["type"]), (&json!("nexin"), &json!("nexin-cni")));
    assert_eq!(text["plugins"][0]["socket"], "/run/a.sock");
    let other =
        r#"{"cniVersion": "1.0.0", "name": "bridge", "plugins": [{"type": "bridge", "bridge": "cni0"}]}"#;
    let behind = list.behind(other).unwrap();
    let parsed: Value = serde_json::from_str(&behind).unwrap();
    assert_eq!(parsed["plugins"][0], json!({ "type": "bridge", "bridge": "cni0" }));
    assert_eq!(parsed["plugins"][1]["type"], "nexin-cni");
    assert_eq!(list.behind(&behind).unwrap(), behind, "inserted once");
    assert_eq!(list.behind(r#"{"type": "bridge"}"#), None);
}

#[test]
fn runtimes_use_the_first_file_by_name() {
    assert_eq!(winner(["10-nexin.conflist", "05-other.conf", "00-notes.txt"]), Some("05-other.conf"));
    assert_eq!(winner(["readme"]), None);
}
