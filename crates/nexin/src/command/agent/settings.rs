//! The agent's configuration file, and its conversion to [`agent::AgentConfig`].

pub(super) mod check;

use clap::ValueEnum;
use policy::rule::{Cidr, EnforcementMode};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A configuration file; [`agent::AgentConfig`] has the defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Settings {
    /// Directory of the socket and of files that a reboot may delete.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) directory: Option<PathBuf>,
    /// Directory of files that outlast a reboot; defaults to `directory`, if that is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) state_directory: Option<PathBuf>,
    /// Name of the agent; distinguishes its pinned maps from another agent's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) instance: Option<String>,
    /// The watched directory of manifests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) policies: Option<PathBuf>,
    /// Name of the node's network namespace, as in `ip netns`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) network_namespace: Option<String>,
    /// Blocks of the addresses assigned to workloads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) workload_addresses: Option<Vec<String>>,
    /// Further blocks from which a workload may request an address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) given_addresses: Option<Vec<String>>,
    /// Blocks of the addresses assigned to services.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) service_addresses: Option<Vec<String>>,
    /// Blocks of the addresses of all pods of the cluster, beside those that Node manifests have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pod_addresses: Option<Vec<String>>,
    /// Whether packets of workloads to addresses outside the cluster get the node's address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) masquerade: Option<bool>,
    /// Blocks outside the cluster whose addresses see the workloads' own addresses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) unmasqueraded_addresses: Option<Vec<String>>,
    /// Port of the node proxy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) proxy_port: Option<u16>,
    /// Limits of the node proxy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) proxy: Option<agent::ProxyLimits>,
    /// Names of the interfaces where policies that select the node are enforced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) host_devices: Option<Vec<String>>,
    /// Name of the node; a Node manifest with this name sets its labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) node_name: Option<String>,
    /// Name of the cluster, by which policies select workloads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cluster_name: Option<String>,
    /// The API server of the node's cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) kubernetes: Option<KubernetesSettings>,
    /// Labels of the node, by which policies select it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) node_labels: Option<BTreeMap<String, String>>,
    /// The enforcement mode.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) policy_enforcement: Option<EnforcementSetting>,
    /// Whether audit mode is on: traffic that policy denies is forwarded and reported.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) policy_audit_mode: Option<bool>,
    /// The level of monitor aggregation: how far events of forwarded packets are aggregated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) monitor_aggregation: Option<String>,
    /// How programs are attached to interfaces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) attach: Option<Attach>,
    /// Where the CNI plugin is installed for container runtimes; none where it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cni: Option<CniSettings>,
}

/// Where the CNI plugin is installed; [`agent::CniConfig`] has the defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct CniSettings {
    /// The directory of plugins' binaries.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) binaries: Option<PathBuf>,
    /// The directory of network configurations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) configurations: Option<PathBuf>,
    /// Name of the file in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) file: Option<String>,
    /// Name of another plugin's list in it, behind which only policy is added.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) behind: Option<String>,
}

/// The API server of the node's cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct KubernetesSettings {
    /// The path of a kubeconfig; none for the service account of the agent's pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// The name of the node in the cluster; none for the environment's `NODE_NAME`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) node_name: Option<String>,
}

/// The enforcement mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum EnforcementSetting {
    /// Enforce policy for workloads that a policy selects, in the directions of its rules
    Default,
    /// Enforce policy for every workload in both directions, also without a policy that selects it
    Always,
    /// Enforce no policy
    Never,
}

impl From<EnforcementSetting> for EnforcementMode {
    fn from(enforcement: EnforcementSetting) -> Self {
        match enforcement {
            EnforcementSetting::Default => Self::Default,
            EnforcementSetting::Always => Self::Always,
            EnforcementSetting::Never => Self::Never,
        }
    }
}

/// How programs are attached to interfaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Attach {
    /// By tcx links if the kernel supports them, else by clsact filters.
    Automatic,
    /// Always by clsact filters.
    Clsact,
}

