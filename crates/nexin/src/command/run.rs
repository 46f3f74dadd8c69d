//! `nexin run`: runs a command as a workload.

mod limits;

use crate::inside::{self, Signals};
use crate::outcome::{BadInput, Outcome};
use crate::session::Session;
use anyhow::Context;
use api::view;
use api::{ApiRequest, WorkloadSpec};
use clap::Args;
use identity::key;
use limits::ProcessLimits;
use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::net::IpAddr;
use std::process::{Command, Stdio};

/// Run a command as a workload: in its own network namespace, under policy
///
/// The workload is removed when the command exits, with every process that the command has started. The exit code is
/// the command's, or 126 or 127 if the command cannot be started. /etc/hosts contains the services' names, as of the
/// start. The command shares the host's files and processes, and runs as root unless --user and --cap-drop restrict
/// it.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  nexin run --name web --label app=web --port-name http=80/TCP -- nginx\n  \
    nexin run --name shell -- bash\n  \
    nexin run --name app --user 1000:1000 --cap-drop ALL -- ./server"
)]
pub(crate) struct Run {
    /// Name of the workload, unique in its namespace
    #[arg(long)]
    name: String,
    /// Namespace of the workload
    #[arg(long, default_value = "default")]
    namespace: String,
    /// Label; may be repeated
    #[arg(long = "label", short = 'l', value_name = "KEY=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
    /// Service account of the workload, by which policies may select it [default: default]
    #[arg(long, value_name = "NAME", value_parser = account)]
    service_account: Option<String>,
    /// Named port, which policies may use; may be repeated
    #[arg(long = "port-name", value_name = "NAME=PORT/PROTOCOL", value_parser = port_name)]
    named_ports: Vec<(String, String)>,
    /// Address of the workload, instead of an assigned one; may be repeated
    #[arg(long = "ip", value_name = "ADDRESS")]
    addresses: Vec<IpAddr>,
    /// Not supported yet: a port of the node that is forwarded to the workload
    #[arg(long, value_name = "PORT:PORT", hide = true)]
    publish: Vec<String>,
    /// User to run the command as, and its group: NAME or UID, with :GROUP or :GID [default: root]
    #[arg(long, short = 'u', value_name = "USER[:GROUP]")]
    user: Option<String>,
    /// Drop a Linux capability, such as NET_ADMIN or CAP_NET_ADMIN, or ALL; may be repeated. Sets no_new_privs
    #[arg(long = "cap-drop", value_name = "CAPABILITY", value_delimiter = ',')]
    dropped: Vec<String>,
    /// Run the command in the background, without input and output
    #[arg(long)]
    detach: bool,
    /// The background process of --detach: announces on standard output that the command runs
    #[arg(long, hide = true, conflicts_with = "detach")]
    announce: bool,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

impl Run {
    pub(crate) fn run(self, session: &Session) -> anyhow::Result<Outcome> {
        if let Some(port) = self.publish.first() {
            return Err(BadInput(format!(
                "--publish {port}: ports of the node are not supported yet; reach the workload at its own address"
            ))
            .into());
        }
        self.check_labels()?;
        let limits = ProcessLimits::parse(self.user.as_deref(), &self.dropped)?;
        if self.detach { detach(session) } else { self.run_in_foreground(session, limits) }
    }

    /// Refuses a repeated label key: the effective value would depend on the order.
    fn check_labels(&self) -> Result<(), BadInput> {
        for (number, (key, _)) in self.labels.iter().enumerate() {
            if self.labels[..number].iter().any(|(known, _)| known == key) {
                return Err(BadInput(format!(
                    "the label {key} is given twice; a workload has one value for each key"
                )));
            }
        }
        Ok(())
    }

    /// Creates the workload, runs the command in it, and removes the workload when the command has exited.
    fn run_in_foreground(self, session: &Session, limits: ProcessLimits) -> anyhow::Result<Outcome> {
        let signals = Signals::hold()?;
        if self.announce {
            rustix::process::setsid().context("cannot leave the terminal")?;
        }
        let mut agent = session.agent()?;
        let endpoint: view::EndpointSummary = agent.call(ApiRequest::CreateWorkload(self.workload()))?;
        let services = agent.call::<Vec<view::ServiceSummary>>(ApiRequest::Services);
        let outcome =
            services.map_err(Into::into).and_then(|known| self.inside((&endpoint, &known), limits, signals));
        self.remove(session);
        outcome
    }

    /// Removes the workload. After a failure the agent removes it, once this process has exited.
    fn remove(&self, session: &Session) {
        let request =
            ApiRequest::RemoveWorkload { namespace: self.namespace.clone(), name: self.name.clone() };
        // A new connection: the agent may have restarted meanwhile.
        let _ = session.agent().and_then(|mut agent| agent.call::<serde::de::IgnoredAny>(request));
    }

    fn inside(
        &self,
        (endpoint, services): (&view::EndpointSummary, &[view::ServiceSummary]),
        limits: ProcessLimits,
        signals: Signals,
    ) -> anyhow::Result<Outcome> {
        let mut command = inside::command(&self.command);
        inside::enter(endpoint, services, &mut command)?;
        limits.set(&mut command);
        if self.announce {
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        }
        let child = inside::start(&mut command)?;
        if self.announce {
            announce(endpoint)?;
        }
        inside::pass_through(child, signals).map(Outcome::Passes)
    }

