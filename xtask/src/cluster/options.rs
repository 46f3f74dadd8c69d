//! The options of the cluster commands; they come before all other arguments.

use super::plan::{Machine, Name, Network, Plan, node_count};
use anyhow::{Context, Result};
use std::path::PathBuf;
use std::time::Duration;

/// The pods of a short test.
const PODS: usize = 50;
/// The outages of a short test.
const OUTAGE: Duration = Duration::from_secs(20);

/// What the command line sets.
#[derive(Debug)]
pub(super) struct Options {
    pub(super) name: Name,
    pub(super) nodes: u8,
    pub(super) network: Network,
    pub(super) nexin: Option<PathBuf>,
    pub(super) machine: Option<Machine>,
    /// How many PolicyTest documents are run; none for all.
    pub(super) limit: Option<usize>,
    /// How many pods a test creates.
    pub(super) pods: usize,
    /// How long a test of faults cuts a node off and stops the API server.
    pub(super) outage: Duration,
}

impl Options {
    /// Splits the options from the arguments that follow.
    pub(super) fn parse(mut arguments: &[String]) -> Result<(Self, &[String])> {
        let name = std::env::var("NEXIN_CLUSTER").unwrap_or_else(|_| "test".to_owned());
        let mut options = Self {
            name: name.parse()?,
            nodes: 2,
            network: Network::Bridge,
            nexin: None,
            machine: None,
            limit: None,
            pods: PODS,
            outage: OUTAGE,
        };
        while let [option, rest @ ..] = arguments {
            let value = || rest.first().with_context(|| format!("{option} lacks a value"));
            match option.as_str() {
                "--name" => options.name = value()?.parse()?,
                "--nodes" => options.nodes = node_count(value()?)?,
                "--network" => options.network = value()?.parse()?,
                "--nexin" => options.nexin = Some(PathBuf::from(value()?)),
                "--limit" => options.limit = Some(value()?.parse().context("--limit must be a number")?),
                "--pods" => options.pods = value()?.parse().context("--pods must be a number")?,
                "--outage" => {
                    let seconds = value()?.parse().context("--outage must be a number of seconds")?;
                    options.outage = Duration::from_secs(seconds);
                }
                "--on" => options.machine = Some(value()?.parse()?),
                _ => break,
            }
            arguments = &rest[1..];
        }
        Ok((options, arguments))
    }

    /// The plan of the cluster that the options describe.
    pub(super) fn plan(&self) -> Plan {
        Plan { name: self.name.clone(), nodes: self.nodes, network: self.network }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<(Plan, Vec<String>)> {
        let arguments: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let (options, rest) = Options::parse(&arguments)?;
        Ok((options.plan(), rest.to_vec()))
    }

    #[test]
    fn options_end_at_the_first_other_argument() {
        let (plan, rest) = parse("--nodes 3 --name a --network none get pods --name b").unwrap();
        assert_eq!((plan.nodes, plan.name.to_string(), plan.network), (3, "a".to_owned(), Network::None));
        assert_eq!(rest, ["get", "pods", "--name", "b"]);
    }

    #[test]
    fn an_option_without_its_value_is_refused() {
        assert!(parse("--nodes").unwrap_err().to_string().contains("--nodes lacks a value"));
        assert!(parse("--nodes many").is_err());
    }
}