impl Settings {
    /// Parses the text of a file.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let whole = api::strict::parse(text.as_bytes()).map_err(|error| error.to_string())?;
        // Serde would accept a list as the fields of an object, in order.
        if !whole.is_object() {
            return Err("a configuration is a JSON object, as in {\"instance\": \"node\"}".into());
        }
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    /// Converts the file to a configuration.
    pub(super) fn config(self) -> Result<agent::AgentConfig, String> {
        let default = agent::AgentConfig::default();
        let attach = self.attach.map_or(default.attach, |attach| match attach {
            Attach::Automatic => loader::Mode::Automatic,
            Attach::Clsact => loader::Mode::Clsact,
        });
        let beside = self.directory.clone();
        let config = agent::AgentConfig {
            state_directory: self.state_directory.or(beside).unwrap_or(default.state_directory),
            instance: self.instance.unwrap_or(default.instance),
            directory: self.directory.unwrap_or(default.directory),
            policies: self.policies.unwrap_or(default.policies),
            network_namespace: self.network_namespace,
            workload_addresses: blocks(
                "workloadAddresses",
                self.workload_addresses,
                // A node of a cluster gets blocks by its Node object.
                if self.kubernetes.is_some() { Vec::new() } else { default.workload_addresses },
            )?,
            given_addresses: parse_blocks("givenAddresses", &self.given_addresses.unwrap_or_default())?,
            service_addresses: match &self.kubernetes {
                // The API server assigns the addresses of services.
                Some(_) => Vec::new(),
                None => blocks("serviceAddresses", self.service_addresses, default.service_addresses)?,
            },
            pod_addresses: parse_blocks("podAddresses", &self.pod_addresses.unwrap_or_default())?,
            masquerade: self.masquerade.unwrap_or(default.masquerade),
            unmasqueraded_addresses: parse_blocks(
                "unmasqueradedAddresses",
                &self.unmasqueraded_addresses.unwrap_or_default(),
            )?,
            proxy_port: self.proxy_port.unwrap_or(default.proxy_port),
            proxy: limits(self.proxy.unwrap_or(default.proxy))?,
            host_devices: self.host_devices.unwrap_or(default.host_devices),
            node_name: node_name(self.node_name, self.kubernetes.as_ref()),
            kubernetes: self
                .kubernetes
                .map(|settings| agent::KubernetesConfig { kubeconfig: settings.kubeconfig }),
            cluster_name: cluster(self.cluster_name)?.or(default.cluster_name),
            node_labels: labels(self.node_labels.unwrap_or(default.node_labels))?,
            enforcement: self.policy_enforcement.map_or(default.enforcement, EnforcementMode::from),
            audit: self.policy_audit_mode.unwrap_or(default.audit),
            monitor_aggregation: match self.monitor_aggregation {
                Some(level) => level.parse().map_err(|error| format!("monitorAggregation: {error}"))?,
                None => default.monitor_aggregation,
            },
            attach,
            cni: self.cni.map(CniSettings::config).transpose()?,
        };
        check::check(&config)?;
        Ok(config)
    }
}

impl CniSettings {
    fn config(self) -> Result<agent::CniConfig, String> {
        let default = agent::CniConfig::default();
        let file = self.file.unwrap_or(default.file);
        for (field, name) in [("cni.file", Some(&file)), ("cni.behind", self.behind.as_ref())] {
            if name.is_some_and(|name| name.contains('/') || !name.ends_with(".conflist")) {
                return Err(format!("{field}: should be the name of a file such as 05-nexin.conflist"));
            }
        }
        if self.behind.as_ref().is_some_and(|behind| *behind <= file) {
            return Err(format!(
                "cni.behind: should come after {file} by name, since runtimes use the first file"
            ));
        }
        Ok(agent::CniConfig {
            binaries: self.binaries.unwrap_or(default.binaries),
            configurations: self.configurations.unwrap_or(default.configurations),
            file,
            behind: self.behind,
        })
    }
}

/// The name of the node: in a cluster a DaemonSet gives it to each of its pods by the environment.
fn node_name(written: Option<String>, cluster: Option<&KubernetesSettings>) -> Option<String> {
    let Some(cluster) = cluster else { return written };
    cluster.node_name.clone().or(written).or_else(|| std::env::var("NODE_NAME").ok())
}