    fn workload(&self) -> WorkloadSpec {
        let account = self.service_account.clone().map(|name| (key::SERVICE_ACCOUNT.to_owned(), name));
        WorkloadSpec {
            namespace: self.namespace.clone(),
            name: self.name.clone(),
            labels: self.labels.iter().cloned().chain(account).collect(),
            addresses: self.addresses.clone(),
            named_ports: self.named_ports.iter().cloned().collect(),
            owner: Some(std::process::id()),
        }
    }
}

/// Checks the name of a service account, which must be a label value.
fn account(text: &str) -> Result<String, String> {
    let is_name = !text.is_empty() && text.bytes().all(|byte| !byte.is_ascii_uppercase() && byte != b'_');
    match manifest::label::check(key::SERVICE_ACCOUNT, text) {
        Ok(()) if is_name => Ok(text.to_owned()),
        _ => {
            Err("a service account's name has at most 63 lower-case letters, digits, `-` and `.`".to_owned())
        }
    }
}

/// Starts this command line again in the background, and waits until its command runs.
fn detach(session: &Session) -> anyhow::Result<Outcome> {
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    let mut child = Command::new(program)
        .args(announcing(std::env::args_os().skip(1)))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start the background process")?;
    let mut announced = String::new();
    child.stdout.take().expect("the output is piped").read_to_string(&mut announced)?;
    if announced.is_empty() {
        // The background process has printed the error.
        let code = child.wait()?.code().and_then(|code| u8::try_from(code).ok());
        return Ok(Outcome::Passes(code.unwrap_or(1)));
    }
    let endpoint: view::EndpointSummary =
        serde_json::from_str(&announced).context("the background process printed an invalid announcement")?;
    if session.is_json() {
        session.print_json(&endpoint)?;
    } else {
        let addresses: Vec<_> = endpoint.addresses.iter().map(ToString::to_string).collect();
        let view::EndpointSummary { namespace, name, identity, .. } = &endpoint;
        session.print_line(&format!(
            "{namespace}/{name} runs with identity {identity} at {}",
            addresses.join(", ")
        ))?;
    }
    Ok(Outcome::Holds)
}

/// The arguments with `--detach` replaced by `--announce`, except in the command's own arguments.
fn announcing(arguments: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut ours = true;
    let turn = |argument: OsString| {
        ours &= argument != "--";
        if ours && argument == "--detach" { "--announce".into() } else { argument }
    };
    arguments.map(turn).collect()
}

/// Announces that the command runs, and then redirects standard output and standard error to /dev/null.
fn announce(endpoint: &view::EndpointSummary) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string(endpoint)?);
    let nowhere = File::options().write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdout(&nowhere)?;
    rustix::stdio::dup2_stderr(&nowhere)?;
    Ok(())
}

fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => {
            manifest::label::check(key, value).map_err(|error| error.to_string())?;
            Ok((key.into(), value.into()))
        }
        _ => Err("a label is a key, an equals sign and a value: app=web".into()),
    }
}

fn port_name(text: &str) -> Result<(String, String), String> {
    let expected = "a named port is a name, a port and a protocol: http=80/TCP";
    let (name, port) = text.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or(expected)?;
    let (number, protocol) = port.split_once('/').unwrap_or((port, "TCP"));
    let protocol = protocol.to_ascii_uppercase();
    match number.parse::<u16>() {
        Ok(number) if number > 0 && ["TCP", "UDP", "SCTP"].contains(&protocol.as_str()) => {
            Ok((name.into(), format!("{number}/{protocol}")))
        }
        _ => Err(expected.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_and_named_ports_are_parsed() {
        let pair = |key: &str, value: &str| Ok((key.to_string(), value.to_string()));
        assert_eq!(label("id=app1"), pair("id", "app1"));
        assert_eq!(label("empty="), pair("empty", ""));
        assert!(label("id").is_err());
        assert!(label("a b=c").unwrap_err().starts_with("\"a b\" is not a valid label key"));
        assert!(label("a=b c").unwrap_err().starts_with("\"b c\" is not a valid label value"));
        assert!(label("k8s:foo=bar").unwrap_err().ends_with("write \"foo\""));
        assert_eq!(port_name("http=80/TCP"), pair("http", "80/TCP"));
        assert_eq!(port_name("dns=53/udp"), pair("dns", "53/UDP"));
        assert_eq!(port_name("web=8080"), pair("web", "8080/TCP"));
        assert!(port_name("http=0/TCP").is_err());
        assert!(port_name("http=80/XYZ").is_err());
        assert!(port_name("80").is_err());
    }

    #[test]
    fn only_the_detach_option_before_the_command_is_replaced() {
        let typed = ["run", "--detach", "--name", "a", "--", "sh", "--detach"].map(OsString::from);
        let turned = ["run", "--announce", "--name", "a", "--", "sh", "--detach"].map(OsString::from);
        assert_eq!(announcing(typed.into_iter()), turned);
    }
}
