//! Holds the Lease, and leads as long as this process holds it.

use super::health::OperatorHealth;
use super::leadership::Leadership;
use super::settings::OperatorSettings;
use super::{definitions, reconcile};
use ::operator::{Election, ElectionStep, LeaseRecord};
use anyhow::{Context, bail};
use delivery::access::OPERATOR_NAME;
use flow::Time;
use kubernetes::{Client, ObjectRequest, RequestError, exchange};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};
use tokio::task::JoinHandle;

/// How long a Lease holds without being renewed, and how often it is renewed, or read by the others.
const LEASE: Duration = Duration::from_secs(15);
const RENEWAL: Duration = Duration::from_secs(2);
/// The annotation of the Lease with the number that the next leader tries first for a new identity.
const NEXT_IDENTITY: &str = "nexin.io/next-identity";

/// Takes part in the election; returns an error when this process does not lead any more.
pub(super) async fn run(
    client: Client,
    settings: Arc<OperatorSettings>,
    health: Arc<OperatorHealth>,
) -> anyhow::Result<()> {
    let begin = Instant::now();
    let mut election = Election::new(&settings.name, LEASE);
    let leadership = Arc::new(Leadership::default());
    let mut work: Option<JoinHandle<anyhow::Result<()>>> = None;
    loop {
        if let Err(error) = renew(&client, &settings, &mut election, (&leadership, begin)).await {
            tracing::warn!("the lease could not be renewed: {error}");
        }
        let leads = election.leads(begin.elapsed());
        health.leads(leads);
        match &mut work {
            None if leads => {
                tracing::info!("leads as {}", settings.name);
                definitions::install(&client).await?;
                let running = reconcile::run(
                    client.clone(),
                    settings.clone(),
                    health.clone(),
                    (leadership.clone(), begin),
                );
                work = Some(tokio::spawn(running));
            }
            Some(running) if !leads => {
                running.abort();
                bail!("this operator lost the lease");
            }
            Some(running) if running.is_finished() => return running.await?.context("the work ended"),
            _ => {}
        }
        tokio::time::sleep(RENEWAL).await;
    }
}

/// Gives the Lease up, so that the next operator need not wait until it expires.
pub(super) async fn release(client: &Client, settings: &OperatorSettings) -> Result<(), RequestError> {
    let path = path(settings);
    let mut lease = exchange(client, &path, ObjectRequest::Read).await?;
    if lease["spec"]["holderIdentity"] == *settings.name {
        lease["spec"]["holderIdentity"] = "".into();
        exchange(client, &path, ObjectRequest::Replace(&lease)).await?;
    }
    Ok(())
}

fn collection(settings: &OperatorSettings) -> String {
    format!("/apis/coordination.k8s.io/v1/namespaces/{}/leases", settings.namespace)
}

fn path(settings: &OperatorSettings) -> String {
    format!("{}/{OPERATOR_NAME}", collection(settings))
}

async fn renew(
    client: &Client,
    settings: &OperatorSettings,
    election: &mut Election,
    (leadership, begin): (&Leadership, Instant),
) -> Result<(), RequestError> {
    let path = path(settings);
    let began = begin.elapsed();
    let lease = match exchange(client, &path, ObjectRequest::Read).await {
        Ok(lease) => Some(lease),
        Err(error) if error.is_absent() => None,
        Err(error) => return Err(error),
    };
    let step = election.step(lease.as_ref().map(record), began);
    let ElectionStep::Write { transitions } = step else {
        election.lost();
        return Ok(());
    };
    let noted = lease.as_ref().and_then(next_identity);
    if leadership.next_identity.load(Ordering::Relaxed) == 0 {
        leadership.next_identity.store(noted.unwrap_or_default(), Ordering::Relaxed);
    }
    let object = object(settings, lease.as_ref(), transitions, leadership);
    match lease {
        Some(_) => exchange(client, &path, ObjectRequest::Replace(&object)).await?,
        None => exchange(client, &collection(settings), ObjectRequest::Create(&object)).await?,
    };
    election.renewed(began);
    leadership.lasts(began + LEASE * 2 / 3);
    Ok(())
}

fn record(lease: &Value) -> LeaseRecord {
    let spec = &lease["spec"];
    let text = |field: &str| spec[field].as_str().unwrap_or_default().to_owned();
    LeaseRecord {
        holder: text("holderIdentity"),
        renewed: text("renewTime"),
        transitions: spec["leaseTransitions"].as_u64().and_then(|count| count.try_into().ok()).unwrap_or(0),
    }
}

fn next_identity(lease: &Value) -> Option<u32> {
    lease["metadata"]["annotations"][NEXT_IDENTITY].as_str()?.parse().ok()
}

fn object(
    settings: &OperatorSettings,
    lease: Option<&Value>,
    transitions: u32,
    leadership: &Leadership,
) -> Value {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    // The API server reads times of leases with exactly six digits behind the point.
    let now = Time(u64::try_from(since.as_nanos()).unwrap_or_default() / 1_000 * 1_000).to_string();
    let now = now.replace("000Z", "Z");
    let next = leadership.next_identity.load(Ordering::Relaxed);
    let mut object = json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {
            "name": OPERATOR_NAME,
            "namespace": settings.namespace,
            "annotations": {NEXT_IDENTITY: next.to_string()},
        },
        "spec": {
            "holderIdentity": settings.name,
            "leaseDurationSeconds": LEASE.as_secs(),
            "leaseTransitions": transitions,
            "renewTime": now,
        },
    });
    if let Some(lease) = lease {
        object["metadata"]["resourceVersion"] = lease["metadata"]["resourceVersion"].clone();
    }
    object
}
