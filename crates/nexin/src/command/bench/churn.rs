//! Measures single changes of the large world: the time from the change to the last map write, and the number of map
//! entries written.

use super::samples::{Samples, milliseconds};
use super::tables::Tables;
use super::world::LargeWorld;
use control::{Change, World};
use loader::ApplyError;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The kinds of changes, in the order of each round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    IdentityComes,
    IdentityGoes,
    PolicyRemoved,
    PolicyAdded,
    NewPolicyAdded,
    NewPolicyRemoved,
    NamespaceRelabelled,
}

/// The figures of one kind of change.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Churn {
    pub(super) change: &'static str,
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
    pub(super) max_ms: f64,
    /// Median time of the map writes.
    pub(super) write_p50_ms: f64,
    pub(super) rows_p50: usize,
    pub(super) rows_p99: usize,
    pub(super) rows_max: usize,
    pub(super) target_p99_ms: f64,
    pub(super) met: bool,
}

/// The figures of one change.
#[derive(Clone, Copy, Debug)]
struct Sample {
    all: Duration,
    write: Duration,
    rows: usize,
}

/// Number of random numbers in a round.
const SALTS: usize = 6;

/// Target of the 99th percentile.
const TARGET_P99_MS: f64 = 1.0;

/// Makes this many changes of each kind to a world after its cold start.
pub(super) fn measure(
    large: &LargeWorld,
    world: &mut World,
    tables: &mut Tables,
    rounds: usize,
) -> Result<Vec<Churn>, ApplyError> {
    let mut samples: BTreeMap<Kind, Vec<Sample>> = BTreeMap::new();
    for round in 0..rounds {
        for (kind, change) in changes(large, round) {
            samples.entry(kind).or_default().push(make(change, world, tables)?);
        }
    }
    Ok(samples.into_iter().map(|(kind, samples)| Churn::new(kind, &samples)).collect())
}

/// The changes of one round. Except for labels of namespaces, they leave the world as it was before.
fn changes(large: &LargeWorld, round: usize) -> [(Kind, Change); 7] {
    let random =
        |salt: usize, below: usize| (scramble((SALTS * round + salt) as u64) % below as u64) as usize;
    let version = format!("canary-{round}");
    let pod = large.pod(large.pods() + round, random(0, large.identities()), &version);
    let id = pod.id;
    let policy = large.policy(random(1, large.policies()));
    let other = large.other_policy(random(4, large.identities()), random(5, large.namespaces()), round);
    let relabelled = large.namespace(random(2, large.namespaces()), random(3, large.namespaces()));
    [
        (Kind::IdentityComes, Change::Endpoint(Box::new(pod))),
        (Kind::IdentityGoes, Change::RemoveEndpoint(id)),
        (Kind::PolicyRemoved, Change::RemovePolicy(policy.id.clone())),
        (Kind::PolicyAdded, Change::Policy(policy)),
        (Kind::NewPolicyAdded, Change::Policy(other.clone())),
        (Kind::NewPolicyRemoved, Change::RemovePolicy(other.id)),
        (Kind::NamespaceRelabelled, relabelled),
    ]
}

fn make(change: Change, world: &mut World, tables: &mut Tables) -> Result<Sample, ApplyError> {
    let start = Instant::now();
    let writes = world.apply([change]);
    let computed = start.elapsed();
    tables.write(&writes.now)?;
    // An agent waits here for packets in flight; the wait is not measured.
    tables.write(&writes.later)?;
    tables.write(&writes.last)?;
    let all = start.elapsed();
    Ok(Sample { all, write: all - computed, rows: writes.now.len() + writes.later.len() + writes.last.len() })
}

impl Churn {
    fn new(kind: Kind, samples: &[Sample]) -> Self {
        let all: Samples<_> = samples.iter().map(|sample| sample.all).collect();
        let write: Samples<_> = samples.iter().map(|sample| sample.write).collect();
        let rows: Samples<_> = samples.iter().map(|sample| sample.rows).collect();
        let p99_ms = milliseconds(all.quantile(0.99));
        Self {
            change: kind.name(),
            p50_ms: milliseconds(all.quantile(0.5)),
            p99_ms,
            max_ms: milliseconds(all.quantile(1.0)),
            write_p50_ms: milliseconds(write.quantile(0.5)),
            rows_p50: rows.quantile(0.5),
            rows_p99: rows.quantile(0.99),
            rows_max: rows.quantile(1.0),
            target_p99_ms: TARGET_P99_MS,
            met: p99_ms < TARGET_P99_MS,
        }
    }
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::IdentityComes => "new identity",
            Self::IdentityGoes => "identity gone",
            Self::PolicyRemoved => "policy removed",
            Self::PolicyAdded => "policy added again",
            Self::NewPolicyAdded => "new policy added",
            Self::NewPolicyRemoved => "new policy removed",
            Self::NamespaceRelabelled => "namespace relabelled",
        }
    }
}

/// A pseudo-random number (the finaliser of splitmix64).
fn scramble(number: u64) -> u64 {
    let mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::super::cold_start;
    use super::*;

    /// The written entries equal the entries that the world computes.
    #[test]
    fn the_tables_equal_the_worlds_rows_after_every_kind_of_change() {
        let large = LargeWorld::new(4);
        let mut tables = Tables::memory();
        let (start, mut world) = cold_start::measure(&large, &mut tables).unwrap();
        assert_eq!(start.rows["NX_ENDPOINTS"], 120);
        let churn = measure(&large, &mut world, &mut tables, 10).unwrap();
        assert_eq!(churn.len(), 7);
        assert!(churn.iter().all(|kind| kind.rows_p50 > 0), "{churn:?}");
        let Tables::Memory(rows) = tables else { unreachable!("this test writes to memory") };
        assert_eq!(rows.into_iter().collect::<control::Rows>(), world.rows());
    }
}