/// Checks the limits.
fn limits(written: agent::ProxyLimits) -> Result<agent::ProxyLimits, String> {
    written.config().map(|_| written)
}

fn labels(written: BTreeMap<String, String>) -> Result<BTreeMap<String, String>, String> {
    let wrong = written.iter().find_map(|(key, value)| manifest::label::check(key, value).err());
    wrong.map_or(Ok(written), |error| Err(format!("nodeLabels: {error}")))
}

/// Checks the name of a cluster, which must be a label value.
fn cluster(written: Option<String>) -> Result<Option<String>, String> {
    match written {
        Some(name) if name.is_empty() => {
            Err("clusterName: must not be empty; leave it out for `default`".into())
        }
        Some(name) => match manifest::label::check(identity::key::CLUSTER, &name) {
            Ok(()) => Ok(Some(name)),
            Err(error) => Err(format!("clusterName: {error}")),
        },
        None => Ok(None),
    }
}

/// Parses the blocks of a field, at most one of each family.
fn blocks(field: &str, written: Option<Vec<String>>, default: Vec<Cidr>) -> Result<Vec<Cidr>, String> {
    let Some(written) = written else { return Ok(default) };
    let blocks = parse_blocks(field, &written)?;
    let fourths = blocks.iter().filter(|block| block.address().is_ipv4()).count();
    if blocks.is_empty() || fourths > 1 || blocks.len() - fourths > 1 {
        return Err(format!("{field}: give one IPv4 block, one IPv6 block, or both"));
    }
    Ok(blocks)
}

fn parse_blocks(field: &str, written: &[String]) -> Result<Vec<Cidr>, String> {
    let wrong = |text: &String| format!("{field}: {text:?} is not a block such as 10.244.0.0/16");
    written.iter().map(|text| block(text).ok_or_else(|| wrong(text))).collect()
}

/// A block of addresses as `10.244.0.0/16`.
pub(crate) fn block(text: &str) -> Option<Cidr> {
    let (address, length) = text.split_once('/')?;
    Cidr::new(address.parse().ok()?, length.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn omitted_settings_have_defaults() {
        let config = Settings::parse("{}").unwrap().config().unwrap();
        assert_eq!(config, agent::AgentConfig::default());
    }

    #[test]
    fn settings_override_defaults() {
        let text = r#"{"directory": "/run/x", "workloadAddresses": ["10.1.0.0/24"], "attach": "clsact",
            "hostDevices": ["eth0"], "policyEnforcement": "always", "nodeLabels": {"role": "edge"}}"#;
        let config = Settings::parse(text).unwrap().config().unwrap();
        assert_eq!(config.directory, PathBuf::from("/run/x"));
        assert_eq!(config.workload_addresses, [block("10.1.0.0/24").unwrap()]);
        assert_eq!(config.attach, loader::Mode::Clsact);
        assert_eq!(config.host_devices, ["eth0"]);
        assert_eq!((config.enforcement, config.audit), (EnforcementMode::Always, false));
        assert_eq!(config.node_labels["role"], "edge");
    }

    #[test]
    fn an_installation_has_settings_that_the_agent_takes() {
        let settings = delivery::InstallSettings {
            pool_v4: "10.244.0.0/16".into(),
            audit: true.into(),
            cni: serde_json::json!({"behind": "10-calico.conflist"}),
            ..delivery::InstallSettings::default()
        };
        let files = delivery::files(&settings);
        let objects = files.iter().flat_map(|file| &file.objects);
        let texts: Vec<&str> = objects.filter_map(|object| object["data"]["agent.json"].as_str()).collect();
        let [text] = texts[..] else { panic!("{} configurations", texts.len()) };
        let config = Settings::parse(text).unwrap().config().unwrap();
        assert!(config.audit && config.masquerade);
        assert_eq!(config.pod_addresses, [block("10.244.0.0/16").unwrap()]);
        assert_eq!(config.cni.unwrap().behind.unwrap(), "10-calico.conflist");
    }

    #[test]
    fn a_node_of_a_cluster_has_no_block_of_its_own() {
        let config = |text: &str| Settings::parse(text).unwrap().config().unwrap();
        assert_eq!(config(r#"{"kubernetes": {"nodeName": "node1"}}"#).workload_addresses, []);
        let text = r#"{"kubernetes": {"nodeName": "node1"}, "workloadAddresses": ["10.1.0.0/24"]}"#;
        assert_eq!(config(text).workload_addresses, [block("10.1.0.0/24").unwrap()]);
    }

    #[test]
    fn invalid_settings_are_named() {
        let check = |text: &str, expected: &str| {
            let error = Settings::parse(text).and_then(Settings::config).unwrap_err();
            assert!(error.contains(expected), "{error}");
        };
        check(r#"{"directori": "/x"}"#, "unknown field `directori`");
        check("{\n\"proxyPort\": 70000}", "line 2");
        check(r#"{"serviceAddresses": ["10.0.0.0"]}"#, "\"10.0.0.0\" is not a block such as 10.244.0.0/16");
        check(r#"{"clusterName": "x y"}"#, "clusterName: \"x y\" is not a valid label value");
        check(r#"{"nodeLabels": {"x y": "z"}}"#, "nodeLabels: \"x y\" is not a valid label key");
        check(r#"{"proxy": {"idleTimeout": 0}}"#, "proxy.idleTimeout");
        check(r#"{"proxy": {"timeout": 1}}"#, "unknown field `timeout`");
        check(r#"{"serviceAddresses": ["10.0.0.0/8", "11.0.0.0/8"]}"#, "one IPv4 block");
        check(r#"{"cni": {"bin": "/x"}}"#, "unknown field `bin`");
        check(r#"{"cni": {"file": "nexin.txt"}}"#, "cni.file: ");
        check(
            r#"{"cni": {"behind": "00-other.conflist"}}"#,
            "cni.behind: should come after 05-nexin.conflist",
        );
        check("[]", "a JSON object");
        check(r#"["/run/nexin"]"#, "a JSON object");
        check("null", "a JSON object");
        check("", "EOF");
        check(r#"{"instance": "a", "instance": "b"}"#, "duplicate field `instance`");
        check(r#"{"nodeLabels": {"a": "b", "a": "c"}}"#, "duplicate field `a`");
        let long = "a".repeat(64);
        for instance in ["", " ", ".", "..", "a.b", "a/b", "-a", "a b", "\u{e9}", "a\\n", &long] {
            check(&format!(r#"{{"instance": "{instance}"}}"#), "instance: ");
        }
        for field in ["directory", "stateDirectory", "policies"] {
            check(&format!(r#"{{"{field}": ""}}"#), &format!("{field}: "));
        }
        check(&format!(r#"{{"directory": "/{}"}}"#, "a".repeat(100)), "directory: ");
        check(r#"{"networkNamespace": ""}"#, "networkNamespace: ");
        check(r#"{"networkNamespace": "a/b"}"#, "networkNamespace: ");
        check(r#"{"proxyPort": 0}"#, "proxyPort: ");
        check(r#"{"hostDevices": ["eth0", ""]}"#, "hostDevices: ");
        check(r#"{"hostDevices": ["a-name-of-16-char"]}"#, "hostDevices: ");
        check(r#"{"nodeName": ""}"#, "nodeName: ");
        check(
            r#"{"workloadAddresses": ["10.0.0.0/8"], "serviceAddresses": ["10.1.0.0/16"]}"#,
            "serviceAddresses: ",
        );
        for block in [
            "127.0.0.0/8",
            "224.0.0.0/8",
            "0.0.0.0/0",
            "::/0",
            "ff00::/16",
            "fe80::/64",
            "::ffff:1.2.0.0/112",
        ] {
            check(&format!(r#"{{"workloadAddresses": ["{block}"]}}"#), "workloadAddresses: ");
        }
        check(r#"{"workloadAddresses": ["10.0.0.0/31"]}"#, "workloadAddresses: ");
    }
}
